#include "base/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <nlohmann/json.hpp>
#include <type_traits>
#include <unordered_set>
#include <utility>

#include "base/printable.h"
#include "base/read_file.h"
#include "kl/error.h"

namespace kl {
namespace {

/// Iterates over a text and lets others see how far the parser has read.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, std::size_t* read) : at_(at), read_(read) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    ++at_;
    ++*read_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator old = *this;
    ++*this;
    return old;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  std::size_t* read_;
};

/// Applies the rules nlohmann's parser does not have, then passes events on.
class StrictSax final : public nlohmann::json_sax<nlohmann::json> {
 public:
  StrictSax(JsonEvents& events, const JsonLimits& limits) : events_(events), limits_(limits) {}

  bool null() override { return count(), events_.null(), true; }
  bool boolean(bool value) override { return count(), events_.boolean(value), true; }
  bool number_integer(number_integer_t value) override { return count(), events_.integer(value), true; }
  bool number_unsigned(number_unsigned_t value) override { return count(), events_.unsigned_integer(value), true; }
  bool number_float(number_float_t value, const string_t& text) override {
    count();
    const bool is_integer = text.find_first_of(".eE") == text.npos;
    return is_integer ? events_.large_integer(text) : events_.number(value), true;
  }
  bool string(string_t& value) override { return count(), events_.string(std::move(value)), true; }
  bool binary(binary_t&) override { return false; }

  bool start_object(std::size_t) override {
    open();
    objects_.emplace_back();
    return events_.begin_object(), true;
  }
  bool key(string_t& name) override {
    OpenObject& object = objects_.back();
    if (!object.keys.insert(name).second) {
      const bool is_inner = objects_.size() > 1;
      fail(fmt::format("key \"{}\"{} appears twice", printable(name),
                       is_inner ? " of \"" + printable(objects_[objects_.size() - 2].last) + '"' : ""));
    }
    object.last = name;
    return events_.key(std::move(name)), true;
  }
  bool end_object() override {
    objects_.pop_back();
    --depth_;
    return events_.end_object(), true;
  }
  bool start_array(std::size_t) override { return open(), events_.begin_array(), true; }
  bool end_array() override { return --depth_, events_.end_array(), true; }

  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& error) override {
    // "[json.exception.NAME] parse error at line 1, column 2: what" or "[json.exception.NAME] what" -> "what"
    std::string_view what = error.what();
    what.remove_prefix(what.find("] ") + 2);
    if (what.starts_with("parse error at ")) what.remove_prefix(what.find(": ") + 2);
    fail("expected JSON, got " + printable(what, 200));
  }

 private:
  struct OpenObject {
    std::unordered_set<std::string> keys;
    std::string last;
  };

  [[noreturn]] static void fail(const std::string& what) { throw Error(ErrorCode::kCorrupt, what); }

  void count() {
    if (++elements_ > limits_.max_elements) fail(fmt::format("expected at most {} JSON values", limits_.max_elements));
  }
  void open() {
    count();
    if (++depth_ > limits_.max_depth) fail(fmt::format("expected at most {} nested levels", limits_.max_depth));
  }

  JsonEvents& events_;
  const JsonLimits& limits_;
  std::size_t depth_ = 0;
  std::size_t elements_ = 0;
  std::vector<OpenObject> objects_;
};

/// Builds a Json value from events.
class TreeBuilder final : public JsonEvents {
 public:
  void null() override { put(Json(nullptr)); }
  void boolean(bool value) override { put(Json(value)); }
  void integer(std::int64_t value) override { put(Json(value)); }
  void unsigned_integer(std::uint64_t value) override { put(Json(value)); }
  void number(double value) override { put(Json(value)); }
  void string(std::string&& value) override { put(Json(std::move(value))); }
  void begin_object() override { open_.push_back({Json::Object{}, {}, {}}); }
  void key(std::string&& name) override { open_.back().key = std::move(name); }
  void end_object() override { close(); }
  void begin_array() override { open_.push_back({{}, Json::Array{}, {}}); }
  void end_array() override { close(); }

  Json take() { return std::move(root_); }

 private:
  struct Container {
    std::optional<Json::Object> object;
    std::optional<Json::Array> array;
    std::string key;  // of the member being read
  };

  void put(Json&& value) {
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (Container& top = open_.back(); top.object) {
      top.object->emplace(std::move(top.key), std::move(value));
    } else {
      top.array->push_back(std::move(value));
    }
  }
  void close() {
    Container top = std::move(open_.back());
    open_.pop_back();
    if (top.object) {
      put(Json(std::move(*top.object)));
    } else {
      put(Json(std::move(*top.array)));
    }
  }

  std::vector<Container> open_;
  Json root_;
};

}  // namespace

void JsonEvents::large_integer(std::string_view digits) { number(std::strtod(std::string(digits).c_str(), nullptr)); }

void parse_json_events(std::string_view text, const std::string& name, JsonEvents& events, const JsonLimits& limits) {
  std::size_t read = 0;
  try {
    // nlohmann's lexer takes a NUL byte for the end of the text.
    if (const std::size_t nul = text.find('\0'); nul != text.npos) {
      read = nul;
      throw Error(ErrorCode::kCorrupt, "expected JSON, got a NUL byte");
    }
    StrictSax sax(events, limits);
    nlohmann::json::sax_parse(CountingIterator(text.data(), &read), CountingIterator(text.data() + text.size(), &read),
                              &sax);
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("{}: {} at byte {}", name, error.what(), read));
  }
}

namespace {

constexpr std::string_view kBlanks = " \t\n\r";

/// The end of the JSON value at the start of `text`, which is sound.
std::size_t value_end(std::string_view text) {
  std::size_t depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
      if (in_string || depth > 0) continue;
      return i + 1;
    }
    if (depth == 0 && i > 0 && (c == ',' || c == '}' || c == ']' || kBlanks.find(c) != kBlanks.npos)) return i;
    if (c == '"') in_string = true;
    if (c == '{' || c == '[') ++depth;
    if ((c == '}' || c == ']') && --depth == 0) return i + 1;
  }
  return text.size();
}

}  // namespace

std::vector<std::pair<std::string, std::string_view>> json_members(std::string_view object) {
  std::vector<std::pair<std::string, std::string_view>> members;
  std::size_t at = object.find('{') + 1;
  const auto skip = [&](std::string_view characters) {
    at = std::min(object.find_first_not_of(characters, at), object.size());
  };
  const auto take = [&] {
    const std::string_view value = object.substr(at, value_end(object.substr(at)));
    at += value.size();
    return value;
  };
  while (true) {
    skip(" \t\n\r,");
    if (at >= object.size() || object[at] != '"') return members;
    std::string key = nlohmann::json::parse(take()).get<std::string>();
    skip(" \t\n\r:");
    members.emplace_back(std::move(key), take());
  }
}

Json Json::parse(std::string_view text, const std::string& name, const JsonLimits& limits) {
  TreeBuilder builder;
  parse_json_events(text, name, builder, limits);
  return builder.take();
}

Json Json::load(const std::filesystem::path& path, std::size_t max_bytes, const JsonLimits& limits) {
  return parse(read_file(path, max_bytes), path.string(), limits);
}

std::optional<bool> Json::boolean() const {
  if (const bool* value = std::get_if<bool>(&value_)) return *value;
  return {};
}

std::optional<std::int64_t> Json::integer() const {
  if (const auto* value = std::get_if<std::int64_t>(&value_)) return *value;
  const auto* value = std::get_if<std::uint64_t>(&value_);
  if (value && *value <= std::uint64_t{std::numeric_limits<std::int64_t>::max()})
    return static_cast<std::int64_t>(*value);
  return {};
}

std::optional<double> Json::number() const {
  if (const auto* value = std::get_if<std::int64_t>(&value_)) return static_cast<double>(*value);
  if (const auto* value = std::get_if<std::uint64_t>(&value_)) return static_cast<double>(*value);
  if (const auto* value = std::get_if<double>(&value_)) return *value;
  return {};
}

const Json* Json::find(std::string_view key) const {
  const Object* members = object();
  if (!members) return nullptr;
  const auto it = members->find(key);
  return it == members->end() ? nullptr : &it->second;
}

std::string Json::describe() const {
  const auto text = [](const auto& value) -> std::string {
    using T = std::decay_t<decltype(value)>;
    if constexpr (std::is_same_v<T, std::nullptr_t>)
      return "null";
    else if constexpr (std::is_same_v<T, std::string>)
      return '"' + printable(value, 60) + '"';
    else if constexpr (std::is_same_v<T, Array>)
      return fmt::format("an array of {}", value.size());
    else if constexpr (std::is_same_v<T, Object>)
      return "an object";
    else
      return fmt::format("{}", value);
  };
  std::string description = std::visit(text, value_);
  const bool looks_whole = description.find_first_not_of("-0123456789") == description.npos;
  if (std::holds_alternative<double>(value_) && looks_whole) description += ".0";  // 8.0 is no integer
  return description;
}

}  // namespace kl
