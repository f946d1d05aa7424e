#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "jinja/characters.h"
#include "jinja/heap.h"
#include "jinja/text.h"

namespace kl::jinja {

// What filters and methods of strings share.  Marks go with the characters.

/// Where `part` begins in `text`, from `from` on, or npos.  As std::string::find, but in time that does not grow with the
/// product of both lengths: a template chooses both.
std::size_t find_bytes(std::string_view text, std::string_view part, std::size_t from = 0);

/// str.strip of the given sides; `characters` nullptr: whitespace.
Text strip(const Text& text, const Text* characters, bool left, bool right);

/// str.replace: the first `count` places, all if it is negative.
Text replace(const Text& text, const Text& from, const Text& to, std::int64_t count, Heap& heap);

/// str.lower and str.upper.
Text change_case(const Text& text, Case to);

/// str.capitalize: the first character in title case, the rest in lower case.
Text capitalize(const Text& text);

/// str.title: what follows no cased character in title case, the rest in lower case.
Text title(const Text& text);

/// str.split; `separator` nullptr: stretches of whitespace.  At most `count` cuts, all if it is negative.
std::vector<Text> split(const Text& text, const Text* separator, std::int64_t count, Heap& heap);

/// The same from the right.
std::vector<Text> rsplit(const Text& text, const Text* separator, std::int64_t count, Heap& heap);

/// str.splitlines.
std::vector<Text> split_lines(const Text& text, bool keep_ends, Heap& heap);

/// str.join.  Throws Failure on parts that are no strings.
Text join(const Text& separator, const std::vector<Value>& parts, Heap& heap);

}  // namespace kl::jinja
