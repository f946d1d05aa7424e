#include "jinja/methods.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "jinja/failure.h"
#include "jinja/operators.h"
#include "jinja/print.h"
#include "jinja/strings.h"

namespace kl::jinja {
namespace {

template <class Self>
using Call = Value (*)(Self, ArgumentReader&, Heap&);
template <class Self>
using Table = std::unordered_map<std::string_view, Call<Self>>;

Value made(Text text, Heap& heap) { return Value(heap.text(std::move(text))); }

Value made(std::vector<Text> parts, Heap& heap) {
  std::vector<Value> items;
  for (Text& part : parts) items.emplace_back(heap.text(std::move(part)));
  return Value(heap.list(std::move(items)));
}

// --- strings ---------------------------------------------------------------------------------------------------------

template <bool left, bool right>
Value strip_method(const Text& text, ArgumentReader& arguments, Heap& heap) {
  const auto characters = arguments.take_text("chars");
  return made(strip(text, characters ? characters->get() : nullptr, left, right), heap);
}

template <std::vector<Text> (*cut)(const Text&, const Text*, std::int64_t, Heap&)>
Value split_method(const Text& text, ArgumentReader& arguments, Heap& heap) {
  const auto separator = arguments.take_text("sep");
  const std::int64_t count = arguments.take_integer("maxsplit", -1);
  return made(cut(text, separator ? separator->get() : nullptr, count, heap), heap);
}

/// startswith and endswith: one string, or a tuple of them.
template <bool at_start>
Value affix_method(const Text& text, ArgumentReader& arguments, Heap& heap) {
  const Value given = arguments.require("prefix");
  heap.work(text.size());
  const auto holds = [&](const Value& affix) {
    if (affix.text() == nullptr) fail(fmt::format("startswith: expected a string, got {}", affix.type_name()));
    const std::string& part = affix.text()->bytes();
    return at_start ? text.bytes().starts_with(part) : text.bytes().ends_with(part);
  };
  if (const List* list = given.list(); list && list->is_tuple) {
    return Value(std::any_of(list->items.begin(), list->items.end(), holds));
  }
  return Value(holds(given));
}

Value replace_method(const Text& text, ArgumentReader& arguments, Heap& heap) {
  const auto from = arguments.take_text("old"), to = arguments.take_text("new");
  if (!from || !to) fail("replace: expected two strings");
  return made(replace(text, **from, **to, arguments.take_integer("count", -1), heap), heap);
}

Value find_text(const Text& text, ArgumentReader& arguments, Heap& heap) {
  const auto part = arguments.take_text("sub");
  if (!part) fail("find: expected a string");
  heap.work(text.size());
  const std::size_t place = find_bytes(text.bytes(), (*part)->bytes());
  if (place == std::string::npos) return Value(std::int64_t{-1});
  return Value(static_cast<std::int64_t>(count_characters(std::string_view(text.bytes()).substr(0, place))));
}

Value count_text(const Text& text, ArgumentReader& arguments, Heap& heap) {
  const auto part = arguments.take_text("sub");
  if (!part) fail("count: expected a string");
  if ((*part)->empty()) return Value(static_cast<std::int64_t>(count_characters(text.bytes()) + 1));
  heap.work(text.size());
  std::int64_t count = 0;
  for (std::size_t at = find_bytes(text.bytes(), (*part)->bytes()); at != std::string::npos;
       at = find_bytes(text.bytes(), (*part)->bytes(), at + (*part)->size())) {
    ++count;
  }
  return Value(count);
}

template <bool prefix>
Value remove_affix(const Text& text, ArgumentReader& arguments, Heap& heap) {
  const auto affix = arguments.take_text("prefix");
  if (!affix) fail("removeprefix: expected a string");
  const std::string& part = (*affix)->bytes();
  if (prefix && text.bytes().starts_with(part)) return made(text.substr(part.size()), heap);
  if (!prefix && text.bytes().ends_with(part)) return made(text.substr(0, text.size() - part.size()), heap);
  return made(text, heap);
}

/// isdigit, isalpha and the like, for ASCII; a character beyond it is refused.
template <bool (*holds)(char)>
Value all_characters(const Text& text, ArgumentReader&, Heap& heap) {
  heap.work(text.size());
  for (const char c : text.bytes()) {
    if (static_cast<unsigned char>(c) >= 0x80) fail("isdigit, isalpha, isalnum: expected ASCII, got another character");
  }
  return Value(!text.empty() && std::all_of(text.bytes().begin(), text.bytes().end(), holds));
}
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_either(char c) { return is_digit(c) || is_letter(c); }

const Table<const Text&>& text_methods() {
  static const Table<const Text&> table = {
      {"strip", strip_method<true, true>},
      {"lstrip", strip_method<true, false>},
      {"rstrip", strip_method<false, true>},
      {"split", split_method<split>},
      {"rsplit", split_method<rsplit>},
      {"splitlines",
       [](const Text& text, ArgumentReader& arguments, Heap& heap) {
         heap.work(text.size());
         return made(split_lines(text, arguments.take_bool("keepends", false), heap), heap);
       }},
      {"startswith", affix_method<true>},
      {"endswith", affix_method<false>},
      {"replace", replace_method},
      {"upper", [](const Text& t, ArgumentReader&, Heap& heap) { return made(change_case(t, Case::kUpper), heap); }},
      {"lower", [](const Text& t, ArgumentReader&, Heap& heap) { return made(change_case(t, Case::kLower), heap); }},
      {"title", [](const Text& t, ArgumentReader&, Heap& heap) { return made(title(t), heap); }},
      {"capitalize", [](const Text& t, ArgumentReader&, Heap& heap) { return made(capitalize(t), heap); }},
      {"join", [](const Text& text, ArgumentReader& arguments,
                  Heap& heap) { return made(join(text, items_of(arguments.require("iterable"), heap), heap), heap); }},
      {"find", find_text},
      {"count", count_text},
      {"removeprefix", remove_affix<true>},
      {"removesuffix", remove_affix<false>},
      {"isdigit", all_characters<is_digit>},
      {"isalpha", all_characters<is_letter>},
      {"isalnum", all_characters<is_either>},
  };
  return table;
}

// --- lists -----------------------------------------------------------------------------------------------------------

void check_mutable(const List& list) {
  if (list.is_tuple) fail("expected a list to change, got a tuple");
}

Value append_item(List& list, ArgumentReader& arguments, Heap& heap) {
  check_mutable(list);
  heap.grow(1);
  list.items.push_back(arguments.require("object"));
  return Value(None{});
}

Value extend_list(List& list, ArgumentReader& arguments, Heap& heap) {
  check_mutable(list);
  const std::vector<Value> items = items_of(arguments.require("iterable"), heap);
  heap.grow(items.size());
  list.items.insert(list.items.end(), items.begin(), items.end());
  return Value(None{});
}

Value insert_item(List& list, ArgumentReader& arguments, Heap& heap) {
  check_mutable(list);
  const auto size = static_cast<std::int64_t>(list.items.size());
  std::int64_t place = arguments.take_integer("index", 0);
  place = std::clamp<std::int64_t>(place < 0 ? std::max<std::int64_t>(place, -size) + size : place, 0, size);
  heap.grow(1);
  heap.work(list.items.size());
  list.items.insert(list.items.begin() + place, arguments.require("object"));
  return Value(None{});
}

Value pop_item(List& list, ArgumentReader& arguments, Heap& heap) {
  check_mutable(list);
  const auto size = static_cast<std::int64_t>(list.items.size());
  std::int64_t place = arguments.take_integer("index", -1);
  if (place < 0) place = place < -size ? -1 : place + size;
  if (place < 0 || place >= size) fail("pop: expected an item in the list, got none");
  heap.work(list.items.size());
  Value item = list.items[static_cast<std::size_t>(place)];
  list.items.erase(list.items.begin() + place);
  return item;
}

Value find_in_list(List& list, ArgumentReader& arguments, Heap& heap) {
  const Value wanted = arguments.require("value");
  for (std::size_t i = 0; i < list.items.size(); ++i) {
    if (are_equal(list.items[i], wanted, heap)) return Value(static_cast<std::int64_t>(i));
  }
  fail("index: expected an item of the list, got another value");
}

Value count_in_list(List& list, ArgumentReader& arguments, Heap& heap) {
  const Value wanted = arguments.require("value");
  return Value(static_cast<std::int64_t>(std::count_if(
      list.items.begin(), list.items.end(), [&](const Value& item) { return are_equal(item, wanted, heap); })));
}

const Table<List&>& list_methods() {
  static const Table<List&> table = {{"append", append_item}, {"extend", extend_list}, {"insert", insert_item},
                                     {"pop", pop_item},       {"index", find_in_list}, {"count", count_in_list}};
  return table;
}

// --- dicts -----------------------------------------------------------------------------------------------------------

/// The argument `key`, which must be of a kind that dicts have.
Value key_of(ArgumentReader& arguments) {
  Value key = arguments.require("key");
  if (key.list() || key.dict()) fail(fmt::format("expected a key of a dict, got {}", key.type_name()));
  return key;
}

Value get_item(Dict& dict, ArgumentReader& arguments, Heap&) {
  const Value key = key_of(arguments);
  const auto otherwise = arguments.take("default");
  const Value* found = dict.find(key);
  return found != nullptr ? *found : otherwise.value_or(Value(None{}));
}

template <bool keys, bool values>
Value list_dict(Dict& dict, ArgumentReader&, Heap& heap) {
  std::vector<Value> items;
  for (const auto& [key, value] : dict.entries()) {
    items.push_back(keys && values ? Value(heap.tuple({key, value})) : keys ? key : value);
  }
  return Value(heap.list(std::move(items)));
}

Value update_dict(Dict& dict, ArgumentReader& arguments, Heap& heap) {
  const Arguments given = arguments.rest();
  for (const Value& other : given.positional) {
    if (other.dict() == nullptr) fail(fmt::format("update: expected a dict, got {}", other.type_name()));
    const std::vector<Dict::Entry> entries = other.dict()->entries();
    for (const auto& [key, value] : entries) put(dict, key, value, heap);
  }
  for (const auto& [name, value] : given.named) put(dict, Value(heap.data(name)), value, heap);
  return Value(None{});
}

Value pop_key(Dict& dict, ArgumentReader& arguments, Heap& heap) {
  const Value key = key_of(arguments);
  const auto otherwise = arguments.take("default");
  heap.work(dict.size() * 8);
  if (auto value = dict.take(key)) return *value;
  if (!otherwise) fail("pop: expected a key of the dict, got " + represent(key, heap));
  return *otherwise;
}

Value set_default(Dict& dict, ArgumentReader& arguments, Heap& heap) {
  const Value key = key_of(arguments);
  const Value otherwise = arguments.take("default").value_or(Value(None{}));
  if (const Value* found = dict.find(key)) return *found;
  put(dict, key, otherwise, heap);
  return otherwise;
}

Value copy_dict(Dict& dict, ArgumentReader&, Heap& heap) {
  Dict* copy = heap.dict();
  for (const auto& [key, value] : dict.entries()) put(*copy, key, value, heap);
  return Value(copy);
}

const Table<Dict&>& dict_methods() {
  static const Table<Dict&> table = {{"get", get_item},
                                     {"items", list_dict<true, true>},
                                     {"keys", list_dict<true, false>},
                                     {"values", list_dict<false, true>},
                                     {"update", update_dict},
                                     {"pop", pop_key},
                                     {"setdefault", set_default},
                                     {"copy", copy_dict}};
  return table;
}

// --- loop ------------------------------------------------------------------------------------------------------------

Value cycle(Loop& loop, ArgumentReader& arguments, Heap&) {
  const std::vector<Value> values = arguments.rest().positional;
  if (values.empty()) fail("cycle: expected values, got none");
  return values[loop.index0 % values.size()];
}

Value changed(Loop& loop, ArgumentReader& arguments, Heap& heap) {
  Value now(heap.tuple(arguments.rest().positional));
  const bool same = loop.last_changed && are_equal(*loop.last_changed, now, heap);
  loop.last_changed = now;
  return Value(!same);
}

const Table<Loop&>& loop_methods() {
  static const Table<Loop&> table = {{"cycle", cycle}, {"changed", changed}};
  return table;
}

/// What Python has and this subset has not: found, so that a key or nothing is not taken for it.
constexpr std::string_view kTextLater[] = {
    "casefold", "center",     "encode",       "expandtabs", "format",    "format_map",  "index",
    "isascii",  "isdecimal",  "isidentifier", "islower",    "isnumeric", "isprintable", "isspace",
    "istitle",  "isupper",    "ljust",        "maketrans",  "partition", "rfind",       "rindex",
    "rjust",    "rpartition", "swapcase",     "translate",  "zfill"};
constexpr std::string_view kListLater[] = {"clear", "copy", "remove", "reverse", "sort"};
constexpr std::string_view kDictLater[] = {"clear", "fromkeys", "popitem"};

template <class Self, std::size_t n>
std::string_view find_in(const Table<Self>& table, const std::string_view (&later)[n], std::string_view name) {
  if (const auto found = table.find(name); found != table.end()) return found->first;
  const auto* found = std::find(std::begin(later), std::end(later), name);
  return found != std::end(later) ? *found : std::string_view();
}

template <class Self>
Value call(const Table<Self>& table, Self self, std::string_view name, const Arguments& arguments, Heap& heap) {
  const auto found = table.find(name);
  if (found == table.end()) fail(fmt::format("expected a method that kl has, got {}", name));
  ArgumentReader reader(name, arguments);
  Value value = found->second(self, reader, heap);
  reader.finish();
  return value;
}

}  // namespace

std::string_view find_method(const Value& object, std::string_view name) {
  if (object.text()) return find_in(text_methods(), kTextLater, name);
  if (object.list()) return find_in(list_methods(), kListLater, name);
  if (object.dict()) return find_in(dict_methods(), kDictLater, name);
  if (!object.is<Loop*>()) return {};
  const auto found = loop_methods().find(name);
  return found != loop_methods().end() ? found->first : std::string_view();
}

Value call_method(const Method& method, const Arguments& arguments, Heap& heap) {
  heap.step();
  const Value& object = method.object;
  if (const Text* text = object.text()) return call<const Text&>(text_methods(), *text, method.name, arguments, heap);
  if (List* list = object.list()) return call<List&>(list_methods(), *list, method.name, arguments, heap);
  if (Dict* dict = object.dict()) return call<Dict&>(dict_methods(), *dict, method.name, arguments, heap);
  return call<Loop&>(loop_methods(), **object.get<Loop*>(), method.name, arguments, heap);
}

}  // namespace kl::jinja
