#include "jinja/interpreter.h"

#include <fmt/format.h>

#include <algorithm>

#include "jinja/failure.h"
#include "jinja/operators.h"
#include "jinja/print.h"

namespace kl::jinja {

using Kind = Statement::Kind;

void Writer::write(const Text& text) {
  heap_.work(text.size());
  heap_.check_length(text_.size() + text.size());
  held_.add(2 * text.size());
  text_.append(text);
}

Text Interpreter::run(const Body& body) {
  Writer out(heap_);
  execute(body, &root_, out);
  return out.take();
}

// --- variables -------------------------------------------------------------------------------------------------------

void Interpreter::set(Scope* scope, std::string_view name, Value value) {
  for (auto& [known, old] : scope->variables) {
    if (known != name) continue;
    old = std::move(value);
    return;
  }
  heap_.grow(2);
  scope->variables.emplace_back(name, std::move(value));
}

const Value* Interpreter::find(const Scope* scope, std::string_view name) {
  for (; scope != nullptr; scope = scope->parent) {
    for (const auto& [known, value] : scope->variables) {
      if (known == name) return &value;
    }
  }
  return nullptr;
}

/// Keeps a scope, and those around it, from being used again: something refers to it now.
void Interpreter::capture(Scope* scope) {
  for (; scope != nullptr && !scope->is_captured; scope = scope->parent) scope->is_captured = true;
}

void Interpreter::assign(const Target& target, const Value& value, Scope* scope) {
  if (target.is_tuple) {
    const std::vector<Value> items = items_of(value, heap_);
    if (items.size() != target.targets.size()) {
      fail(fmt::format("expected {} values to unpack, got {}", target.targets.size(), items.size()));
    }
    for (std::size_t i = 0; i < items.size(); ++i) assign(target.targets[i], items[i], scope);
  } else if (target.member.empty()) {
    set(scope, target.name, value);
  } else {
    const Value* object = find(scope, target.name);
    if (object == nullptr || !object->is<Namespace*>()) {
      fail(fmt::format("{}.{}: expected a namespace to change, got {}", target.name, target.member,
                       object != nullptr ? object->type_name() : "an undefined value"));
    }
    Namespace* changed = *object->get<Namespace*>();
    heap_.grow(changed->members.find(target.member) != nullptr ? 0 : 4);
    changed->members.put(Value(heap_.data(target.member)), value);
  }
}

// --- statements ------------------------------------------------------------------------------------------------------

Interpreter::Flow Interpreter::execute(const Body& body, Scope* scope, Writer& out) {
  for (const Statement* statement : body) {
    const Flow flow = execute(*statement, scope, out);
    if (flow != Flow::kGoOn) return flow;
  }
  return Flow::kGoOn;
}

Interpreter::Flow Interpreter::execute(const Statement& statement, Scope* scope, Writer& out) {
  line_ = statement.line;
  const Heap::Level level(heap_);
  switch (statement.kind) {
    case Kind::kText:
      out.write(*statement.text);
      break;
    case Kind::kOutput: {
      const Value value = evaluate(*statement.expression, scope);
      if (const Text* text = value.text()) {
        out.write(*text);
      } else {
        out.write(to_text(value, heap_));
      }
      break;
    }
    case Kind::kIf:
      return execute_if(statement, scope, out);
    case Kind::kFor:
      return execute_for(statement, scope, out);
    case Kind::kSet:
      assign(statement.target, evaluate(*statement.expression, scope), scope);
      break;
    case Kind::kSetBlock:
      execute_set_block(statement, scope);
      break;
    case Kind::kMacro:
      define_macro(statement, scope);
      break;
    case Kind::kCallBlock:
      execute_call_block(statement, scope, out);
      break;
    case Kind::kFilterBlock:
      out.write(to_text(captured(statement.body, scope, statement.expression), heap_));
      break;
    case Kind::kWith:
      return execute_with(statement, scope, out);
    case Kind::kBreak:
      return Flow::kBreak;
    case Kind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kGoOn;
}

Interpreter::Flow Interpreter::execute_if(const Statement& statement, Scope* scope, Writer& out) {
  for (const Statement::Branch& branch : statement.branches) {
    if (branch.condition != nullptr && !is_true(evaluate(*branch.condition, scope))) continue;
    return execute(branch.body, scope, out);
  }
  return Flow::kGoOn;
}

Interpreter::Flow Interpreter::execute_for(const Statement& statement, Scope* scope, Writer& out) {
  return run_loop(statement, evaluate(*statement.expression, scope), scope, 0, out);
}

/// One scope does for all rounds unless a macro has captured it.
Interpreter::Flow Interpreter::run_loop(const Statement& statement, const Value& sequence, Scope* scope,
                                        std::int64_t depth, Writer& out) {
  std::vector<Value> items = items_of(sequence, heap_);
  Scope* inner = heap_.scope(scope);
  if (statement.condition != nullptr) {
    Heap::Held held(heap_);
    held.add_values(2 * items.size());
    std::vector<Value> chosen;
    for (Value& item : items) {
      assign(statement.target, item, inner);
      if (is_true(evaluate(*statement.condition, inner))) chosen.push_back(std::move(item));
    }
    items = std::move(chosen);
  }
  if (items.empty()) return execute(statement.otherwise, inner, out);
  Loop* loop = heap_.loop(std::move(items));
  loop->depth0 = depth;
  if (statement.is_recursive) {
    capture(scope);
    loop->body = &statement;
    loop->scope = scope;
  }
  for (std::size_t i = 0; i < loop->items.size(); ++i) {
    heap_.step();
    loop->index0 = i;
    if (inner->is_captured) inner = heap_.scope(scope);
    inner->variables.clear();
    set(inner, "loop", Value(loop));
    assign(statement.target, loop->items[i], inner);
    if (execute(statement.body, inner, out) == Flow::kBreak) break;
  }
  return Flow::kGoOn;
}

Interpreter::Flow Interpreter::execute_with(const Statement& statement, Scope* scope, Writer& out) {
  Scope* inner = heap_.scope(scope);
  for (const Statement::Assignment& assignment : statement.assignments) {
    assign(assignment.target, evaluate(*assignment.value, scope), inner);
  }
  return execute(statement.body, inner, out);
}

/// What `body` writes, through the filters of a block, if any.
Value Interpreter::captured(const Body& body, Scope* scope, const Expression* filters) {
  Writer text(heap_);
  execute(body, heap_.scope(scope), text);
  Value value(heap_.text(text.take()));
  if (filters == nullptr) return value;
  const Value* outer = std::exchange(filtered_, &value);
  Value result = evaluate(*filters, scope);
  filtered_ = outer;
  return result;
}

void Interpreter::execute_set_block(const Statement& statement, Scope* scope) {
  assign(statement.target, captured(statement.body, scope, statement.expression), scope);
}

void Interpreter::define_macro(const Statement& statement, Scope* scope) {
  capture(scope);
  set(scope, statement.macro.name, Value(heap_.macro({&statement.macro, scope})));
}

void Interpreter::execute_call_block(const Statement& statement, Scope* scope, Writer& out) {
  capture(scope);
  const Expression& expression = *statement.expression;
  const Value callee = evaluate(*expression.children[0], scope);
  Heap::Held held(heap_);
  Arguments arguments = evaluate_arguments(expression.arguments, scope, held);
  arguments.named.emplace_back("caller", Value(heap_.macro({&statement.macro, scope})));
  out.write(to_text(call(callee, arguments), heap_));
}

}  // namespace kl::jinja
