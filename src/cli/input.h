#pragma once
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kl/error.h"
#include "kl/tokenizer.h"

namespace kl::cli {

/// Where a command reads from: a file, or standard input if the path is "-".
class Input {
 public:
  /// Throws Error(kNotFound) if the file is missing, unreadable or a directory.
  explicit Input(const std::string& path);

  /// Everything that is left.  Throws Error(kNotFound) if reading fails.
  std::string read_all();

  /// The next line without its line break, nothing at the end.  Throws as read_all(), and Interrupted on a Ctrl-C that
  /// was caught while waiting.
  std::optional<std::string> next_line();

  const std::string& name() const { return name_; }   ///< for messages
  std::int64_t line_number() const { return line_; }  ///< of the line read last, from 1
  std::string where() const;                          ///< "NAME:LINE"

 private:
  void check() const;

  struct Close {
    void operator()(std::FILE* file) const;
  };
  std::string name_;
  std::unique_ptr<std::FILE, Close> file_;
  std::int64_t line_ = 0;
};

/// Text a person gives on the command line, in a file, or on standard input.
struct TextSource {
  std::optional<std::string> text;
  std::optional<std::string> file;  ///< "-" is standard input

  /// The text; without any source, all of standard input.
  std::string read() const { return text ? *text : Input(path_or_stdin()).read_all(); }

  std::string path_or_stdin() const { return file.value_or("-"); }
};

/// Token ids separated by white space, each below `vocab_size`.
/// Throws Error(code) naming `where` and the word that is none.
std::vector<Token> parse_ids(std::string_view text, const std::string& where, int vocab_size,
                             ErrorCode code = ErrorCode::kCorrupt);

}  // namespace kl::cli
