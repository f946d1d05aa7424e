#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace kl {

/// Ends a text before the first stop string, and never shows any part of one.
///
/// What might become a stop string is held back until it is certain that it does not.
class StopFilter {
 public:
  explicit StopFilter(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  /// The text that has become certain.  REQUIRES: not hit().
  std::string push(std::string_view text);

  /// What was held back: nothing follows, or nothing that it could become a stop string with.
  std::string flush();

  bool hit() const { return !stop_string_.empty(); }
  const std::string& stop_string() const { return stop_string_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;  // might be the beginning of a stop string
  std::string stop_string_;
};

}  // namespace kl
