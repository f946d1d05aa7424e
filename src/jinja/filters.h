#pragma once
#include <span>
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

/// The filters of lists and dicts; filters.cc has the others.
std::span<const Filter> list_filters();

}  // namespace kl::jinja
