#include "jinja/functions.h"

#include <fmt/format.h>

#include <array>
#include <ctime>
#include <unordered_map>

#include "jinja/failure.h"
#include "jinja/operators.h"
#include "jinja/print.h"

namespace kl::jinja {
namespace {

/// dict(other, name=value, ...): at most one other.
void fill(Dict& dict, ArgumentReader& arguments, Heap& heap) {
  const Arguments given = arguments.rest();
  if (given.positional.size() > 1 || (given.positional.size() == 1 && !given.positional[0].dict())) {
    fail(fmt::format("{}: expected a dict, or arguments with names", arguments.function()));
  }
  if (given.positional.size() == 1) {
    for (const auto& [key, value] : given.positional[0].dict()->entries()) put(dict, key, value, heap);
  }
  for (const auto& [name, value] : given.named) put(dict, Value(heap.data(name)), value, heap);
}

Value range(ArgumentReader& arguments, Heap& heap) {
  const Arguments given = arguments.rest();
  std::array<std::int64_t, 3> ends = {0, 0, 1};  // begin, end, step
  const std::size_t count = given.positional.size();
  if (count < 1 || count > 3 || !given.named.empty()) fail("range: expected one to three integers");
  for (std::size_t i = 0; i < count; ++i) {
    const auto integer = given.positional[i].integer();
    if (!integer) fail(fmt::format("range: expected integers, got {}", given.positional[i].type_name()));
    ends[count == 1 ? 1 : i] = *integer;
  }
  const auto [begin, end, step] = ends;
  if (step == 0) fail("range: expected a step that is not 0");
  constexpr std::size_t kMaxRange = 100'000;  // as in Jinja's sandbox
  std::vector<Value> items;
  std::int64_t i = begin;
  while (step > 0 ? i < end : i > end) {
    if (items.size() == kMaxRange) fail(fmt::format("range: expected at most {} numbers", kMaxRange));
    items.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return Value(heap.list(std::move(items)));
}

Value make_namespace(ArgumentReader& arguments, Heap& heap) {
  Namespace* made = heap.make_namespace();
  fill(made->members, arguments, heap);
  return Value(made);
}

Value make_dict(ArgumentReader& arguments, Heap& heap) {
  Dict* made = heap.dict();
  fill(*made, arguments, heap);
  return Value(made);
}

Value raise_exception(ArgumentReader& arguments, Heap& heap) {
  const Value message = arguments.require("message");
  arguments.finish();
  fail(to_text(message, heap).bytes());
}

Value strftime_now(ArgumentReader& arguments, Heap& heap) {
  const auto format = arguments.take_text("format");
  if (!format || (*format)->size() > 200) fail("strftime_now: expected a short format");
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::localtime_r(&now, &parts);
  std::array<char, 4096> buffer;
  const std::size_t bytes = std::strftime(buffer.data(), buffer.size(), (*format)->bytes().c_str(), &parts);
  // Of the kind of the format: data in it must not become the template's own.
  Text text;
  const bool all_own = (*format)->stretch_end(0) == (*format)->size();
  if (all_own) text.append_like(**format, 0, {buffer.data(), bytes});
  if (!all_own) text.append_data({buffer.data(), bytes});
  return Value(heap.text(std::move(text)));
}

using Call = Value (*)(ArgumentReader&, Heap&);
const std::unordered_map<std::string_view, Call>& functions() {
  static const std::unordered_map<std::string_view, Call> table = {{"range", range},
                                                                   {"namespace", make_namespace},
                                                                   {"dict", make_dict},
                                                                   {"raise_exception", raise_exception},
                                                                   {"strftime_now", strftime_now}};
  return table;
}

}  // namespace

std::string_view find_function(std::string_view name) {
  const auto found = functions().find(name);
  return found != functions().end() ? found->first : std::string_view();
}

Value call_function(std::string_view name, const Arguments& arguments, Heap& heap) {
  heap.step();
  ArgumentReader reader(name, arguments);
  Value value = functions().at(name)(reader, heap);
  reader.finish();
  return value;
}

}  // namespace kl::jinja
