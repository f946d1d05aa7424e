#include "jinja/characters.h"

#include <algorithm>

#include "jinja/character_tables.h"
#include "text/unicode_classes.h"

namespace kl::jinja {
namespace {

bool contains(const CharacterRange* ranges, std::size_t count, std::uint32_t character) {
  const CharacterRange* end = ranges + count;
  const CharacterRange* found = std::lower_bound(
      ranges, end, character, [](const CharacterRange& range, std::uint32_t c) { return range.last < c; });
  return found != end && found->first <= character;
}

}  // namespace

std::size_t character_length(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

std::uint32_t first_character(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i])); };
  switch (character_length(text[0])) {
    case 1:
      return byte(0);
    case 2:
      return (byte(0) & 0x1F) << 6 | (byte(1) & 0x3F);
    case 3:
      return (byte(0) & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    default:
      return (byte(0) & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
  }
}

void append_character(std::string& text, std::uint32_t character) {
  const auto add = [&](std::uint32_t byte) { text += static_cast<char>(byte); };
  if (character < 0x80) return add(character);
  if (character < 0x800) {
    add(0xC0 | character >> 6);
  } else {
    if (character < 0x10000) {
      add(0xE0 | character >> 12);
    } else {
      add(0xF0 | character >> 18);
      add(0x80 | (character >> 12 & 0x3F));
    }
    add(0x80 | (character >> 6 & 0x3F));
  }
  add(0x80 | (character & 0x3F));
}

std::size_t count_characters(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::size_t byte_of(std::string_view text, std::size_t index) {
  std::size_t position = 0;
  for (; index > 0 && position < text.size(); --index) position += character_length(text[position]);
  return position;
}

std::size_t space_length(std::string_view text) {
  if (text.empty() || (unicode_classes(first_character(text)) & kPythonSpace) == 0) return 0;
  return character_length(text[0]);
}

std::string_view lstrip(std::string_view text) {
  while (const std::size_t bytes = space_length(text)) text.remove_prefix(bytes);
  return text;
}

std::string_view rstrip(std::string_view text) {
  while (!text.empty()) {
    std::size_t last = text.size() - 1;
    while ((static_cast<unsigned char>(text[last]) & 0xC0) == 0x80) --last;
    if (space_length(text.substr(last)) == 0) break;
    text = text.substr(0, last);
  }
  return text;
}

bool is_printable(std::uint32_t character) { return !contains(kUnprintableRanges, kNumUnprintable, character); }

bool is_cased(std::uint32_t character) { return contains(kCasedRanges, kNumCased, character); }

std::string convert(std::uint32_t character, Case to) {
  const CaseTable& table = to == Case::kLower ? kLower : to == Case::kUpper ? kUpper : kTitle;
  const CaseText* texts_end = table.texts + table.num_texts;
  const CaseText* several = std::lower_bound(table.texts, texts_end, character,
                                             [](const CaseText& text, std::uint32_t c) { return text.character < c; });
  if (several != texts_end && several->character == character) return several->text;
  const CaseRun* runs_end = table.runs + table.num_runs;
  const CaseRun* run =
      std::lower_bound(table.runs, runs_end, character, [](const CaseRun& r, std::uint32_t c) { return r.last < c; });
  if (run != runs_end && run->first <= character && (character - run->first) % run->step == 0) {
    character = static_cast<std::uint32_t>(static_cast<std::int64_t>(character) + run->distance);
  }
  std::string text;
  append_character(text, character);
  return text;
}

}  // namespace kl::jinja
