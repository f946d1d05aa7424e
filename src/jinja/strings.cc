#include "jinja/strings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "jinja/failure.h"

namespace kl::jinja {
namespace {

/// What strip() takes away: some characters, or whitespace.
class Strippable {
 public:
  explicit Strippable(const Text* characters) : is_space_(characters == nullptr) {
    if (is_space_) return;
    const std::string_view bytes = characters->bytes();
    for (std::size_t i = 0; i < bytes.size(); i += character_length(bytes[i])) {
      characters_.insert(first_character(bytes.substr(i)));
    }
  }

  /// Length in bytes of the character at the start of `text` if it is one of them, else 0.
  std::size_t length(std::string_view text) const {
    if (text.empty()) return 0;
    if (is_space_) return space_length(text);
    return characters_.contains(first_character(text)) ? character_length(text[0]) : 0;
  }

 private:
  bool is_space_;
  std::unordered_set<std::uint32_t> characters_;
};

/// Walks over the characters: change(place, length) gives what stands in place of each.
template <class Change>
Text map_characters(const Text& text, Change change) {
  Text result;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t bytes = character_length(text.bytes()[i]);
    result.append_like(text, i, change(i));
    i += bytes;
  }
  return result;
}

/// Lower case of the character at `i`; sigma has another form at the end of a word.
std::string lower_at(const Text& text, std::size_t i) {
  const std::string_view bytes = text.bytes();
  const std::uint32_t c = first_character(bytes.substr(i));
  constexpr std::uint32_t kSigma = 0x3A3;
  if (c == kSigma && i > 0 && is_cased(first_character(bytes.substr(last_character(bytes.substr(0, i)))))) {
    const std::string_view rest = bytes.substr(i + 2);
    if (rest.empty() || !is_cased(first_character(rest))) return "\xCF\x82";
  }
  return to_case(c, Case::kLower);
}

struct Word {
  std::size_t begin, end;
};

/// What stands between stretches of whitespace.
std::vector<Word> words_of(std::string_view text, Heap& heap) {
  std::vector<Word> words;
  std::size_t at = 0;
  while (true) {
    at = text.size() - lstrip(text.substr(at)).size();
    if (at == text.size()) return words;
    const std::size_t begin = at;
    while (at < text.size() && space_length(text.substr(at)) == 0) at += character_length(text[at]);
    words.push_back({begin, at});
    heap.grow(1);
  }
}

/// How many of them split() gives one by one; the others are one part, with the whitespace inside and behind it
/// (rsplit: before it).
std::size_t num_cut(const std::vector<Word>& words, std::int64_t count) {
  return count < 0 ? words.size() : std::min(words.size(), static_cast<std::size_t>(count));
}

std::vector<Text> split_at_spaces(const Text& text, std::int64_t count, Heap& heap) {
  const std::vector<Word> words = words_of(text.bytes(), heap);
  const std::size_t n = num_cut(words, count);
  std::vector<Text> parts;
  for (std::size_t i = 0; i < n; ++i) parts.push_back(text.substr(words[i].begin, words[i].end - words[i].begin));
  if (n < words.size()) parts.push_back(text.substr(words[n].begin));
  return parts;
}

std::vector<Text> rsplit_at_spaces(const Text& text, std::int64_t count, Heap& heap) {
  const std::vector<Word> words = words_of(text.bytes(), heap);
  const std::size_t first = words.size() - num_cut(words, count);
  std::vector<Text> parts;
  if (first > 0) parts.push_back(text.substr(0, words[first - 1].end));
  for (std::size_t i = first; i < words.size(); ++i)
    parts.push_back(text.substr(words[i].begin, words[i].end - words[i].begin));
  return parts;
}

void check_separator(const Text& separator) {
  if (separator.empty()) fail("split: expected a separator, got an empty string");
}

}  // namespace

std::size_t find_bytes(std::string_view text, std::string_view part, std::size_t from) {
  if (from > text.size()) return std::string_view::npos;
  if (part.empty()) return from;
  const void* found = ::memmem(text.data() + from, text.size() - from, part.data(), part.size());
  if (found == nullptr) return std::string_view::npos;
  return static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
}

Text strip(const Text& text, const Text* characters, bool left, bool right) {
  const Strippable strippable(characters);
  std::string_view rest = text.bytes();
  while (left) {
    const std::size_t bytes = strippable.length(rest);
    if (bytes == 0) break;
    rest.remove_prefix(bytes);
  }
  const std::size_t begin = text.size() - rest.size();
  while (right && !rest.empty()) {
    const std::size_t last = last_character(rest);
    if (strippable.length(rest.substr(last)) == 0) break;
    rest = rest.substr(0, last);
  }
  return text.substr(begin, rest.size());
}

Text replace(const Text& text, const Text& from, const Text& to, std::int64_t count, Heap& heap) {
  Text result;
  const auto add = [&](const Text& part) {
    heap.work(part.size());
    heap.check_length(result.size() + part.size());
    result.append(part);
  };
  std::size_t at = 0;
  for (std::int64_t done = 0; count < 0 || done < count; ++done) {
    // An empty string stands before every character, and at the end.
    const std::size_t place = from.empty() ? at : find_bytes(text.bytes(), from.bytes(), at);
    if (place == std::string::npos) break;
    add(text.substr(at, place - at));
    add(to);
    at = place + from.size();
    if (!from.empty()) continue;
    if (at >= text.size()) return result;
    const std::size_t bytes = character_length(text.bytes()[at]);
    add(text.substr(at, bytes));
    at += bytes;
  }
  add(text.substr(at));
  return result;
}

Text change_case(const Text& text, Case to) {
  return map_characters(text, [&](std::size_t i) {
    return to == Case::kLower ? lower_at(text, i)
                              : to_case(first_character(std::string_view(text.bytes()).substr(i)), to);
  });
}

Text capitalize(const Text& text) {
  return map_characters(text, [&](std::size_t i) {
    return i == 0 ? to_case(first_character(text.bytes()), Case::kTitle) : lower_at(text, i);
  });
}

Text title(const Text& text) {
  bool in_word = false;
  return map_characters(text, [&](std::size_t i) {
    const std::uint32_t c = first_character(std::string_view(text.bytes()).substr(i));
    const std::string changed = in_word ? lower_at(text, i) : to_case(c, Case::kTitle);
    in_word = is_cased(c);
    return changed;
  });
}

std::vector<Text> split(const Text& text, const Text* separator, std::int64_t count, Heap& heap) {
  heap.work(text.size());
  if (separator == nullptr) return split_at_spaces(text, count, heap);
  check_separator(*separator);
  std::vector<Text> parts;
  std::size_t at = 0;
  while (count < 0 || parts.size() < static_cast<std::size_t>(count)) {
    const std::size_t place = find_bytes(text.bytes(), separator->bytes(), at);
    if (place == std::string::npos) break;
    parts.push_back(text.substr(at, place - at));
    at = place + separator->size();
    heap.grow(1);
  }
  parts.push_back(text.substr(at));
  return parts;
}

std::vector<Text> rsplit(const Text& text, const Text* separator, std::int64_t count, Heap& heap) {
  heap.work(text.size());
  if (separator == nullptr) return rsplit_at_spaces(text, count, heap);
  check_separator(*separator);
  // Looked for forwards in what is written backwards: find_bytes() has no counterpart.
  const std::string reversed(text.bytes().rbegin(), text.bytes().rend());
  const std::string reversed_separator(separator->bytes().rbegin(), separator->bytes().rend());
  std::vector<Text> parts;
  std::size_t end = text.size();
  while (count < 0 || parts.size() < static_cast<std::size_t>(count)) {
    const std::size_t place = find_bytes(reversed, reversed_separator, text.size() - end);
    if (place == std::string::npos) break;
    const std::size_t begin = text.size() - place;
    parts.push_back(text.substr(begin, end - begin));
    end = begin - separator->size();
    heap.grow(1);
  }
  parts.push_back(text.substr(0, end));
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<Text> split_lines(const Text& text, bool keep_ends, Heap& heap) {
  // Python's line boundaries: \n \r \v \f, U+001C..1E, U+0085, U+2028, U+2029.
  const auto is_boundary = [](std::uint32_t c) {
    return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
  };
  const std::string_view bytes = text.bytes();
  std::vector<Text> lines;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < bytes.size();) {
    const std::size_t length = character_length(bytes[i]);
    if (!is_boundary(first_character(bytes.substr(i)))) {
      i += length;
      continue;
    }
    const std::size_t end = bytes.substr(i, 2) == "\r\n" ? i + 2 : i + length;
    lines.push_back(text.substr(begin, (keep_ends ? end : i) - begin));
    heap.grow(1);
    begin = i = end;
  }
  if (begin < bytes.size()) lines.push_back(text.substr(begin));
  return lines;
}

Text join(const Text& separator, const std::vector<Value>& parts, Heap& heap) {
  Text result;
  for (const Value& part : parts) {
    if (part.text() == nullptr) fail(fmt::format("join: expected strings, got {}", part.type_name()));
    if (&part != &parts.front()) result.append(separator);
    result.append(*part.text());
    heap.work(part.text()->size() + separator.size());
    heap.check_length(result.size());
  }
  return result;
}

}  // namespace kl::jinja
