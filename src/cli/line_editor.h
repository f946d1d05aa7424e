#pragma once
#include <memory>
#include <optional>
#include <string>

namespace kl::cli {

/// Reads a person's lines at a terminal.  Built with libedit where the machine has it (editing keys, history with the
/// arrows), else plain; CMake chooses line_editor_libedit.cc or line_editor_plain.cc.
class LineEditor {
 public:
  LineEditor();
  ~LineEditor();

  /// Shows `prompt` and returns the next line without its break; nothing at the end of input (Ctrl-D).  Ctrl-C discards
  /// what was typed.
  std::optional<std::string> read(const char* prompt);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kl::cli
