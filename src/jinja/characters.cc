#include "jinja/characters.h"

namespace kl::jinja {

std::size_t byte_of(std::string_view text, std::size_t index) {
  std::size_t position = 0;
  for (; index > 0 && position < text.size(); --index) position += character_length(text[position]);
  return position;
}

std::size_t space_length(std::string_view text) {
  if (text.empty()) return 0;
  const Character c = read_character(text.data());
  return (c.classes & kPythonSpace) != 0 ? c.bytes : 0;
}

std::string_view lstrip(std::string_view text) {
  while (const std::size_t bytes = space_length(text)) text.remove_prefix(bytes);
  return text;
}

std::string_view rstrip(std::string_view text) {
  while (!text.empty()) {
    const std::size_t last = last_character(text);
    if (space_length(text.substr(last)) == 0) break;
    text = text.substr(0, last);
  }
  return text;
}

}  // namespace kl::jinja
