#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "jinja/arguments.h"
#include "jinja/ast.h"
#include "jinja/heap.h"

namespace kl::jinja {

/// A text in the making, counted while it lives.
class Writer {
 public:
  /// `heap` must outlive the writer.
  explicit Writer(Heap& heap) : heap_(heap), held_(heap) {}
  void write(const Text& text);
  Text take() { return std::move(text_); }

 private:
  Heap& heap_;
  Heap::Held held_;
  Text text_;
};

/// Runs a template once.
///
/// Role  walks the tree: statements write text, expressions give values.  Depth is counted, so that a macro that calls
///       itself for ever is an error and not the end of the stack.
/// All methods throw Failure; line() is then where.
class Interpreter {
 public:
  /// `heap` must outlive the interpreter.
  explicit Interpreter(Heap& heap) : heap_(heap) {}

  void define(std::string_view name, Value value) { set(&root_, name, std::move(value)); }
  Text run(const Body& body);
  int line() const { return line_; }

 private:
  enum class Flow : std::uint8_t { kGoOn, kBreak, kContinue };

  // Statements: interpreter.cc.
  Flow execute(const Body& body, Scope* scope, Writer& out);
  Flow execute(const Statement& statement, Scope* scope, Writer& out);
  Flow execute_if(const Statement& statement, Scope* scope, Writer& out);
  Flow execute_for(const Statement& statement, Scope* scope, Writer& out);
  Flow run_loop(const Statement& statement, const Value& sequence, Scope* scope, std::int64_t depth, Writer& out);
  Flow execute_with(const Statement& statement, Scope* scope, Writer& out);
  void execute_set_block(const Statement& statement, Scope* scope);
  void define_macro(const Statement& statement, Scope* scope);
  void execute_call_block(const Statement& statement, Scope* scope, Writer& out);
  Value captured(const Body& body, Scope* scope, const Expression* filters);
  void assign(const Target& target, const Value& value, Scope* scope);
  void set(Scope* scope, std::string_view name, Value value);
  static const Value* find(const Scope* scope, std::string_view name);
  static void capture(Scope* scope);

  // Expressions: expressions.cc.
  Value evaluate(const Expression& expression, Scope* scope);
  Value evaluate_name(const Expression& expression, Scope* scope);
  Value evaluate_list(const Expression& expression, Scope* scope);
  Value evaluate_dict(const Expression& expression, Scope* scope);
  Value evaluate_slice(const Expression& expression, Scope* scope);
  Value evaluate_filter(const Expression& expression, Scope* scope);
  Value evaluate_test(const Expression& expression, Scope* scope);
  Value evaluate_compare(const Expression& expression, Scope* scope);
  Value evaluate_concatenation(const Expression& expression, Scope* scope);
  Value evaluate_conditional(const Expression& expression, Scope* scope);
  Value evaluate_call(const Expression& expression, Scope* scope);
  Value evaluate_binary(const Expression& expression, Scope* scope);
  Arguments evaluate_arguments(const std::vector<Argument>& arguments, Scope* scope, Heap::Held& held);
  void add_spread(Argument::Kind kind, const Value& value, Arguments& to, Heap::Held& held);
  Value call(const Value& callee, const Arguments& arguments);
  Value call_macro(const Macro& macro, const Arguments& arguments);
  void bind_parameters(const MacroDefinition& macro, const Arguments& arguments, Scope* scope);
  Value call_loop(const Loop& loop, const Arguments& arguments);

  Heap& heap_;
  Scope root_;
  int line_ = 0;
  const Value* filtered_ = nullptr;  // what the filters of a block work on
};

}  // namespace kl::jinja
