#pragma once
#include "jinja/heap.h"
#include "jinja/template.h"
#include "jinja/value.h"

namespace kl::jinja {

/// The value of a variable: objects keep the order of their keys, integers their digits.
/// Throws Error(kCorrupt) naming the variable, and Failure where it exceeds the heap's limits.
Value from_json(const Variable& variable, Heap& heap);

}  // namespace kl::jinja
