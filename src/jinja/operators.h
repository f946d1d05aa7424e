#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "jinja/ast.h"
#include "jinja/heap.h"
#include "jinja/value.h"

namespace kl::jinja {

// What Python's operators do.  All throw Failure where Python raises an exception.

bool is_true(const Value& value);
bool are_equal(const Value& a, const Value& b, Heap& heap);

/// a < b for numbers, strings and lists.
bool is_less(const Value& a, const Value& b, Heap& heap);

/// item in container
bool contains(const Value& container, const Value& item, Heap& heap);

/// One comparison of a chain.
bool compare(Operator op, const Value& a, const Value& b, Heap& heap);

/// a op b for arithmetic.
Value calculate(Operator op, const Value& a, const Value& b, Heap& heap);
Value negative(const Value& value, Heap& heap);
Value positive(const Value& value);

/// len(value), nothing if it has none.
std::optional<std::size_t> length_of(const Value& value);

/// What iterating gives: items, keys, characters; nothing for undefined.
std::vector<Value> items_of(const Value& value, Heap& heap);

/// value[key] as Jinja has it: undefined instead of an exception, and attributes where there is no such item.
Value item_of(const Value& value, const Value& key, Heap& heap);

/// value.name: methods and members first, then items.
Value attribute_of(const Value& value, std::string_view name, Heap& heap);

/// value[first:last:step]; none for what is left out.
Value slice_of(const Value& value, const Value& first, const Value& last, const Value& step, Heap& heap);

/// dict[key] = value, counted.  Throws Failure if nothing can have such a key.
void put(Dict& dict, const Value& key, Value value, Heap& heap);

}  // namespace kl::jinja
