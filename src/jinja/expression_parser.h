#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "jinja/ast.h"
#include "jinja/token_stream.h"

namespace kl::jinja {

/// Reads expressions, with the precedences of Jinja 3.1:
///
///     a if c else b  <  or  <  and  <  not  <  == != < <= > >= in, not in  <  + -  <  ~  <  * / // %  <  **  <  - +
///     <  . [] () | is
class ExpressionParser {
 public:
  /// Both must outlive the parser.
  ExpressionParser(TokenStream& tokens, Ast& ast) : tokens_(tokens), ast_(ast) {}

  const Expression* parse() { return conditional(); }
  /// Several separated by commas are a tuple.
  const Expression* parse_tuple(bool with_conditional = true);
  /// | filter | filter ... to `input`, which is nullptr in blocks; nullptr if there are none and `input` is.
  const Expression* parse_filters(const Expression* input);
  const Expression* parse_filter(const Expression* input);
  std::vector<Argument> parse_arguments();

  /// Names read since the last call, which is how macros find out what they use.
  bool saw_varargs = false, saw_kwargs = false, saw_caller = false;

 private:
  using Kind = Expression::Kind;

  Expression& make(Kind kind, int line);
  const Expression* finish(Expression& expression);
  const Expression* unary(Kind kind, int line, const Expression* operand);
  const Expression* binary(Kind kind, Operator op, const Expression* a, const Expression* b);

  const Expression* conditional();
  const Expression* or_level();
  const Expression* and_level();
  const Expression* not_level();
  const Expression* compare();
  const Expression* sum();
  const Expression* concatenation();
  const Expression* product();
  const Expression* power();
  const Expression* signed_value(bool with_filter);
  const Expression* primary();
  const Expression* name_or_constant();
  const Expression* number();
  const Expression* list();
  const Expression* dict();
  const Expression* postfix(const Expression* object);
  const Expression* filters_and_tests(const Expression* object);
  const Expression* attribute(const Expression* object);
  const Expression* subscript(const Expression* object);
  const Expression* call(const Expression* callee);
  const Expression* test(const Expression* object);
  bool ends_tuple() const;
  bool begins_test_argument() const;

  TokenStream& tokens_;
  Ast& ast_;
  int depth_ = 0;
};

}  // namespace kl::jinja
