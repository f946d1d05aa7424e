// The filters of lists and dicts; filters.cc has the others.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "jinja/characters.h"
#include "jinja/failure.h"
#include "jinja/filters.h"
#include "jinja/number.h"
#include "jinja/operators.h"
#include "jinja/print.h"
#include "jinja/strings.h"
#include "jinja/tests.h"

namespace kl::jinja {
namespace {

/// "a.b.0": what the filters with `attribute` look at; nothing given: the item itself.
class AttributePath {
 public:
  AttributePath(const std::optional<Value>& given, Heap& heap) : heap_(heap) {
    if (!given || given->is_none()) return;
    if (given->integer()) {
      keys_.push_back(*given);
      return;
    }
    if (given->text() == nullptr) fail(fmt::format("attribute: expected a string, got {}", given->type_name()));
    const Text point = Text::own(".");
    for (Text& part : split(*given->text(), &point, -1, heap)) {
      const bool is_number = !part.empty() && part.bytes().find_first_not_of("0123456789") == std::string::npos;
      const auto number = is_number ? read_integer(part.bytes(), 10) : std::nullopt;
      keys_.push_back(number ? Value(*number) : Value(heap.text(std::move(part))));
    }
  }

  Value of(Value item) const {
    for (const Value& key : keys_) item = item_of(item, key, heap_);
    return item;
  }

 private:
  Heap& heap_;
  std::vector<Value> keys_;
};

/// What sorting without case looks at.
Value without_case(const Value& value, Heap& heap) {
  return value.text() ? Value(heap.text(change_case(*value.text(), Case::kLower))) : value;
}

/// Stable sort by keys computed once; the comparison may throw, which std::stable_sort survives.
std::vector<Value> sorted(std::vector<std::pair<Value, Value>> keyed, bool reverse, Heap& heap) {
  const auto before = [&](const auto& a, const auto& b) {
    return reverse ? is_less(b.first, a.first, heap) : is_less(a.first, b.first, heap);
  };
  // By hand, as a comparison that contradicts itself (NaN) must not lead std::sort astray.
  const std::size_t count = keyed.size();
  std::vector<std::pair<Value, Value>> merged(count);
  for (std::size_t width = 1; width < count; width *= 2) {
    for (std::size_t begin = 0; begin < count; begin += 2 * width) {
      const std::size_t middle = std::min(begin + width, count), end = std::min(begin + 2 * width, count);
      std::size_t a = begin, b = middle;
      for (std::size_t i = begin; i < end; ++i) {
        const bool take_right = a == middle || (b < end && before(keyed[b], keyed[a]));
        merged[i] = std::move(keyed[take_right ? b++ : a++]);
      }
    }
    keyed.swap(merged);
  }
  std::vector<Value> items;
  for (auto& [key, item] : keyed) items.push_back(std::move(item));
  return items;
}

/// What select, map and their like go through: nothing for anything false, even if it cannot be iterated over.
std::vector<Value> items_or_nothing(const Value& input, Heap& heap) {
  return is_true(input) ? items_of(input, heap) : std::vector<Value>();
}

/// select, reject, selectattr, rejectattr: items, or attributes of them, that pass a test.
template <bool by_attribute, bool wanted>
Value choose(const Value& input, ArgumentReader& arguments, Heap& heap) {
  const AttributePath path(by_attribute ? std::optional(arguments.require("attribute")) : std::nullopt, heap);
  const auto name = arguments.take_text("test");
  const Test* test = name ? find_test((*name)->bytes()) : nullptr;
  if (name && test == nullptr) fail(fmt::format("expected a test that kl has, got {}", (*name)->bytes()));
  const Arguments rest = arguments.rest();
  std::vector<Value> chosen;
  for (const Value& item : items_or_nothing(input, heap)) {
    const Value value = path.of(item);
    bool passes = is_true(value);
    if (test != nullptr) {
      ArgumentReader reader(test->name, rest);
      passes = test->holds(value, reader, heap);
      reader.finish();
    }
    if (passes == wanted) chosen.push_back(item);
  }
  return Value(heap.list(std::move(chosen)));
}

Value filter_dictsort(const Value& input, ArgumentReader& arguments, Heap& heap) {
  const bool case_sensitive = arguments.take_bool("case_sensitive", false);
  const auto by = arguments.take_text("by");
  const bool reverse = arguments.take_bool("reverse", false);
  if (by && (*by)->bytes() != "key" && (*by)->bytes() != "value") fail("dictsort: by: expected key or value");
  const bool by_value = by && (*by)->bytes() == "value";
  if (input.dict() == nullptr) fail(fmt::format("dictsort: expected a dict, got {}", input.type_name()));
  std::vector<std::pair<Value, Value>> keyed;
  for (const auto& [key, value] : input.dict()->entries()) {
    const Value& chosen = by_value ? value : key;
    keyed.emplace_back(case_sensitive ? chosen : without_case(chosen, heap), Value(heap.tuple({key, value})));
  }
  return Value(heap.list(sorted(std::move(keyed), reverse, heap)));
}

Value filter_sort(const Value& input, ArgumentReader& arguments, Heap& heap) {
  const bool reverse = arguments.take_bool("reverse", false);
  const bool case_sensitive = arguments.take_bool("case_sensitive", false);
  const auto attribute = arguments.take("attribute");
  if (attribute && attribute->text() && attribute->text()->bytes().find(',') != std::string::npos) {
    fail("sort: attribute: expected one attribute, got several");
  }
  const AttributePath path(attribute, heap);
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : items_of(input, heap)) {
    keyed.emplace_back(case_sensitive ? path.of(item) : without_case(path.of(item), heap), item);
  }
  return Value(heap.list(sorted(std::move(keyed), reverse, heap)));
}

Value filter_first(const Value& input, ArgumentReader&, Heap& heap) {
  const std::vector<Value> items = items_of(input, heap);
  return items.empty() ? heap.undefined("No first item, sequence was empty.") : items.front();
}

Value filter_last(const Value& input, ArgumentReader&, Heap& heap) {
  const std::vector<Value> items = items_of(input, heap);
  return items.empty() ? heap.undefined("No last item, sequence was empty.") : items.back();
}

Value filter_items(const Value& input, ArgumentReader&, Heap& heap) {
  std::vector<Value> items;
  if (input.is_undefined()) return Value(heap.list());
  if (input.dict() == nullptr) fail(fmt::format("items: expected a dict, got {}", input.type_name()));
  for (const auto& [key, value] : input.dict()->entries()) items.emplace_back(heap.tuple({key, value}));
  return Value(heap.list(std::move(items)));
}

Value filter_join(const Value& input, ArgumentReader& arguments, Heap& heap) {
  const Text separator = to_text(arguments.take("d").value_or(Value()), heap);
  const AttributePath path(arguments.take("attribute"), heap);
  std::vector<Value> parts;
  for (const Value& item : items_of(input, heap)) parts.emplace_back(heap.text(to_text(path.of(item), heap)));
  return Value(heap.text(join(separator, parts, heap)));
}

Value filter_length(const Value& input, ArgumentReader&, Heap& heap) {
  const auto length = length_of(input);
  if (!length) fail(fmt::format("length: expected something with a length, got {}", input.type_name()));
  heap.work(input.text() ? input.text()->size() : 1);
  return Value(static_cast<std::int64_t>(*length));
}

Value filter_list(const Value& input, ArgumentReader&, Heap& heap) { return Value(heap.list(items_of(input, heap))); }

Value filter_map(const Value& input, ArgumentReader& arguments, Heap& heap) {
  std::vector<Value> results;
  Arguments rest = arguments.rest();
  if (rest.positional.empty()) {
    ArgumentReader reader("map", rest);
    const Value attribute = reader.require("attribute");
    const auto otherwise = reader.take("default");
    reader.finish();
    const AttributePath path(attribute, heap);
    for (const Value& item : items_or_nothing(input, heap)) {
      Value value = path.of(item);
      results.push_back(value.is_undefined() && otherwise ? *otherwise : std::move(value));
    }
    return Value(heap.list(std::move(results)));
  }
  const Text* name = rest.positional[0].text();
  const Filter* filter = name != nullptr ? find_filter(name->bytes()) : nullptr;
  if (filter == nullptr) fail("map: expected the name of a filter that kl has");
  const Heap::Level level(heap);  // map('map', 'map', ...) calls itself, and each call holds its arguments
  Heap::Held held(heap);
  held.add_values(rest.positional.size());
  rest.positional.erase(rest.positional.begin());
  for (const Value& item : items_or_nothing(input, heap)) {
    heap.step();
    ArgumentReader reader(filter->name, rest);
    results.push_back(filter->apply(item, reader, heap));
    reader.finish();
  }
  return Value(heap.list(std::move(results)));
}

Value filter_reverse(const Value& input, ArgumentReader&, Heap& heap) {
  std::vector<Value> items = items_of(input, heap);
  std::reverse(items.begin(), items.end());
  if (input.text() == nullptr) return Value(heap.list(std::move(items)));
  return Value(heap.text(join(Text(), items, heap)));
}

constexpr Filter kFilters[] = {
    {"count", filter_length},
    {"dictsort", filter_dictsort},
    {"first", filter_first},
    {"items", filter_items},
    {"join", filter_join},
    {"last", filter_last},
    {"length", filter_length},
    {"list", filter_list},
    {"map", filter_map},
    {"reject", choose<false, false>},
    {"rejectattr", choose<true, false>},
    {"reverse", filter_reverse},
    {"select", choose<false, true>},
    {"selectattr", choose<true, true>},
    {"sort", filter_sort},
};

}  // namespace

std::span<const Filter> list_filters() { return kFilters; }

}  // namespace kl::jinja
