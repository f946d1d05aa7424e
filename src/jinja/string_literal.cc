#include "jinja/string_literal.h"

#include <charconv>
#include <cstdint>

#include "jinja/characters.h"

namespace kl::jinja {
namespace {

/// Reads up to `max` digits; exactly `max` if `exact`.
std::optional<std::uint32_t> read_code(std::string_view& text, std::size_t max, int base, bool exact) {
  std::uint32_t code = 0;
  const std::string_view digits = text.substr(0, max);
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), code, base);
  const auto read = static_cast<std::size_t>(result.ptr - digits.data());
  if (read == 0 || (exact && read != max)) return std::nullopt;
  text.remove_prefix(read);
  return code;
}

std::string_view simple_escape(char c) {
  switch (c) {
    case '\n':
      return "";
    case '\\':
      return "\\";
    case '\'':
      return "'";
    case '"':
      return "\"";
    case 'a':
      return "\a";
    case 'b':
      return "\b";
    case 'f':
      return "\f";
    case 'n':
      return "\n";
    case 'r':
      return "\r";
    case 't':
      return "\t";
    case 'v':
      return "\v";
    default:
      return "?";
  }
}

}  // namespace

std::optional<std::string> unescape(std::string_view body) {
  std::string text;
  while (!body.empty()) {
    const std::size_t backslash = body.find('\\');
    text += body.substr(0, backslash);
    if (backslash == body.npos) break;
    body.remove_prefix(backslash + 1);
    if (body.empty()) return std::nullopt;
    const char c = body[0];
    if (const std::string_view simple = simple_escape(c); simple != "?") {
      text += simple;
      body.remove_prefix(1);
      continue;
    }
    std::optional<std::uint32_t> code;
    if (c == 'N') return std::nullopt;
    if (c == 'x' || c == 'u' || c == 'U') {
      body.remove_prefix(1);
      code = read_code(body, c == 'x' ? 2 : c == 'u' ? 4 : 8, 16, true);
    } else if (c >= '0' && c <= '7') {
      code = read_code(body, 3, 8, false);
    } else {
      text += '\\';
      continue;
    }
    if (!code || *code >= 0x110000 || (*code >= 0xD800 && *code < 0xE000)) return std::nullopt;
    text += to_utf8(*code);
  }
  return text;
}

}  // namespace kl::jinja
