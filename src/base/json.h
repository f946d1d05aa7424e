#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace kl {

/// What a JSON text may cost before it is refused.
struct JsonLimits {
  std::size_t max_depth = 64;
  std::size_t max_elements = 1'000'000;  ///< values of any kind, containers included
};

/// Receives the parts of a JSON text in order.  A handler that dislikes one throws Error(kCorrupt); the parser adds
/// where it is.
class JsonEvents {
 public:
  virtual ~JsonEvents() = default;
  virtual void null() = 0;
  virtual void boolean(bool value) = 0;
  virtual void integer(std::int64_t value) = 0;
  virtual void unsigned_integer(std::uint64_t value) = 0;  ///< every integer >= 0
  virtual void number(double value) = 0;                   ///< has a fraction or an exponent, or exceeds 64 bits
  /// An integer that exceeds 64 bits, as it was written; for those who do not want it rounded.
  virtual void large_integer(std::string_view digits);
  virtual void string(std::string&& value) = 0;
  virtual void begin_object() = 0;
  virtual void key(std::string&& name) = 0;
  virtual void end_object() = 0;
  virtual void begin_array() = 0;
  virtual void end_array() = 0;
};

/// Parses `text` strictly: UTF-8 only, no duplicate keys, no integers that do not fit 64 bits, no numbers beyond
/// double, no NUL bytes, nothing after the value, within `limits`.
/// Throws Error(kCorrupt) reading `NAME: ... at byte N`; one thrown by a handler gets the same prefix and suffix.
void parse_json_events(std::string_view text, const std::string& name, JsonEvents& events,
                       const JsonLimits& limits = {});

/// The members of an object as they are written: key, and the text of the value.
/// REQUIRES: `object` is a JSON object; parse it first.
std::vector<std::pair<std::string, std::string_view>> json_members(std::string_view object);

/// A JSON value.  Objects are ordered by key.
class Json {
 public:
  using Array = std::vector<Json>;
  using Object = std::map<std::string, Json, std::less<>>;

  Json() = default;
  template <class T>
  explicit Json(T value) : value_(std::move(value)) {}

  /// Throws as parse_json_events() does.
  static Json parse(std::string_view text, const std::string& name, const JsonLimits& limits = {});

  /// Throws as read_file() and parse() do.
  static Json load(const std::filesystem::path& path, std::size_t max_bytes = 64u << 20, const JsonLimits& limits = {});

  // Each accessor answers nothing if the value is of another kind.
  bool is_null() const { return std::holds_alternative<std::nullptr_t>(value_); }
  std::optional<bool> boolean() const;
  std::optional<std::int64_t> integer() const;  ///< also nothing if it exceeds int64
  std::optional<double> number() const;         ///< integers included
  const std::string* string() const { return std::get_if<std::string>(&value_); }
  const Array* array() const { return std::get_if<Array>(&value_); }
  const Object* object() const { return std::get_if<Object>(&value_); }

  /// The member of an object, nullptr if there is none or this is no object.
  const Json* find(std::string_view key) const;

  /// "null", "true", "-3", "\"text\"", "an array of 3", "an object": for messages.
  std::string describe() const;

 private:
  // Integers are kept exactly; a negative one is the only use of int64.
  std::variant<std::nullptr_t, bool, std::int64_t, std::uint64_t, double, std::string, Array, Object> value_;
};

}  // namespace kl
