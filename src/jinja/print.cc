#include "jinja/print.h"

#include <fmt/format.h>

#include <algorithm>

#include "jinja/characters.h"
#include "jinja/failure.h"
#include "jinja/number.h"

namespace kl::jinja {
namespace {

constexpr int kMaxDepth = 200;  // of values inside one another

std::string represent_text(const std::string& text) {
  const char quote = text.find('\'') != text.npos && text.find('"') == text.npos ? '"' : '\'';
  std::string result(1, quote);
  for (std::size_t i = 0; i < text.size();) {
    const std::uint32_t c = first_character(std::string_view(text).substr(i));
    const std::size_t bytes = character_length(text[i]);
    if (c == static_cast<unsigned char>(quote) || c == '\\') {
      result += '\\';
      result += static_cast<char>(c);
    } else if (c == '\n' || c == '\r' || c == '\t') {
      result += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else if ((unicode_classes(c) & kPrintable) != 0) {
      result.append(text, i, bytes);
    } else {
      result += c < 0x100     ? fmt::format("\\x{:02x}", c)
                : c < 0x10000 ? fmt::format("\\u{:04x}", c)
                              : fmt::format("\\U{:08x}", c);
    }
    i += bytes;
  }
  return result + quote;
}

/// What str() and repr() of everything but strings and containers have in common.
std::string represent_atom(const Value& value) {
  if (const auto* boolean = value.get<bool>()) return *boolean ? "True" : "False";
  if (const auto* integer = value.get<std::int64_t>()) return std::to_string(*integer);
  if (const auto* big = value.get<BigInteger>()) return big->digits->bytes();
  if (const auto* number = value.get<double>()) return python_float(*number);
  if (value.is_none()) return "None";
  return fmt::format("<{}>", value.type_name());
}

/// A text in the making, whose bytes are counted.
class Output {
 public:
  explicit Output(Heap& heap) : heap_(heap) {}
  std::string take() { return std::move(result_); }

 protected:
  void put(std::string_view text) {
    heap_.work(text.size());
    heap_.check_length(result_.size() + text.size());
    result_ += text;
  }

 private:
  Heap& heap_;
  std::string result_;
};

class Representation : public Output {
 public:
  using Output::Output;

  void add(const Value& value, int depth) {
    if (depth > kMaxDepth) fail(fmt::format("expected values at most {} deep", kMaxDepth));
    if (const Text* text = value.text()) {
      put(represent_text(text->bytes()));
    } else if (value.is_undefined()) {
      put("Undefined");
    } else if (const List* list = value.list()) {
      add_items(*list, depth);
    } else if (const Dict* dict = value.dict()) {
      add_dict(*dict, depth);
    } else if (value.is<Namespace*>()) {
      put("<Namespace ");
      add_dict((*value.get<Namespace*>())->members, depth);
      put(">");
    } else {
      put(represent_atom(value));
    }
  }

 private:
  void add_items(const List& list, int depth) {
    put(list.is_tuple ? "(" : "[");
    for (std::size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) put(", ");
      add(list.items[i], depth + 1);
    }
    put(list.is_tuple ? (list.items.size() == 1 ? ",)" : ")") : "]");
  }
  void add_dict(const Dict& dict, int depth) {
    put("{");
    for (const auto& [key, value] : dict.entries()) {
      if (&key != &dict.entries().front().first) put(", ");
      add(key, depth + 1);
      put(": ");
      add(value, depth + 1);
    }
    put("}");
  }
};

class JsonWriter : public Output {
 public:
  JsonWriter(const JsonStyle& style, Heap& heap) : Output(heap), style_(style) {}

  void add(const Value& value, std::size_t depth) {
    if (depth > kMaxDepth) fail(fmt::format("tojson: expected values at most {} deep", kMaxDepth));
    if (const Text* text = value.text()) {
      add_text(text->bytes());
    } else if (const List* list = value.list()) {
      add_list(*list, depth);
    } else if (const Dict* dict = value.dict()) {
      add_dict(*dict, depth);
    } else {
      put(atom(value));
    }
  }

 private:
  static std::string atom(const Value& value) {
    if (value.is_none()) return "null";
    if (const auto* boolean = value.get<bool>()) return *boolean ? "true" : "false";
    if (const auto* number = value.get<double>()) {
      const std::string text = python_float(*number);
      return text == "nan" ? "NaN" : text == "inf" ? "Infinity" : text == "-inf" ? "-Infinity" : text;
    }
    if (value.is_number()) return represent_atom(value);
    fail(fmt::format("tojson: expected a value that JSON can hold, got {}", value.type_name()));
  }

  void add_text(const std::string& text) {
    std::string quoted = "\"";
    for (std::size_t i = 0; i < text.size();) {
      const std::uint32_t c = first_character(std::string_view(text).substr(i));
      const std::size_t bytes = character_length(text[i]);
      add_character(quoted, c, std::string_view(text).substr(i, bytes));
      i += bytes;
    }
    put(quoted + '"');
  }

  void add_character(std::string& quoted, std::uint32_t c, std::string_view bytes) const {
    static constexpr std::string_view kEscaped = "\"\\\n\r\t\f\b";
    static constexpr std::string_view kLetters = "\"\\nrtfb";
    if (const std::size_t place = c < 0x80 ? kEscaped.find(static_cast<char>(c)) : kEscaped.npos;
        place != kEscaped.npos) {
      quoted += '\\';
      quoted += kLetters[place];
    } else if (c < 0x20 || (style_.ensure_ascii && c >= 0x7F && c < 0x10000 && c != 0x7F)) {
      quoted += fmt::format("\\u{:04x}", c);
    } else if (style_.ensure_ascii && c >= 0x10000) {
      quoted += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + ((c - 0x10000) >> 10), 0xDC00 + ((c - 0x10000) & 0x3FF));
    } else {
      quoted += bytes;
    }
  }

  void line_break(std::size_t depth) {
    if (!style_.indent) return;
    put("\n");
    for (std::size_t i = 0; i < depth; ++i) put(*style_.indent);
  }

  void add_list(const List& list, std::size_t depth) {
    if (list.items.empty()) return put("[]");
    put("[");
    for (const Value& item : list.items) {
      if (&item != &list.items.front()) put(style_.item_separator);
      line_break(depth + 1);
      add(item, depth + 1);
    }
    line_break(depth);
    put("]");
  }

  static std::string key_text(const Value& key) { return key.text() ? key.text()->bytes() : atom(key); }

  void add_dict(const Dict& dict, std::size_t depth) {
    if (dict.size() == 0) return put("{}");
    std::vector<const Dict::Entry*> entries;
    for (const Dict::Entry& entry : dict.entries()) entries.push_back(&entry);
    if (style_.sort_keys) {
      for (const Dict::Entry* entry : entries) {
        if (entry->first.text() == nullptr) fail("tojson: expected keys that are strings where they are sorted");
      }
      std::sort(entries.begin(), entries.end(), [](const Dict::Entry* a, const Dict::Entry* b) {
        return a->first.text()->bytes() < b->first.text()->bytes();
      });
    }
    put("{");
    for (const Dict::Entry* entry : entries) {
      if (entry != entries.front()) put(style_.item_separator);
      line_break(depth + 1);
      add_text(key_text(entry->first));
      put(style_.key_separator);
      add(entry->second, depth + 1);
    }
    line_break(depth);
    put("}");
  }

  const JsonStyle& style_;
};

}  // namespace

Text to_text(const Value& value, Heap& heap) {
  if (const Text* text = value.text()) return *text;
  if (value.is_undefined()) return Text();
  return Text::data(represent(value, heap));
}

std::string represent(const Value& value, Heap& heap) {
  Representation representation(heap);
  representation.add(value, 0);
  return representation.take();
}

std::string to_json(const Value& value, const JsonStyle& style, Heap& heap) {
  JsonWriter writer(style, heap);
  writer.add(value, 0);
  return writer.take();
}

}  // namespace kl::jinja
