#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "jinja/value.h"

namespace kl::jinja {

/// What a call is given.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

/// Hands the arguments of a call out in the order of its parameters.  Throws Failure where they do not fit.
class ArgumentReader {
 public:
  /// `function` is how messages call it; both must outlive the reader.
  ArgumentReader(std::string_view function, const Arguments& arguments) : function_(function), arguments_(arguments) {}

  /// The next parameter; nothing if it is left out.
  std::optional<Value> take(std::string_view name);
  Value require(std::string_view name);
  bool take_bool(std::string_view name, bool otherwise);
  std::int64_t take_integer(std::string_view name, std::int64_t otherwise);
  /// A string; nothing if it is left out or none.
  std::optional<TextPtr> take_text(std::string_view name);

  /// All positional arguments that are left, and the named ones that nobody took.
  Arguments rest();

  /// Throws if any argument is left.
  void finish() const;

  std::string_view function() const { return function_; }

 private:
  std::string_view function_;
  const Arguments& arguments_;
  std::size_t next_ = 0;
  std::vector<std::string_view> taken_;
};

}  // namespace kl::jinja
