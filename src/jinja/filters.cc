#include "jinja/filters.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "jinja/failure.h"
#include "jinja/number.h"
#include "jinja/operators.h"
#include "jinja/print.h"
#include "jinja/strings.h"

namespace kl::jinja {
namespace {

Value made(Text text, Heap& heap) { return Value(heap.text(std::move(text))); }

std::string spaces(std::int64_t count, const Heap& heap) {
  const auto bytes = static_cast<std::size_t>(std::max<std::int64_t>(count, 0));
  heap.check_length(bytes);
  std::string text;
  text.resize(bytes, ' ');
  return text;
}

Value filter_string(const Value& input, ArgumentReader&, Heap& heap) { return made(to_text(input, heap), heap); }

Value filter_trim(const Value& input, ArgumentReader& arguments, Heap& heap) {
  const auto characters = arguments.take_text("chars");
  return made(strip(to_text(input, heap), characters ? characters->get() : nullptr, true, true), heap);
}

Value filter_replace(const Value& input, ArgumentReader& arguments, Heap& heap) {
  const Text from = to_text(arguments.require("old"), heap), to = to_text(arguments.require("new"), heap);
  const auto count = arguments.take("count");
  if (count && !count->is_none() && !count->integer()) fail("replace: count: expected an integer");
  return made(replace(to_text(input, heap), from, to, count ? count->integer().value_or(-1) : -1, heap), heap);
}

template <Case to>
Value filter_case(const Value& input, ArgumentReader&, Heap& heap) {
  return made(change_case(to_text(input, heap), to), heap);
}

Value filter_capitalize(const Value& input, ArgumentReader&, Heap& heap) {
  return made(capitalize(to_text(input, heap)), heap);
}

/// Jinja's own rule: words begin behind blanks, hyphens and opening brackets.
Value filter_title(const Value& input, ArgumentReader&, Heap& heap) {
  const Text text = to_text(input, heap);
  Text result;
  const std::string_view bytes = text.bytes();
  const auto separates = [&](std::size_t i) {
    return std::string_view("-({[<").find(bytes[i]) != std::string_view::npos || space_length(bytes.substr(i)) > 0;
  };
  for (std::size_t i = 0; i < bytes.size();) {
    std::size_t end = i;
    while (end < bytes.size() && !separates(end)) end += character_length(bytes[end]);
    if (end > i) {
      const std::size_t first = character_length(bytes[i]);
      result.append(change_case(text.substr(i, first), Case::kUpper));
      result.append(change_case(text.substr(i + first, end - i - first), Case::kLower));
    } else {
      end = i + character_length(bytes[i]);
      result.append(text.substr(i, end - i));
    }
    i = end;
  }
  return made(std::move(result), heap);
}

Value filter_indent(const Value& input, ArgumentReader& arguments, Heap& heap) {
  const Value width = arguments.take("width").value_or(Value(std::int64_t{4}));
  const bool first = arguments.take_bool("first", false), blank = arguments.take_bool("blank", false);
  if (input.text() == nullptr) fail(fmt::format("indent: expected a string, got {}", input.type_name()));
  Text indention;
  if (width.text()) {
    indention = *width.text();
  } else {
    indention = Text::own(spaces(width.integer().value_or(0), heap));
  }
  Text text = *input.text();
  text.append(Text::own("\n"));
  const std::vector<Text> lines = split_lines(text, false, heap);
  Text result;
  if (first) result.append(indention);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) result.append(Text::own("\n"));
    if (i > 0 && (blank || !lines[i].empty())) result.append(indention);
    result.append(lines[i]);
    heap.work(lines[i].size() + indention.size());
    heap.check_length(result.size());
  }
  return made(std::move(result), heap);
}

Value filter_tojson(const Value& input, ArgumentReader& arguments, Heap& heap) {
  JsonStyle style;
  style.ensure_ascii = arguments.take_bool("ensure_ascii", false);
  if (const auto indent = arguments.take("indent"); indent && !indent->is_none()) {
    const std::int64_t blanks = indent->integer().value_or(0);
    if (!indent->text() && !indent->integer()) fail("tojson: indent: expected an integer or a string");
    style.indent = indent->text() ? indent->text()->bytes() : spaces(blanks, heap);
    style.item_separator.assign(1, ',');
  }
  if (const auto separators = arguments.take("separators"); separators && !separators->is_none()) {
    const std::vector<Value> two = items_of(*separators, heap);
    if (two.size() != 2 || !two[0].text() || !two[1].text()) fail("tojson: separators: expected two strings");
    style.item_separator = two[0].text()->bytes();
    style.key_separator = two[1].text()->bytes();
  }
  style.sort_keys = arguments.take_bool("sort_keys", false);
  return Value(heap.data(to_json(input, style, heap)));
}

Value filter_default(const Value& input, ArgumentReader& arguments, Heap& heap) {
  const auto otherwise = arguments.take("default_value");
  const bool also_false = arguments.take_bool("boolean", false);
  if (!input.is_undefined() && !(also_false && !is_true(input))) return input;
  return otherwise ? *otherwise : Value(heap.text(Text()));
}

/// Towards zero; nothing where Python's int() raises.
std::optional<Value> whole(double number) {
  if (std::isnan(number) || std::isinf(number)) return std::nullopt;
  if (std::abs(number) >= 9.2e18) fail("int: expected an integer of at most 64 bits, got a larger one");
  return Value(static_cast<std::int64_t>(number));
}

Value filter_int(const Value& input, ArgumentReader& arguments, Heap&) {
  const Value otherwise = arguments.take("default").value_or(Value(std::int64_t{0}));
  const std::int64_t base = arguments.take_integer("base", 10);
  if (base != 0 && (base < 2 || base > 36)) fail("int: base: expected 0, or 2 to 36");
  if (input.is<BigInteger>()) return input;
  if (const auto integer = input.integer()) return Value(*integer);
  if (const auto* undefined = input.get<Undefined>()) {
    fail(undefined->what ? undefined->what->bytes() : "int: expected a value, got an undefined one");
  }
  if (const Text* text = input.text()) {
    if (const auto integer = read_integer(text->bytes(), static_cast<int>(base))) return Value(*integer);
    const auto number = read_float(text->bytes());
    return number ? whole(*number).value_or(otherwise) : otherwise;
  }
  return input.number() ? whole(*input.number()).value_or(otherwise) : otherwise;
}

/// Marks a string as HTML that needs no escaping.  Nothing is escaped here, so it changes nothing.
Value filter_safe(const Value& input, ArgumentReader&, Heap& heap) { return made(to_text(input, heap), heap); }

constexpr Filter kFilters[] = {
    {"capitalize", filter_capitalize},
    {"d", filter_default},
    {"default", filter_default},
    {"indent", filter_indent},
    {"int", filter_int},
    {"lower", filter_case<Case::kLower>},
    {"replace", filter_replace},
    {"safe", filter_safe},
    {"string", filter_string},
    {"title", filter_title},
    {"tojson", filter_tojson},
    {"trim", filter_trim},
    {"upper", filter_case<Case::kUpper>},
};

}  // namespace

const Filter* find_filter(std::string_view name) {
  for (const std::span<const Filter> filters : {std::span<const Filter>(kFilters), list_filters()}) {
    const auto found = std::ranges::find(filters, name, &Filter::name);
    if (found != filters.end()) return &*found;
  }
  return nullptr;
}

}  // namespace kl::jinja
