// The half of the interpreter that gives expressions their values.
#include <fmt/format.h>

#include <algorithm>

#include "jinja/failure.h"
#include "jinja/filters.h"
#include "jinja/functions.h"
#include "jinja/interpreter.h"
#include "jinja/methods.h"
#include "jinja/operators.h"
#include "jinja/print.h"
#include "jinja/tests.h"

namespace kl::jinja {

Value Interpreter::evaluate(const Expression& expression, Scope* scope) {
  using Kind = Expression::Kind;
  line_ = expression.line;
  const Heap::Level level(heap_);
  const auto child = [&](std::size_t i) { return evaluate(*expression.children[i], scope); };
  switch (expression.kind) {
    case Kind::kLiteral:
      return expression.constant;
    case Kind::kName:
      return evaluate_name(expression, scope);
    case Kind::kList:
    case Kind::kTuple:
      return evaluate_list(expression, scope);
    case Kind::kDict:
      return evaluate_dict(expression, scope);
    case Kind::kAttribute:
      return attribute_of(child(0), expression.name, heap_);
    case Kind::kItem:
    case Kind::kBinary:
      return evaluate_binary(expression, scope);
    case Kind::kSlice:
      return evaluate_slice(expression, scope);
    case Kind::kCall:
      return evaluate_call(expression, scope);
    case Kind::kFilter:
      return evaluate_filter(expression, scope);
    case Kind::kTest:
      return evaluate_test(expression, scope);
    case Kind::kNegative:
      return negative(child(0), heap_);
    case Kind::kPositive:
      return positive(child(0));
    case Kind::kNot:
      return Value(!is_true(child(0)));
    case Kind::kCompare:
      return evaluate_compare(expression, scope);
    case Kind::kAnd: {
      Value first = child(0);
      return is_true(first) ? child(1) : first;
    }
    case Kind::kOr: {
      Value first = child(0);
      return is_true(first) ? first : child(1);
    }
    case Kind::kConcatenate:
      return evaluate_concatenation(expression, scope);
    case Kind::kConditional:
      return evaluate_conditional(expression, scope);
  }
  return Value();
}

Value Interpreter::evaluate_name(const Expression& expression, Scope* scope) {
  if (const Value* value = find(scope, expression.name)) return *value;
  if (const std::string_view function = find_function(expression.name); !function.empty()) {
    return Value(Function{function});
  }
  return heap_.undefined(fmt::format("'{}' is undefined", expression.name));
}

Value Interpreter::evaluate_list(const Expression& expression, Scope* scope) {
  std::vector<Value> items;
  for (const Expression* item : expression.children) items.push_back(evaluate(*item, scope));
  const bool is_tuple = expression.kind == Expression::Kind::kTuple;
  return Value(is_tuple ? heap_.tuple(std::move(items)) : heap_.list(std::move(items)));
}

Value Interpreter::evaluate_dict(const Expression& expression, Scope* scope) {
  Dict* dict = heap_.dict();
  for (std::size_t i = 0; i < expression.children.size(); i += 2) {
    const Value key = evaluate(*expression.children[i], scope);
    put(*dict, key, evaluate(*expression.children[i + 1], scope), heap_);
  }
  return Value(dict);
}

Value Interpreter::evaluate_binary(const Expression& expression, Scope* scope) {
  const Value a = evaluate(*expression.children[0], scope);
  const Value b = evaluate(*expression.children[1], scope);
  if (expression.kind == Expression::Kind::kItem) return item_of(a, b, heap_);
  return calculate(expression.operators[0], a, b, heap_);
}

Value Interpreter::evaluate_slice(const Expression& expression, Scope* scope) {
  const auto part = [&](std::size_t i) {
    const Expression* given = expression.children[i];
    return given != nullptr ? evaluate(*given, scope) : Value(None{});
  };
  const Value object = part(0), first = part(1), last = part(2), step = part(3);
  return slice_of(object, first, last, step, heap_);
}

Value Interpreter::evaluate_filter(const Expression& expression, Scope* scope) {
  const Expression* child = expression.children[0];
  const Value input = child != nullptr ? evaluate(*child, scope) : *filtered_;
  Heap::Held held(heap_);
  const Arguments arguments = evaluate_arguments(expression.arguments, scope, held);
  line_ = expression.line;
  ArgumentReader reader(expression.name, arguments);
  Value value = expression.filter->apply(input, reader, heap_);
  reader.finish();
  return value;
}

Value Interpreter::evaluate_test(const Expression& expression, Scope* scope) {
  const Value value = evaluate(*expression.children[0], scope);
  Heap::Held held(heap_);
  const Arguments arguments = evaluate_arguments(expression.arguments, scope, held);
  ArgumentReader reader(expression.name, arguments);
  const bool holds = expression.test->holds(value, reader, heap_);
  reader.finish();
  return Value(holds);
}

/// a < b < c: true if all are; each is evaluated once, and none behind one that is false.
Value Interpreter::evaluate_compare(const Expression& expression, Scope* scope) {
  Value left = evaluate(*expression.children[0], scope);
  for (std::size_t i = 0; i < expression.operators.size(); ++i) {
    Value right = evaluate(*expression.children[i + 1], scope);
    if (!compare(expression.operators[i], left, right, heap_)) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Value Interpreter::evaluate_concatenation(const Expression& expression, Scope* scope) {
  Writer text(heap_);
  for (const Expression* part : expression.children) text.write(to_text(evaluate(*part, scope), heap_));
  return Value(heap_.text(text.take()));
}

Value Interpreter::evaluate_conditional(const Expression& expression, Scope* scope) {
  if (is_true(evaluate(*expression.children[1], scope))) return evaluate(*expression.children[0], scope);
  if (expression.children[2] != nullptr) return evaluate(*expression.children[2], scope);
  return heap_.undefined("the inline if-expression evaluated to false and no else section was defined.");
}

// --- calls -----------------------------------------------------------------------------------------------------------

/// *list or **dict.
void Interpreter::add_spread(Argument::Kind kind, const Value& value, Arguments& to, Heap::Held& held) {
  constexpr std::size_t kLongestName = 256;
  if (kind == Argument::Kind::kList) {
    held.add_values(2 * length_of(value).value_or(0));
    for (Value& item : items_of(value, heap_)) to.positional.push_back(std::move(item));
    return;
  }
  if (value.dict() == nullptr) fail(fmt::format("**: expected a dict, got {}", value.type_name()));
  held.add_values(4 * value.dict()->size());
  for (const auto& [key, item] : value.dict()->entries()) {
    if (key.text() == nullptr) fail("**: expected keys that are strings");
    if (key.text()->size() > kLongestName) fail(fmt::format("**: expected keys of at most {} bytes", kLongestName));
    held.add(key.text()->size());
    to.named.emplace_back(key.text()->bytes(), item);
  }
}

/// `held` counts what the arguments take.
Arguments Interpreter::evaluate_arguments(const std::vector<Argument>& arguments, Scope* scope, Heap::Held& held) {
  Arguments values;
  for (const Argument& argument : arguments) {
    Value value = evaluate(*argument.value, scope);
    if (argument.kind == Argument::Kind::kPositional) {
      values.positional.push_back(std::move(value));
    } else if (argument.kind == Argument::Kind::kNamed) {
      values.named.emplace_back(argument.name, std::move(value));
    } else {
      add_spread(argument.kind, value, values, held);
    }
    heap_.work(values.positional.size() + values.named.size());
  }
  for (std::size_t i = 1; i < values.named.size(); ++i) {
    heap_.work(i);
    const auto end = values.named.begin() + static_cast<std::ptrdiff_t>(i);
    if (std::any_of(values.named.begin(), end, [&](const auto& other) { return other.first == end->first; })) {
      fail(fmt::format("expected one value of {}, got two", end->first));
    }
  }
  return values;
}

Value Interpreter::evaluate_call(const Expression& expression, Scope* scope) {
  const Value callee = evaluate(*expression.children[0], scope);
  Heap::Held held(heap_);
  const Arguments arguments = evaluate_arguments(expression.arguments, scope, held);
  line_ = expression.line;
  return call(callee, arguments);
}

Value Interpreter::call(const Value& callee, const Arguments& arguments) {
  if (const auto* function = callee.get<Function>()) return call_function(function->name, arguments, heap_);
  if (const auto* method = callee.get<std::shared_ptr<const Method>>()) return call_method(**method, arguments, heap_);
  if (const auto* macro = callee.get<const Macro*>()) return call_macro(**macro, arguments);
  if (const auto* loop = callee.get<Loop*>()) return call_loop(**loop, arguments);
  if (const auto* missing = callee.get<Undefined>(); missing && missing->what) fail(missing->what->bytes());
  fail(fmt::format("expected something to call, got {}", callee.type_name()));
}

Value Interpreter::call_macro(const Macro& macro, const Arguments& arguments) {
  Scope* scope = heap_.scope(macro.scope);
  bind_parameters(*macro.definition, arguments, scope);
  Writer text(heap_);
  execute(macro.definition->body, scope, text);
  return Value(heap_.text(text.take()));
}

/// Arguments to parameters; what is left out has its default, evaluated now, or is undefined.
void Interpreter::bind_parameters(const MacroDefinition& macro, const Arguments& arguments, Scope* scope) {
  ArgumentReader reader(macro.name, arguments);
  const bool takes_caller = std::any_of(macro.parameters.begin(), macro.parameters.end(),
                                        [](const auto& parameter) { return parameter.name == "caller"; });
  heap_.work(macro.parameters.size() * (arguments.named.size() + macro.parameters.size()));  // all by their names
  std::vector<std::optional<Value>> given;
  for (const MacroDefinition::Parameter& parameter : macro.parameters) given.push_back(reader.take(parameter.name));
  for (std::size_t i = 0; i < given.size(); ++i) {
    const MacroDefinition::Parameter& parameter = macro.parameters[i];
    if (given[i]) {
      set(scope, parameter.name, *given[i]);
    } else if (parameter.default_value != nullptr) {
      set(scope, parameter.name, evaluate(*parameter.default_value, scope));
    } else {
      set(scope, parameter.name, heap_.undefined(fmt::format("parameter '{}' was not provided", parameter.name)));
    }
  }
  if (macro.uses_caller && !takes_caller) {
    set(scope, "caller", reader.take("caller").value_or(heap_.undefined("No caller defined")));
  }
  if (macro.uses_kwargs || macro.uses_varargs) {
    Arguments rest = reader.rest();
    if (!macro.uses_varargs && !rest.positional.empty()) fail(fmt::format("{}: got too many arguments", macro.name));
    if (!macro.uses_kwargs && !rest.named.empty()) {
      fail(fmt::format("{}: expected arguments it knows, got {}", macro.name, rest.named[0].first));
    }
    Dict* named = heap_.dict();
    for (auto& [name, value] : rest.named) named->put(Value(heap_.data(name)), std::move(value));
    heap_.grow(4 * rest.named.size());
    set(scope, "varargs", Value(heap_.tuple(std::move(rest.positional))));
    set(scope, "kwargs", Value(named));
  }
  reader.finish();
}

/// loop(sequence) in a recursive loop: the same loop over another sequence.
Value Interpreter::call_loop(const Loop& loop, const Arguments& arguments) {
  if (loop.body == nullptr) fail("loop: expected a recursive loop to be called, got another one");
  ArgumentReader reader("loop", arguments);
  const Value sequence = reader.require("sequence");
  reader.finish();
  Writer text(heap_);
  run_loop(*static_cast<const Statement*>(loop.body), sequence, static_cast<Scope*>(loop.scope), loop.depth0 + 1, text);
  return Value(heap_.text(text.take()));
}

}  // namespace kl::jinja
