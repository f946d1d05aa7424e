#pragma once
#include <string_view>

#include "jinja/arguments.h"
#include "jinja/heap.h"
#include "jinja/value.h"

namespace kl::jinja {

/// The function of the environment that has this name; empty if there is none: range, namespace, dict,
/// raise_exception, strftime_now.
std::string_view find_function(std::string_view name);

/// Throws Failure; for raise_exception with the template's own words.
Value call_function(std::string_view name, const Arguments& arguments, Heap& heap);

}  // namespace kl::jinja
