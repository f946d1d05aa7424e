#pragma once
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "kl/error.h"

namespace kl {

/// Everything wrong with a file, gathered so that a person sees it at once instead of one run at a time.
class Problems {
 public:
  /// `line` reads `subject: expected X, got Y`.  The first problem decides the error code; a kCorrupt one overrides it.
  void add(ErrorCode code, std::string line);
  void add(std::string line) { add(ErrorCode::kCorrupt, std::move(line)); }
  void add(const Error& error) { add(error.code(), error.what()); }

  bool empty() const { return lines_.empty(); }
  const std::vector<std::string>& lines() const { return lines_; }
  ErrorCode code() const { return code_; }

  /// All lines under a heading; beyond `max_lines` only their number.
  std::string text(const std::string& heading, std::size_t max_lines = 20) const;

  /// Throws Error with text(heading) if there is any problem.
  void throw_if_any(const std::string& heading) const;

 private:
  std::vector<std::string> lines_;
  ErrorCode code_ = ErrorCode::kCorrupt;
};

/// The Error that ends `work`, if one does: for those who report what is wrong and go on.  Lack of memory says nothing
/// about what was looked at, and is thrown on.
std::optional<Error> problem_of(const std::function<void()>& work);

}  // namespace kl
