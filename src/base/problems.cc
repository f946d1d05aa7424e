#include "base/problems.h"

#include <fmt/format.h>

#include <utility>

namespace kl {

void Problems::add(ErrorCode code, std::string line) {
  if (lines_.empty() || code == ErrorCode::kCorrupt) code_ = code;
  lines_.push_back(std::move(line));
}

std::string Problems::text(const std::string& heading, std::size_t max_lines) const {
  if (lines_.size() == 1) return heading + ": " + lines_.front();
  std::string out = fmt::format("{}: {} problems", heading, lines_.size());
  for (std::size_t i = 0; i < lines_.size() && i < max_lines; ++i) out += "\n  " + lines_[i];
  if (lines_.size() > max_lines) out += fmt::format("\n  ... and {} more", lines_.size() - max_lines);
  return out;
}

void Problems::throw_if_any(const std::string& heading) const {
  if (!empty()) throw Error(code_, text(heading));
}

std::optional<Error> problem_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kOutOfMemory) throw;
    return error;
  }
  return {};
}

}  // namespace kl
