#include "jinja/value.h"

#include <cmath>
#include <cstdlib>

#include "jinja/number.h"

namespace kl::jinja {

std::optional<std::int64_t> Value::integer() const {
  if (const auto* value = get<std::int64_t>()) return *value;
  if (const auto* value = get<bool>()) return *value ? 1 : 0;
  return std::nullopt;
}

std::optional<double> Value::number() const {
  if (const auto value = integer()) return static_cast<double>(*value);
  if (const auto* value = get<double>()) return *value;
  if (const auto* value = get<BigInteger>()) return std::strtod(value->digits->bytes().c_str(), nullptr);
  return std::nullopt;
}

const char* Value::type_name() const {
  struct Names {
    const char* operator()(const Undefined&) const { return "Undefined"; }
    const char* operator()(None) const { return "NoneType"; }
    const char* operator()(bool) const { return "bool"; }
    const char* operator()(std::int64_t) const { return "int"; }
    const char* operator()(const BigInteger&) const { return "int"; }
    const char* operator()(double) const { return "float"; }
    const char* operator()(const TextPtr&) const { return "str"; }
    const char* operator()(List* list) const { return list->is_tuple ? "tuple" : "list"; }
    const char* operator()(Dict*) const { return "dict"; }
    const char* operator()(Namespace*) const { return "Namespace"; }
    const char* operator()(const Function&) const { return "function"; }
    const char* operator()(const std::shared_ptr<const Method>&) const { return "method"; }
    const char* operator()(const Macro*) const { return "Macro"; }
    const char* operator()(Loop*) const { return "LoopContext"; }
  };
  return std::visit(Names{}, value_);
}

/// Of a key that is no string: keys that are equal in Python (1, 1.0 and True) give the same text.
std::optional<std::string> Dict::index_key(const Value& key) {
  if (key.is_none()) return "none";
  if (key.is_undefined()) return "undefined";  // all of them are equal
  if (const auto integer = key.integer()) return 'n' + std::to_string(*integer);
  if (const auto* big = key.get<BigInteger>()) return 'n' + big->digits->bytes();
  if (const auto* number = key.get<double>()) {
    const double value = *number;
    if (std::floor(value) == value && std::abs(value) < 9e18) {
      return 'n' + std::to_string(static_cast<std::int64_t>(value));
    }
    return 'n' + python_float(value);
  }
  return std::nullopt;
}

std::optional<std::size_t> Dict::place_of(const Value& key) const {
  const auto place_in = [](const auto& index, const auto& name) {
    const auto found = index.find(name);
    return found != index.end() ? std::optional(found->second) : std::nullopt;
  };
  if (const Text* text = key.text()) return place_in(texts_, std::string_view(text->bytes()));
  const auto name = index_key(key);
  return name ? place_in(others_, *name) : std::nullopt;
}

const Value* Dict::find(const Value& key) const {
  const auto place = place_of(key);
  return place ? &entries_[*place].second : nullptr;
}

const Value* Dict::find(std::string_view key) const {
  const auto found = texts_.find(key);
  return found == texts_.end() ? nullptr : &entries_[found->second].second;
}

bool Dict::put(const Value& key, Value value) {
  if (const auto place = place_of(key)) {
    entries_[*place].second = std::move(value);
    return true;
  }
  if (const Text* text = key.text()) {
    texts_.emplace(text->bytes(), entries_.size());
  } else if (auto name = index_key(key)) {
    others_.emplace(std::move(*name), entries_.size());
  } else {
    return false;
  }
  entries_.emplace_back(key, std::move(value));
  return true;
}

std::optional<Value> Dict::take(const Value& key) {
  const auto place = place_of(key);
  if (!place) return std::nullopt;
  Value value = std::move(entries_[*place].second);
  const Value own_key = std::move(entries_[*place].first);  // texts_ refers to it
  entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(*place));
  const auto forget = [&](auto& index) {
    std::erase_if(index, [&](const auto& entry) { return entry.second == *place; });
    for (auto& [name, position] : index) position -= position > *place;
  };
  forget(texts_);
  forget(others_);
  return value;
}

}  // namespace kl::jinja
