#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace kl::jinja {

// Characters of well-formed UTF-8 as Python sees them.

/// The character at the start of `text`, which is not empty.
std::uint32_t first_character(std::string_view text);

/// Its length in bytes.
std::size_t character_length(char lead);

void append_character(std::string& text, std::uint32_t character);

/// How many characters there are.
std::size_t count_characters(std::string_view text);

/// Where character number `index` begins; the end of the text if there are not so many.
std::size_t byte_of(std::string_view text, std::size_t index);

/// Length in bytes of the whitespace character (str.isspace) at the start of `text`, or 0.
std::size_t space_length(std::string_view text);

std::string_view lstrip(std::string_view text);
std::string_view rstrip(std::string_view text);

/// str.isprintable: what repr() shows as it is.
bool is_printable(std::uint32_t character);

/// Has the character case (Lu, Ll, Lt and their like): where one ends, str.title begins anew.
bool is_cased(std::uint32_t character);

enum class Case { kLower, kUpper, kTitle };

/// One character in another case, which may be several.
std::string convert(std::uint32_t character, Case to);

}  // namespace kl::jinja
