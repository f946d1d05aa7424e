#include "jinja/operators.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "jinja/characters.h"
#include "jinja/failure.h"
#include "jinja/number.h"
#include "jinja/strings.h"

namespace kl::jinja {
namespace {

constexpr int kMaxDepth = 200;  // of values inside one another

const char* symbol(Operator op) {
  static constexpr const char* kSymbols[] = {
      "+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", "<=", ">", ">=", "in", "not in"};
  return kSymbols[static_cast<std::size_t>(op)];
}

[[noreturn]] void fail_types(Operator op, const Value& a, const Value& b) {
  for (const Value* value : {&a, &b}) {
    const auto* undefined = value->get<Undefined>();
    if (undefined == nullptr) continue;
    fail(undefined->what ? undefined->what->bytes() : "expected a value, got an undefined one");
  }
  fail(fmt::format("{}: expected operands that go together, got {} and {}", symbol(op), a.type_name(), b.type_name()));
}

/// Digits without a sign: the longer is the greater.
int compare_digits(const std::string& a, const std::string& b) {
  const bool negative_a = a.starts_with('-'), negative_b = b.starts_with('-');
  if (negative_a != negative_b) return negative_a ? -1 : 1;
  const int order = a.size() != b.size() ? (a.size() < b.size() ? -1 : 1) : a.compare(b);
  return negative_a ? -order : order;
}

std::string digits_of(const Value& value) {
  if (const auto* big = value.get<BigInteger>()) return big->digits->bytes();
  return std::to_string(value.integer().value_or(0));
}

/// -1, 0, 1; nothing if one is not a number.
std::optional<int> compare_numbers(const Value& a, const Value& b) {
  if (a.is<double>() || b.is<double>()) {
    const double x = *a.number(), y = *b.number();
    if (std::isnan(x) || std::isnan(y)) return std::nullopt;
    return x < y ? -1 : x > y ? 1 : 0;
  }
  if (a.is<BigInteger>() || b.is<BigInteger>()) return compare_digits(digits_of(a), digits_of(b));
  const std::int64_t x = *a.integer(), y = *b.integer();
  return x < y ? -1 : x > y ? 1 : 0;
}

bool equal(const Value& a, const Value& b, Heap& heap, int depth);

bool equal_dicts(const Dict& a, const Dict& b, Heap& heap, int depth) {
  if (a.size() != b.size()) return false;
  return std::all_of(a.entries().begin(), a.entries().end(), [&](const Dict::Entry& entry) {
    const Value* other = b.find(entry.first);
    return other != nullptr && equal(entry.second, *other, heap, depth + 1);
  });
}

bool equal(const Value& a, const Value& b, Heap& heap, int depth) {
  if (depth > kMaxDepth) fail(fmt::format("==: expected values at most {} deep", kMaxDepth));
  heap.step();
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
  if (a.text() && b.text()) {
    heap.work(std::min(a.text()->size(), b.text()->size()));
    return a.text()->bytes() == b.text()->bytes();
  }
  if (const List* x = a.list(), *y = b.list(); x && y) {
    if (x == y) return true;
    if (x->is_tuple != y->is_tuple || x->items.size() != y->items.size()) return false;
    for (std::size_t i = 0; i < x->items.size(); ++i) {
      if (!equal(x->items[i], y->items[i], heap, depth + 1)) return false;
    }
    return true;
  }
  if (const Dict* x = a.dict(), *y = b.dict(); x && y) return x == y || equal_dicts(*x, *y, heap, depth);
  if (a.is<Namespace*>() && b.is<Namespace*>()) return *a.get<Namespace*>() == *b.get<Namespace*>();
  if (a.is<const Macro*>() && b.is<const Macro*>()) return *a.get<const Macro*>() == *b.get<const Macro*>();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

bool less(const Value& a, const Value& b, Heap& heap, int depth) {
  if (depth > kMaxDepth) fail(fmt::format("<: expected values at most {} deep", kMaxDepth));
  heap.step();
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == -1;
  if (a.text() && b.text()) {
    heap.work(std::min(a.text()->size(), b.text()->size()));
    return a.text()->bytes() < b.text()->bytes();
  }
  const List *x = a.list(), *y = b.list();
  if (!x || !y || x->is_tuple != y->is_tuple) fail_types(Operator::kLess, a, b);
  for (std::size_t i = 0; i < x->items.size() && i < y->items.size(); ++i) {
    if (!equal(x->items[i], y->items[i], heap, depth + 1)) return less(x->items[i], y->items[i], heap, depth + 1);
  }
  return x->items.size() < y->items.size();
}

Value whole_number(std::optional<std::int64_t> value, Operator op) {
  if (!value) fail(fmt::format("{}: expected an integer of at most 64 bits, got a larger result", symbol(op)));
  return Value(*value);
}

Value calculate_integers(Operator op, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  const auto checked = [&](bool overflows) {
    return whole_number(overflows ? std::nullopt : std::optional(result), op);
  };
  switch (op) {
    case Operator::kAdd:
      return checked(__builtin_add_overflow(a, b, &result));
    case Operator::kSubtract:
      return checked(__builtin_sub_overflow(a, b, &result));
    case Operator::kMultiply:
      return checked(__builtin_mul_overflow(a, b, &result));
    case Operator::kPower:
      if (b < 0) return Value(std::pow(static_cast<double>(a), static_cast<double>(b)));
      return whole_number(power(a, b), op);
    default:
      break;
  }
  if (b == 0) fail(fmt::format("{}: expected a divisor that is not 0", symbol(op)));
  if (op == Operator::kDivide) return Value(static_cast<double>(a) / static_cast<double>(b));
  if (op == Operator::kFloorDivide) return whole_number(floor_divide(a, b), op);
  return Value(floor_modulo(a, b));
}

Value calculate_floats(Operator op, double a, double b) {
  switch (op) {
    case Operator::kAdd:
      return Value(a + b);
    case Operator::kSubtract:
      return Value(a - b);
    case Operator::kMultiply:
      return Value(a * b);
    case Operator::kPower:
      if (a < 0 && b != std::floor(b)) fail("**: expected a real result");
      if (a == 0 && b < 0) fail("**: expected a base that is not 0");
      return Value(std::pow(a, b));
    default:
      break;
  }
  if (b == 0) fail(fmt::format("{}: expected a divisor that is not 0", symbol(op)));
  if (op == Operator::kDivide) return Value(a / b);
  return Value(op == Operator::kFloorDivide ? floor_divide(a, b) : floor_modulo(a, b));
}

Value calculate_numbers(Operator op, const Value& a, const Value& b) {
  if (a.is<double>() || b.is<double>()) return calculate_floats(op, *a.number(), *b.number());
  if (a.is<BigInteger>() || b.is<BigInteger>()) {
    fail(fmt::format("{}: expected integers of at most 64 bits, got a larger one", symbol(op)));
  }
  return calculate_integers(op, *a.integer(), *b.integer());
}

/// "ab" * 3, [1] * 3
Value repeat(const Value& value, std::int64_t times, Heap& heap) {
  const auto count = static_cast<std::size_t>(std::max<std::int64_t>(times, 0));
  if (const Text* text = value.text()) {
    if (!text->empty() && count > 0) {
      heap.check_length(count > heap.limits().output_bytes ? count : text->size() * count);
      heap.work(text->size() * count);
    }
    Text result;
    for (std::size_t i = 0; i < count && !text->empty(); ++i) result.append(*text);
    return Value(heap.text(std::move(result)));
  }
  const List& list = *value.list();
  const std::size_t size = list.items.size();
  if (size > 0 && count > heap.limits().memory_bytes / size) fail("*: expected a shorter list");
  heap.grow(size * count);
  std::vector<Value> items;
  for (std::size_t i = 0; i < count && size > 0; ++i) items.insert(items.end(), list.items.begin(), list.items.end());
  List* made = heap.list(std::move(items));
  made->is_tuple = list.is_tuple;
  return Value(made);
}

Value add(const Value& a, const Value& b, Heap& heap) {
  if (a.text() && b.text()) {
    heap.check_length(a.text()->size() + b.text()->size());
    Text result = *a.text();
    result.append(*b.text());
    return Value(heap.text(std::move(result)));
  }
  const List *x = a.list(), *y = b.list();
  if (!x || !y || x->is_tuple != y->is_tuple) fail_types(Operator::kAdd, a, b);
  heap.grow(x->items.size() + y->items.size());
  std::vector<Value> items = x->items;
  items.insert(items.end(), y->items.begin(), y->items.end());
  List* made = heap.list(std::move(items));
  made->is_tuple = x->is_tuple;
  return Value(made);
}

}  // namespace

bool is_true(const Value& value) {
  if (value.is_undefined() || value.is_none()) return false;
  if (const Text* text = value.text()) return !text->empty();
  if (const auto* number = value.get<double>()) return *number != 0;
  if (const auto integer = value.integer()) return *integer != 0;
  return length_of(value).value_or(1) > 0;
}

bool are_equal(const Value& a, const Value& b, Heap& heap) { return equal(a, b, heap, 0); }

bool is_less(const Value& a, const Value& b, Heap& heap) { return less(a, b, heap, 0); }

bool contains(const Value& container, const Value& item, Heap& heap) {
  if (const Text* text = container.text()) {
    if (item.text() == nullptr) fail_types(Operator::kIn, item, container);
    heap.work(text->size());
    return find_bytes(text->bytes(), item.text()->bytes()) != std::string::npos;
  }
  if (const List* list = container.list()) {
    return std::any_of(list->items.begin(), list->items.end(),
                       [&](const Value& other) { return are_equal(item, other, heap); });
  }
  if (const Dict* dict = container.dict()) {
    if (item.list() || item.dict()) fail_types(Operator::kIn, item, container);
    return dict->find(item) != nullptr;
  }
  if (container.is_undefined()) return false;
  fail_types(Operator::kIn, item, container);
}

bool compare(Operator op, const Value& a, const Value& b, Heap& heap) {
  const auto is_number = [](const Value& value) {
    const auto* number = value.get<double>();
    return number == nullptr || !std::isnan(*number);
  };
  switch (op) {
    case Operator::kEqual:
      return are_equal(a, b, heap);
    case Operator::kNotEqual:
      return !are_equal(a, b, heap);
    case Operator::kLess:
      return is_less(a, b, heap);
    case Operator::kGreater:
      return is_less(b, a, heap);
    case Operator::kLessEqual:
      return is_number(a) && is_number(b) && !is_less(b, a, heap);
    case Operator::kGreaterEqual:
      return is_number(a) && is_number(b) && !is_less(a, b, heap);
    case Operator::kIn:
      return contains(b, a, heap);
    default:
      return !contains(b, a, heap);
  }
}

Value calculate(Operator op, const Value& a, const Value& b, Heap& heap) {
  if (a.is_number() && b.is_number()) return calculate_numbers(op, a, b);
  if (op == Operator::kMultiply) {
    if ((a.text() || a.list()) && b.integer()) return repeat(a, *b.integer(), heap);
    if ((b.text() || b.list()) && a.integer()) return repeat(b, *a.integer(), heap);
  }
  if (op == Operator::kModulo && a.text()) fail("%: expected numbers; formatting strings with % is not in kl's subset");
  if (op != Operator::kAdd) fail_types(op, a, b);
  return add(a, b, heap);
}

Value negative(const Value& value, Heap& heap) {
  if (const auto* number = value.get<double>()) return Value(-*number);
  if (const auto* big = value.get<BigInteger>()) {
    const std::string& digits = big->digits->bytes();
    return Value(BigInteger{heap.data(digits.starts_with('-') ? digits.substr(1) : '-' + digits)});
  }
  if (!value.integer()) fail(fmt::format("-: expected a number, got {}", value.type_name()));
  return calculate_integers(Operator::kSubtract, 0, *value.integer());
}

Value positive(const Value& value) {
  if (!value.is_number()) fail(fmt::format("+: expected a number, got {}", value.type_name()));
  return value.is<bool>() ? Value(*value.integer()) : value;
}

}  // namespace kl::jinja
