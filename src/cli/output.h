#pragma once
#include <string>
#include <string_view>

namespace kl::cli {

/// Thrown when the reader of our standard output has gone away (`kl ... | head`): main() ends quietly.
struct BrokenPipe {};

/// Standard output, buffered, with every failure noticed: a full disk must not look like success.
class Output {
 public:
  Output();
  ~Output();  // flushes as far as that works; call flush() to learn of a failure
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  /// Throws Error(kCannotWrite) or BrokenPipe, now or at a later write() or flush().
  void write(std::string_view text);
  void flush();

  /// flush() as a command's last act: returns kExitOk.
  int finish();

  /// Text goes out exactly as it is, so that it can be piped; a person at a terminal gets a final line break.
  void end_text();

  bool is_terminal() const { return is_terminal_; }

 private:
  bool is_terminal_;
  bool at_line_start_ = true;
  std::string buffer_;
};

}  // namespace kl::cli
