// The part of operators.h that looks into values.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/printable.h"
#include "jinja/characters.h"
#include "jinja/failure.h"
#include "jinja/methods.h"
#include "jinja/operators.h"

namespace kl::jinja {
namespace {

[[noreturn]] void fail_undefined(const Undefined& value) {
  fail(value.what ? value.what->bytes() : "expected a value, got an undefined one");
}

std::vector<Value> characters_of(const Text& text, Heap& heap) {
  std::vector<Value> items;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t bytes = character_length(text.bytes()[i]);
    items.emplace_back(heap.text(text.substr(i, bytes)));
    i += bytes;
  }
  return items;
}

Value loop_attribute(const Loop& loop, std::string_view name, Heap& heap) {
  const auto count = static_cast<std::int64_t>(loop.items.size());
  const auto index = static_cast<std::int64_t>(loop.index0);
  if (name == "index") return Value(index + 1);
  if (name == "index0") return Value(index);
  if (name == "revindex") return Value(count - index);
  if (name == "revindex0") return Value(count - index - 1);
  if (name == "first") return Value(index == 0);
  if (name == "last") return Value(index + 1 == count);
  if (name == "length") return Value(count);
  if (name == "depth") return Value(loop.depth0 + 1);
  if (name == "depth0") return Value(loop.depth0);
  if (name == "previtem") return index > 0 ? loop.items[loop.index0 - 1] : heap.undefined("there is no previous item");
  if (name == "nextitem")
    return index + 1 < count ? loop.items[loop.index0 + 1] : heap.undefined("there is no next item");
  return heap.undefined(fmt::format("'loop' has no attribute '{}'", name));
}

/// What Jinja's getattr finds; nothing if there is no such attribute.
std::optional<Value> find_attribute(const Value& value, std::string_view name, Heap& heap) {
  if (const auto* undefined_value = value.get<Undefined>()) fail_undefined(*undefined_value);
  if (value.is<Namespace*>()) {
    const Value* member = (*value.get<Namespace*>())->members.find(name);
    return member != nullptr ? std::optional(*member) : std::nullopt;
  }
  if (const std::string_view method = find_method(value, name); !method.empty()) {
    heap.step();
    return Value(std::make_shared<const Method>(Method{value, method}));
  }
  if (value.is<Loop*>()) return loop_attribute(**value.get<Loop*>(), name, heap);
  return std::nullopt;
}

/// A place counted from the end if it is negative; nothing if it is outside.
std::optional<std::size_t> place_in(std::size_t size, std::int64_t index) {
  const auto count = static_cast<std::int64_t>(size);
  if (index < 0) index = index < -count ? -1 : index + count;
  if (index < 0 || index >= count) return std::nullopt;
  return static_cast<std::size_t>(index);
}

std::optional<Value> find_item(const Value& value, const Value& key, Heap& heap) {
  if (const Dict* dict = value.dict()) {
    const Value* found = dict->find(key);
    return found != nullptr ? std::optional(*found) : std::nullopt;
  }
  if (!key.integer()) return std::nullopt;
  if (const List* list = value.list()) {
    const auto place = place_in(list->items.size(), *key.integer());
    return place ? std::optional(list->items[*place]) : std::nullopt;
  }
  if (const Text* text = value.text()) {
    heap.work(text->size());
    const auto place = place_in(count_characters(text->bytes()), *key.integer());
    if (!place) return std::nullopt;
    const std::size_t byte = byte_of(text->bytes(), *place);
    return Value(heap.text(text->substr(byte, character_length(text->bytes()[byte]))));
  }
  return std::nullopt;
}

const char* describe(const Value& value) {
  if (value.dict()) return "dict object";
  if (value.list()) return value.list()->is_tuple ? "tuple object" : "list object";
  if (value.text()) return "str object";
  return value.type_name();
}

/// Python's slice.indices for one end.
std::int64_t slice_end(const Value& value, std::int64_t size, std::int64_t step, std::int64_t left_out) {
  if (value.is_none()) return left_out;
  if (const auto* undefined_value = value.get<Undefined>()) fail_undefined(*undefined_value);
  const auto given = value.integer();
  if (!given) fail(fmt::format("slice: expected integers, got {}", value.type_name()));
  const std::int64_t lowest = step < 0 ? -1 : 0, highest = step < 0 ? size - 1 : size;
  if (*given < 0) return *given < -size ? lowest : std::max(*given + size, lowest);
  return std::min(*given, highest);
}

}  // namespace

std::optional<std::size_t> length_of(const Value& value) {
  if (const Text* text = value.text()) return count_characters(text->bytes());
  if (const List* list = value.list()) return list->items.size();
  if (const Dict* dict = value.dict()) return dict->size();
  if (value.is<Loop*>()) return (*value.get<Loop*>())->items.size();
  if (value.is_undefined()) return 0;
  return std::nullopt;
}

std::vector<Value> items_of(const Value& value, Heap& heap) {
  if (const Text* text = value.text()) return characters_of(*text, heap);
  if (const List* list = value.list()) {
    heap.work(list->items.size());
    return list->items;
  }
  if (const Dict* dict = value.dict()) {
    heap.work(dict->size());
    std::vector<Value> keys;
    for (const Dict::Entry& entry : dict->entries()) keys.push_back(entry.first);
    return keys;
  }
  if (value.is_undefined()) return {};
  fail(fmt::format("expected something to iterate over, got {}", value.type_name()));
}

Value item_of(const Value& value, const Value& key, Heap& heap) {
  if (const auto* undefined_value = value.get<Undefined>()) fail_undefined(*undefined_value);
  if (auto found = find_item(value, key, heap)) return *found;
  if (const Text* name = key.text()) {
    if (auto found = find_attribute(value, name->bytes(), heap)) return *found;
    return heap.undefined(fmt::format("'{}' has no attribute '{}'", describe(value), printable(name->bytes(), 100)));
  }
  return heap.undefined(fmt::format("'{}' has no such element", describe(value)));
}

Value attribute_of(const Value& value, std::string_view name, Heap& heap) {
  if (auto found = find_attribute(value, name, heap)) return *found;
  if (const Dict* dict = value.dict()) {
    if (const Value* found = dict->find(name)) return *found;
  }
  return heap.undefined(fmt::format("'{}' has no attribute '{}'", describe(value), name));
}

Value slice_of(const Value& value, const Value& first, const Value& last, const Value& step, Heap& heap) {
  if (const auto* undefined_value = value.get<Undefined>()) fail_undefined(*undefined_value);
  const Text* text = value.text();
  const List* list = value.list();
  if (text == nullptr && list == nullptr) {
    fail(fmt::format("slice: expected a string or a list, got {}", value.type_name()));
  }
  const std::int64_t stride = step.is_none() ? 1 : step.integer().value_or(0);
  if (stride == 0) fail("slice: expected a step that is an integer and not 0");
  const auto size = static_cast<std::int64_t>(*length_of(value));
  const std::int64_t begin = slice_end(first, size, stride, stride < 0 ? size - 1 : 0);
  const std::int64_t end = slice_end(last, size, stride, stride < 0 ? -1 : size);
  if (text != nullptr && stride == 1) {
    heap.work(text->size());
    const std::size_t from = byte_of(text->bytes(), static_cast<std::size_t>(begin));
    const std::size_t to = byte_of(text->bytes(), static_cast<std::size_t>(std::max(begin, end)));
    return Value(heap.text(text->substr(from, to - from)));
  }
  const std::vector<Value> items = items_of(value, heap);
  std::vector<Value> chosen;
  std::int64_t i = begin;
  while (stride < 0 ? i > end : i < end) {
    chosen.push_back(items[static_cast<std::size_t>(i)]);
    if (__builtin_add_overflow(i, stride, &i)) break;
  }
  if (text != nullptr) {
    Text joined;
    for (const Value& character : chosen) joined.append(*character.text());
    return Value(heap.text(std::move(joined)));
  }
  List* made = heap.list(std::move(chosen));
  made->is_tuple = list->is_tuple;
  return Value(made);
}

void put(Dict& dict, const Value& key, Value value, Heap& heap) {
  heap.grow(4);
  if (!dict.put(key, std::move(value))) fail(fmt::format("expected a key of a dict, got {}", key.type_name()));
}

}  // namespace kl::jinja
