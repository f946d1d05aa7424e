#pragma once
#include <string_view>

#include "jinja/arguments.h"
#include "jinja/heap.h"
#include "jinja/value.h"

namespace kl::jinja {

/// The method of this name that Python's str, list or dict has, or loop; empty if there is none.
std::string_view find_method(const Value& object, std::string_view name);

/// Calls what find_method() gave.  Throws Failure, also for methods that are not in the subset.
Value call_method(const Method& method, const Arguments& arguments, Heap& heap);

}  // namespace kl::jinja
