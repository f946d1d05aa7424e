#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "jinja/text.h"

namespace kl::jinja {

class Dict;
struct List;
struct Namespace;
struct Macro;
struct Loop;

using TextPtr = std::shared_ptr<const Text>;

/// Nothing was found; `what` says what was looked for ("'x' is undefined").  Prints nothing, is false and empty.
struct Undefined {
  TextPtr what;
};
struct None {};
/// An integer beyond 64 bits: its decimal digits as they came.  It can be printed and compared, not computed with.
struct BigInteger {
  TextPtr digits;
};
/// A function of the environment, such as range.
struct Function {
  std::string_view name;
};
/// A method of a string, list or dict with the object it belongs to.
struct Method;

/// A value of a template, with the meaning it has in Python.
///
/// Lists, dicts and the like are shared: copies of a Value are the same object.  Their memory belongs to the Heap of the
/// rendering (heap.h), so that cycles and chains of any length end with it.
class Value {
 public:
  Value() = default;  ///< undefined, without a name
  Value(Undefined value) : value_(std::move(value)) {}
  Value(None value) : value_(value) {}
  Value(bool value) : value_(value) {}
  Value(std::int64_t value) : value_(value) {}
  Value(BigInteger value) : value_(std::move(value)) {}
  Value(double value) : value_(value) {}
  Value(TextPtr value) : value_(std::move(value)) {}
  Value(List* value) : value_(value) {}
  Value(Dict* value) : value_(value) {}
  Value(Namespace* value) : value_(value) {}
  Value(Function value) : value_(value) {}
  Value(std::shared_ptr<const Method> value) : value_(std::move(value)) {}
  Value(const Macro* value) : value_(value) {}
  Value(Loop* value) : value_(value) {}
  template <class T>
  Value(T*) = delete;

  template <class T>
  const T* get() const {
    return std::get_if<T>(&value_);
  }
  template <class T>
  bool is() const {
    return std::holds_alternative<T>(value_);
  }
  const Text* text() const { return is<TextPtr>() ? get<TextPtr>()->get() : nullptr; }
  List* list() const { return is<List*>() ? *get<List*>() : nullptr; }
  Dict* dict() const { return is<Dict*>() ? *get<Dict*>() : nullptr; }
  bool is_none() const { return is<None>(); }
  bool is_undefined() const { return is<Undefined>(); }
  /// An integer, or a boolean taken for one, as Python does.
  std::optional<std::int64_t> integer() const;
  bool is_number() const { return is<bool>() || is<std::int64_t>() || is<BigInteger>() || is<double>(); }
  /// As a floating point number; a BigInteger is rounded.  Nothing if it is no number.
  std::optional<double> number() const;

  /// What Python calls the type: "str", "int", "NoneType".
  const char* type_name() const;

 private:
  std::variant<Undefined, None, bool, std::int64_t, BigInteger, double, TextPtr, List*, Dict*, Namespace*, Function,
               std::shared_ptr<const Method>, const Macro*, Loop*>
      value_;
};

struct Method {
  Value object;
  std::string_view name;
};

struct List {
  std::vector<Value> items;
  bool is_tuple = false;
};

/// Keys keep the order in which they came.
class Dict {
 public:
  using Entry = std::pair<Value, Value>;

  const std::vector<Entry>& entries() const { return entries_; }
  std::size_t size() const { return entries_.size(); }

  /// nullptr if there is no such key, or the key is of a kind that no dict has.
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  /// Answers false if `key` is of a kind that this program does not keep in dicts (lists, dicts, tuples).
  bool put(const Value& key, Value value);
  std::optional<Value> take(const Value& key);

 private:
  static std::optional<std::string> index_key(const Value& key);
  std::optional<std::size_t> place_of(const Value& key) const;

  std::vector<Entry> entries_;
  std::unordered_map<std::string_view, std::size_t>
      texts_;                                            // keys that are strings, which entries_ hold -> their places
  std::unordered_map<std::string, std::size_t> others_;  // what index_key() makes of other keys -> their places
};

/// What namespace() makes: the one thing whose members `set` can change.
struct Namespace {
  Dict members;
};

/// The variable `loop` of a for loop.
struct Loop {
  std::vector<Value> items;
  std::size_t index0 = 0;
  std::int64_t depth0 = 0;
  const void* body = nullptr;  // of a recursive loop: its For node, else nullptr
  void* scope = nullptr;       // of a recursive loop: where it stands
  std::optional<Value> last_changed;
};

}  // namespace kl::jinja
