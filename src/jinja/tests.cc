#include "jinja/tests.h"

#include <fmt/format.h>

#include <algorithm>

#include "jinja/failure.h"
#include "jinja/operators.h"

namespace kl::jinja {
namespace {

bool is_mapping(const Value& value) { return value.dict() != nullptr; }
bool is_integer(const Value& value) { return value.is<std::int64_t>() || value.is<BigInteger>(); }
bool is_callable(const Value& value) {
  return value.is<Function>() || value.is<const Macro*>() || value.is<std::shared_ptr<const Method>>() ||
         value.is<Loop*>() || value.is_undefined();
}
bool is_iterable(const Value& value) {
  return value.text() || value.list() || value.dict() || value.is_undefined() || value.is<Loop*>();
}
bool is_sequence(const Value& value) { return value.text() || value.list() || value.dict() || value.is_undefined(); }

/// A test without arguments, made of a plain function.
template <bool (*holds)(const Value&)>
bool plain(const Value& value, ArgumentReader&, Heap&) {
  return holds(value);
}

template <Operator op>
bool compares(const Value& value, ArgumentReader& arguments, Heap& heap) {
  return compare(op, value, arguments.require("other"), heap);
}

/// value % divisor, for odd, even and divisibleby.
bool leaves(const Value& value, const Value& divisor, std::int64_t rest, Heap& heap) {
  return are_equal(calculate(Operator::kModulo, value, divisor, heap), Value(rest), heap);
}
template <std::int64_t rest>
bool parity(const Value& value, ArgumentReader&, Heap& heap) {
  return leaves(value, Value(std::int64_t{2}), rest, heap);
}

constexpr Test kTests[] = {
    {"defined", plain<[](const Value& v) { return !v.is_undefined(); }>},
    {"undefined", plain<[](const Value& v) { return v.is_undefined(); }>},
    {"none", plain<[](const Value& v) { return v.is_none(); }>},
    {"string", plain<[](const Value& v) { return v.text() != nullptr; }>},
    {"mapping", plain<is_mapping>},
    {"sequence", plain<is_sequence>},
    {"iterable", plain<is_iterable>},
    {"callable", plain<is_callable>},
    {"number", plain<[](const Value& v) { return v.is_number(); }>},
    {"integer", plain<is_integer>},
    {"float", plain<[](const Value& v) { return v.is<double>(); }>},
    {"boolean", plain<[](const Value& v) { return v.is<bool>(); }>},
    {"true", plain<[](const Value& v) { return v.is<bool>() && *v.get<bool>(); }>},
    {"false", plain<[](const Value& v) { return v.is<bool>() && !*v.get<bool>(); }>},
    {"odd", parity<1>},
    {"even", parity<0>},
    {"divisibleby", [](const Value& v, ArgumentReader& arguments,
                       Heap& heap) { return leaves(v, arguments.require("num"), 0, heap); }},
    {"in", compares<Operator::kIn>},
    {"eq", compares<Operator::kEqual>},
    {"equalto", compares<Operator::kEqual>},
    {"==", compares<Operator::kEqual>},
    {"ne", compares<Operator::kNotEqual>},
    {"!=", compares<Operator::kNotEqual>},
    {"lt", compares<Operator::kLess>},
    {"lessthan", compares<Operator::kLess>},
    {"<", compares<Operator::kLess>},
    {"le", compares<Operator::kLessEqual>},
    {"<=", compares<Operator::kLessEqual>},
    {"gt", compares<Operator::kGreater>},
    {"greaterthan", compares<Operator::kGreater>},
    {">", compares<Operator::kGreater>},
    {"ge", compares<Operator::kGreaterEqual>},
    {">=", compares<Operator::kGreaterEqual>},
};

}  // namespace

const Test* find_test(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kTests), std::end(kTests), [&](const Test& test) { return test.name == name; });
  return found != std::end(kTests) ? found : nullptr;
}

}  // namespace kl::jinja
