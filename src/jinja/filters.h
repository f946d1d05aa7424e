#pragma once
#include <string_view>

#include "jinja/arguments.h"
#include "jinja/heap.h"
#include "jinja/value.h"

namespace kl::jinja {

/// A filter: value | name(arguments).
struct Filter {
  std::string_view name;
  Value (*apply)(const Value& input, ArgumentReader& arguments, Heap& heap);
};

/// nullptr if there is none of this name.
const Filter* find_filter(std::string_view name);

/// The filters of lists and numbers; those of strings are in filters.cc with the table of all.
Value filter_dictsort(const Value& input, ArgumentReader& arguments, Heap& heap);
Value filter_first(const Value& input, ArgumentReader& arguments, Heap& heap);
Value filter_items(const Value& input, ArgumentReader& arguments, Heap& heap);
Value filter_join(const Value& input, ArgumentReader& arguments, Heap& heap);
Value filter_last(const Value& input, ArgumentReader& arguments, Heap& heap);
Value filter_length(const Value& input, ArgumentReader& arguments, Heap& heap);
Value filter_list(const Value& input, ArgumentReader& arguments, Heap& heap);
Value filter_map(const Value& input, ArgumentReader& arguments, Heap& heap);
Value filter_max(const Value& input, ArgumentReader& arguments, Heap& heap);
Value filter_min(const Value& input, ArgumentReader& arguments, Heap& heap);
Value filter_reject(const Value& input, ArgumentReader& arguments, Heap& heap);
Value filter_rejectattr(const Value& input, ArgumentReader& arguments, Heap& heap);
Value filter_reverse(const Value& input, ArgumentReader& arguments, Heap& heap);
Value filter_select(const Value& input, ArgumentReader& arguments, Heap& heap);
Value filter_selectattr(const Value& input, ArgumentReader& arguments, Heap& heap);
Value filter_sort(const Value& input, ArgumentReader& arguments, Heap& heap);
Value filter_sum(const Value& input, ArgumentReader& arguments, Heap& heap);
Value filter_unique(const Value& input, ArgumentReader& arguments, Heap& heap);

}  // namespace kl::jinja
