#include "text/unicode.h"

#include <algorithm>
#include <optional>

#include "text/unicode_tables.h"

namespace kl {
namespace {

/// What the table says of a character; nothing if that is nothing.
std::optional<std::string> find(const CaseTable& table, std::uint32_t c) {
  const auto text = std::ranges::lower_bound(table.texts, c, {}, &CaseText::character);
  if (text != table.texts.end() && text->character == c) return text->text;
  const auto run = std::ranges::lower_bound(table.runs, c, {}, &CaseRun::last);
  if (run == table.runs.end() || c < run->first || (c - run->first) % run->step != 0) return std::nullopt;
  return to_utf8(static_cast<std::uint32_t>(static_cast<std::int64_t>(c) + run->distance));
}

}  // namespace

std::string to_case(std::uint32_t c, Case to) {
  if (to != Case::kTitle) return find(to == Case::kLower ? kToLower : kToUpper, c).value_or(to_utf8(c));
  if (auto exception = find(kToTitle, c)) return *exception;
  const std::string upper = to_case(c, Case::kUpper);
  std::string title;
  for (std::size_t i = 0; i < upper.size(); i += character_length(upper[i])) {
    const std::string_view rest = std::string_view(upper).substr(i);
    title += i == 0 ? rest.substr(0, character_length(upper[0])) : to_case(first_character(rest), Case::kLower);
  }
  return title;
}

}  // namespace kl
