#pragma once
#include <string_view>

#include "jinja/arguments.h"
#include "jinja/heap.h"
#include "jinja/value.h"

namespace kl::jinja {

/// A test: value is name(arguments).
struct Test {
  std::string_view name;
  bool (*holds)(const Value& value, ArgumentReader& arguments, Heap& heap);
};

/// nullptr if there is none of this name.
const Test* find_test(std::string_view name);

}  // namespace kl::jinja
