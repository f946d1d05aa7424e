#include "jinja/expression_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/printable.h"
#include "jinja/filters.h"
#include "jinja/number.h"
#include "jinja/tests.h"

namespace kl::jinja {

using TokenKind = Token::Kind;

Expression& ExpressionParser::make(Kind kind, int line) {
  Expression& made = ast_.expressions.emplace_back();
  made.kind = kind;
  made.line = line;
  return made;
}

/// Checks the depth, which bounds the recursion of everything that walks the tree.
const Expression* ExpressionParser::finish(Expression& expression) {
  int depth = 0;
  for (const Expression* child : expression.children) depth = std::max(depth, child != nullptr ? child->depth : 0);
  for (const Argument& argument : expression.arguments) depth = std::max(depth, argument.value->depth);
  expression.depth = depth + 1;
  if (expression.depth > kMaxNesting) {
    tokens_.fail_at(expression.line, fmt::format("expected at most {} operators inside one another", kMaxNesting));
  }
  return &expression;
}

const Expression* ExpressionParser::unary(Kind kind, int line, const Expression* operand) {
  Expression& made = make(kind, line);
  made.children = {operand};
  return finish(made);
}

const Expression* ExpressionParser::binary(Kind kind, Operator op, const Expression* a, const Expression* b) {
  Expression& made = make(kind, a->line);
  made.children = {a, b};
  made.operators = {op};
  return finish(made);
}

bool ExpressionParser::ends_tuple() const {
  const Token& now = tokens_.now();
  return now.kind == TokenKind::kVariableEnd || now.kind == TokenKind::kBlockEnd || now.is_operator(")") ||
         now.is_name("recursive") || now.is_operator("=");
}

const Expression* ExpressionParser::parse_tuple(bool with_conditional) {
  const int line = tokens_.now().line;
  std::vector<const Expression*> items;
  bool is_tuple = false;
  while (true) {
    if (!items.empty() && ends_tuple()) break;
    items.push_back(with_conditional ? conditional() : or_level());
    if (!tokens_.skip_operator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple) return items[0];
  Expression& made = make(Kind::kTuple, line);
  made.children = std::move(items);
  return finish(made);
}

const Expression* ExpressionParser::conditional() {
  const Nesting nesting(depth_, tokens_);
  const Expression* value = or_level();
  while (tokens_.now().is_name("if")) {
    const int line = tokens_.take().line;
    const Expression* condition = or_level();
    const Expression* otherwise = tokens_.skip_name("else") ? conditional() : nullptr;
    Expression& made = make(Kind::kConditional, line);
    made.children = {value, condition, otherwise};
    value = finish(made);
  }
  return value;
}

const Expression* ExpressionParser::or_level() {
  const Expression* value = and_level();
  while (tokens_.skip_name("or")) value = binary(Kind::kOr, Operator::kAdd, value, and_level());
  return value;
}

const Expression* ExpressionParser::and_level() {
  const Expression* value = not_level();
  while (tokens_.skip_name("and")) value = binary(Kind::kAnd, Operator::kAdd, value, not_level());
  return value;
}

const Expression* ExpressionParser::not_level() {
  if (!tokens_.now().is_name("not")) return compare();
  const Nesting nesting(depth_, tokens_);
  const int line = tokens_.take().line;
  return unary(Kind::kNot, line, not_level());
}

const Expression* ExpressionParser::compare() {
  static constexpr std::array<std::pair<std::string_view, Operator>, 6> kOperators = {
      {{"==", Operator::kEqual},
       {"!=", Operator::kNotEqual},
       {"<", Operator::kLess},
       {"<=", Operator::kLessEqual},
       {">", Operator::kGreater},
       {">=", Operator::kGreaterEqual}}};
  const Expression* first = sum();
  std::vector<const Expression*> operands = {first};
  std::vector<Operator> operators;
  while (true) {
    const auto found = std::find_if(kOperators.begin(), kOperators.end(),
                                    [&](const auto& entry) { return tokens_.now().is_operator(entry.first); });
    if (found != kOperators.end()) {
      operators.push_back(found->second);
      tokens_.take();
    } else if (tokens_.skip_name("in")) {
      operators.push_back(Operator::kIn);
    } else if (tokens_.now().is_name("not") && tokens_.next().is_name("in")) {
      tokens_.take();
      tokens_.take();
      operators.push_back(Operator::kNotIn);
    } else {
      break;
    }
    operands.push_back(sum());
  }
  if (operators.empty()) return first;
  Expression& made = make(Kind::kCompare, first->line);
  made.children = std::move(operands);
  made.operators = std::move(operators);
  return finish(made);
}

const Expression* ExpressionParser::sum() {
  const Expression* value = concatenation();
  while (true) {
    if (tokens_.skip_operator("+")) {
      value = binary(Kind::kBinary, Operator::kAdd, value, concatenation());
    } else if (tokens_.skip_operator("-")) {
      value = binary(Kind::kBinary, Operator::kSubtract, value, concatenation());
    } else {
      return value;
    }
  }
}

const Expression* ExpressionParser::concatenation() {
  const Expression* first = product();
  if (!tokens_.now().is_operator("~")) return first;
  Expression& made = make(Kind::kConcatenate, first->line);
  made.children.push_back(first);
  while (tokens_.skip_operator("~")) made.children.push_back(product());
  return finish(made);
}

const Expression* ExpressionParser::product() {
  static constexpr std::array<std::pair<std::string_view, Operator>, 4> kOperators = {
      {{"*", Operator::kMultiply}, {"/", Operator::kDivide}, {"//", Operator::kFloorDivide}, {"%", Operator::kModulo}}};
  const Expression* value = power();
  while (true) {
    const auto found = std::find_if(kOperators.begin(), kOperators.end(),
                                    [&](const auto& entry) { return tokens_.now().is_operator(entry.first); });
    if (found == kOperators.end()) return value;
    tokens_.take();
    value = binary(Kind::kBinary, found->second, value, power());
  }
}

const Expression* ExpressionParser::power() {
  const Expression* value = signed_value(true);
  while (tokens_.skip_operator("**")) value = binary(Kind::kBinary, Operator::kPower, value, signed_value(true));
  return value;
}

const Expression* ExpressionParser::signed_value(bool with_filter) {
  const Nesting nesting(depth_, tokens_);
  const int line = tokens_.now().line;
  const Expression* value = nullptr;
  if (tokens_.skip_operator("-")) {
    value = unary(Kind::kNegative, line, signed_value(false));
  } else if (tokens_.skip_operator("+")) {
    value = unary(Kind::kPositive, line, signed_value(false));
  } else {
    value = primary();
  }
  value = postfix(value);
  return with_filter ? filters_and_tests(value) : value;
}

const Expression* ExpressionParser::primary() {
  const int line = tokens_.now().line;
  switch (tokens_.now().kind) {
    case TokenKind::kName:
      return name_or_constant();
    case TokenKind::kInteger:
    case TokenKind::kFloat:
      return number();
    case TokenKind::kString: {
      std::string text;
      while (tokens_.now().kind == TokenKind::kString) text += tokens_.take().text;
      Expression& made = make(Kind::kLiteral, line);
      made.constant = Value(std::make_shared<const Text>(Text::own(std::move(text))));
      return &made;
    }
    default:
      break;
  }
  if (tokens_.skip_operator("(")) {
    if (tokens_.skip_operator(")")) return &make(Kind::kTuple, line);
    const Expression* value = parse_tuple();
    tokens_.expect_operator(")");
    return value;
  }
  if (tokens_.now().is_operator("[")) return list();
  if (tokens_.now().is_operator("{")) return dict();
  tokens_.fail_expected("an expression");
}

const Expression* ExpressionParser::name_or_constant() {
  Token token = tokens_.take();
  Expression& made = make(Kind::kLiteral, token.line);
  if (token.text == "true" || token.text == "True") {
    made.constant = Value(true);
  } else if (token.text == "false" || token.text == "False") {
    made.constant = Value(false);
  } else if (token.text == "none" || token.text == "None") {
    made.constant = Value(None{});
  } else {
    saw_varargs = saw_varargs || token.text == "varargs";
    saw_kwargs = saw_kwargs || token.text == "kwargs";
    saw_caller = saw_caller || token.text == "caller";
    made.kind = Kind::kName;
    made.name = std::move(token.text);
  }
  return &made;
}

const Expression* ExpressionParser::number() {
  const bool is_float = tokens_.now().kind == TokenKind::kFloat;
  const int line = tokens_.now().line;
  const std::string text = tokens_.take().text;
  Expression& made = make(Kind::kLiteral, line);
  if (is_float) {
    made.constant = Value(read_float(text).value_or(0));
  } else if (const auto value = read_integer(text, 0)) {
    made.constant = Value(*value);
  } else {
    tokens_.fail_at(line, fmt::format("expected an integer of at most 64 bits, got {}", printable(text, 60)));
  }
  return &made;
}

const Expression* ExpressionParser::list() {
  Expression& made = make(Kind::kList, tokens_.take().line);
  while (!tokens_.skip_operator("]")) {
    if (!made.children.empty()) {
      tokens_.expect_operator(",");
      if (tokens_.skip_operator("]")) break;
    }
    made.children.push_back(conditional());
  }
  return finish(made);
}

const Expression* ExpressionParser::dict() {
  Expression& made = make(Kind::kDict, tokens_.take().line);
  while (!tokens_.skip_operator("}")) {
    if (!made.children.empty()) {
      tokens_.expect_operator(",");
      if (tokens_.skip_operator("}")) break;
    }
    made.children.push_back(conditional());
    tokens_.expect_operator(":");
    made.children.push_back(conditional());
  }
  return finish(made);
}

const Expression* ExpressionParser::postfix(const Expression* object) {
  while (true) {
    if (tokens_.now().is_operator(".")) {
      object = attribute(object);
    } else if (tokens_.now().is_operator("[")) {
      object = subscript(object);
    } else if (tokens_.now().is_operator("(")) {
      object = call(object);
    } else {
      return object;
    }
  }
}

const Expression* ExpressionParser::filters_and_tests(const Expression* object) {
  while (true) {
    if (tokens_.now().is_operator("|")) {
      tokens_.take();
      object = parse_filter(object);
    } else if (tokens_.now().is_name("is")) {
      object = test(object);
    } else if (tokens_.now().is_operator("(")) {
      object = call(object);
    } else {
      return object;
    }
  }
}

const Expression* ExpressionParser::attribute(const Expression* object) {
  const int line = tokens_.take().line;
  if (tokens_.now().kind == TokenKind::kInteger) {
    Expression& made = make(Kind::kItem, line);
    made.children = {object, number()};
    return finish(made);
  }
  Expression& made = make(Kind::kAttribute, line);
  made.children = {object};
  made.name = tokens_.expect_name("a name");
  return finish(made);
}

const Expression* ExpressionParser::subscript(const Expression* object) {
  const int line = tokens_.take().line;
  const auto is_end = [&] { return tokens_.now().is_operator(":") || tokens_.now().is_operator("]"); };
  const Expression* first = is_end() ? nullptr : conditional();
  if (tokens_.now().is_operator(",")) tokens_.fail("expected one index in brackets, got several");
  if (!tokens_.now().is_operator(":")) {
    tokens_.expect_operator("]");
    if (first == nullptr) tokens_.fail_at(line, "expected an index in brackets, got nothing");
    Expression& made = make(Kind::kItem, line);
    made.children = {object, first};
    return finish(made);
  }
  Expression& made = make(Kind::kSlice, line);
  made.children = {object, first, nullptr, nullptr};
  for (std::size_t i = 2; i < 4 && tokens_.skip_operator(":"); ++i) {
    if (!is_end()) made.children[i] = conditional();
  }
  tokens_.expect_operator("]");
  return finish(made);
}

std::vector<Argument> ExpressionParser::parse_arguments() {
  tokens_.expect_operator("(");
  std::vector<Argument> arguments;
  while (!tokens_.skip_operator(")")) {
    if (!arguments.empty()) {
      tokens_.expect_operator(",");
      if (tokens_.skip_operator(")")) break;
    }
    Argument& argument = arguments.emplace_back();
    if (tokens_.skip_operator("*")) {
      argument.kind = Argument::Kind::kList;
    } else if (tokens_.skip_operator("**")) {
      argument.kind = Argument::Kind::kDict;
    } else if (tokens_.now().kind == TokenKind::kName && tokens_.next().is_operator("=")) {
      argument.kind = Argument::Kind::kNamed;
      argument.name = tokens_.take().text;
      tokens_.take();
    } else if (arguments.size() > 1 && arguments[arguments.size() - 2].kind != Argument::Kind::kPositional) {
      tokens_.fail("expected arguments without names before those with names");
    }
    argument.value = conditional();
  }
  return arguments;
}

const Expression* ExpressionParser::call(const Expression* callee) {
  Expression& made = make(Kind::kCall, tokens_.now().line);
  made.children = {callee};
  made.arguments = parse_arguments();
  return finish(made);
}

const Expression* ExpressionParser::parse_filters(const Expression* input) {
  while (tokens_.skip_operator("|")) input = parse_filter(input);
  return input;
}

const Expression* ExpressionParser::parse_filter(const Expression* input) {
  Expression& made = make(Kind::kFilter, tokens_.now().line);
  made.children = {input};
  made.name = tokens_.expect_name("the name of a filter");
  made.filter = find_filter(made.name);
  if (made.filter == nullptr)
    tokens_.fail_at(made.line, fmt::format("expected a filter that kl has, got {}", printable(made.name, 60)));
  if (tokens_.now().is_operator("(")) made.arguments = parse_arguments();
  return finish(made);
}

bool ExpressionParser::begins_test_argument() const {
  const Token& now = tokens_.now();
  switch (now.kind) {
    case TokenKind::kName:
      return !now.is_name("else") && !now.is_name("or") && !now.is_name("and");
    case TokenKind::kString:
    case TokenKind::kInteger:
    case TokenKind::kFloat:
      return true;
    default:
      return now.is_operator("(") || now.is_operator("[") || now.is_operator("{");
  }
}

const Expression* ExpressionParser::test(const Expression* object) {
  Expression& made = make(Kind::kTest, tokens_.take().line);
  made.children = {object};
  const bool is_negated = tokens_.skip_name("not");
  made.name = tokens_.expect_name("the name of a test");
  made.test = find_test(made.name);
  if (made.test == nullptr)
    tokens_.fail_at(made.line, fmt::format("expected a test that kl has, got {}", printable(made.name, 60)));
  if (tokens_.now().is_operator("(")) {
    made.arguments = parse_arguments();
  } else if (begins_test_argument()) {
    if (tokens_.now().is_name("is")) tokens_.fail("expected one test, got a chain of them");
    made.arguments.push_back({Argument::Kind::kPositional, "", postfix(primary())});
  }
  const Expression* finished = finish(made);
  return is_negated ? unary(Kind::kNot, made.line, finished) : finished;
}

}  // namespace kl::jinja
