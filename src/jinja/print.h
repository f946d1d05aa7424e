#pragma once
#include <optional>
#include <string>

#include "jinja/heap.h"
#include "jinja/value.h"

namespace kl::jinja {

/// str(value) of Python.  A string keeps its marks; what is made of other values is data.
Text to_text(const Value& value, Heap& heap);

/// repr(value) of Python.
std::string represent(const Value& value, Heap& heap);

/// How json.dumps of Python writes.
struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::optional<std::string> indent;  ///< of one level; nothing: all on one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};

/// json.dumps(value).  Throws Failure on what JSON cannot hold.
std::string to_json(const Value& value, const JsonStyle& style, Heap& heap);

}  // namespace kl::jinja
