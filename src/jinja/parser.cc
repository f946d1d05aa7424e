#include "jinja/parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <unordered_map>
#include <utility>

#include "base/printable.h"
#include "jinja/expression_parser.h"

namespace kl::jinja {
namespace {

using TokenKind = Token::Kind;
using Kind = Statement::Kind;
using Names = std::initializer_list<std::string_view>;

class Parser {
 public:
  Parser(std::string_view source, const std::string& name)
      : ast_(std::make_unique<Ast>()), tokens_(source, name), expressions_(tokens_, *ast_) {}

  std::unique_ptr<const Ast> run() {
    ast_->body = body({});
    return std::move(ast_);
  }

 private:
  Statement& make(Kind kind, int line) {
    Statement& made = ast_->statements.emplace_back();
    made.kind = kind;
    made.line = line;
    return made;
  }

  /// Statements up to a block that begins with one of `ends`, whose name is the current token then; without `ends`,
  /// all.
  Body body(Names ends) {
    const Nesting nesting(depth_, tokens_);
    const int line = tokens_.now().line;
    Body statements;
    while (tokens_.now().kind != TokenKind::kEnd) {
      if (tokens_.now().kind == TokenKind::kText) {
        Statement& made = make(Kind::kText, tokens_.now().line);
        made.text = std::make_shared<const Text>(Text::own(tokens_.take().text));
        statements.push_back(&made);
      } else if (tokens_.now().kind == TokenKind::kVariableBegin) {
        Statement& made = make(Kind::kOutput, tokens_.take().line);
        made.expression = expressions_.parse_tuple();
        tokens_.expect(TokenKind::kVariableEnd, "}}");
        statements.push_back(&made);
      } else {
        tokens_.expect(TokenKind::kBlockBegin, "{%");
        if (std::any_of(ends.begin(), ends.end(), [&](auto end) { return tokens_.now().is_name(end); })) {
          return statements;
        }
        if (const Statement* made = block()) statements.push_back(made);
      }
    }
    if (ends.size() > 0) {
      tokens_.fail(fmt::format("expected {{% {} %}} for the block of line {}, got the end of the template",
                               *(ends.end() - 1), line));
    }
    return statements;
  }

  /// A body, the word that ends it, and nothing else behind that.
  Body body_to(std::string_view end) {
    Body statements = body({end});
    tokens_.take();
    tokens_.expect(TokenKind::kBlockEnd, "%}");
    return statements;
  }

  const Statement* block() {
    static const std::unordered_map<std::string_view, const Statement* (Parser::*)(int)> kBlocks = {
        {"if", &Parser::if_block},
        {"for", &Parser::for_block},
        {"set", &Parser::set_block},
        {"macro", &Parser::macro_block},
        {"call", &Parser::call_block},
        {"filter", &Parser::filter_block},
        {"with", &Parser::with_block},
        {"break", &Parser::break_block},
        {"continue", &Parser::continue_block},
        {"generation", &Parser::generation_block}};
    const Token& now = tokens_.now();
    const auto found = now.kind == TokenKind::kName ? kBlocks.find(now.text) : kBlocks.end();
    if (found == kBlocks.end()) tokens_.fail_expected("a block that kl has");
    const auto read = found->second;
    return (this->*read)(tokens_.take().line);
  }

  const Statement* if_block(int line) {
    Statement& made = make(Kind::kIf, line);
    while (true) {
      const Expression* condition = expressions_.parse_tuple(false);
      tokens_.expect(TokenKind::kBlockEnd, "%}");
      made.branches.push_back({condition, body({"elif", "else", "endif"})});
      if (!tokens_.skip_name("elif")) break;
    }
    if (tokens_.skip_name("else")) {
      tokens_.expect(TokenKind::kBlockEnd, "%}");
      made.branches.push_back({nullptr, body_to("endif")});
    } else {
      tokens_.take();
      tokens_.expect(TokenKind::kBlockEnd, "%}");
    }
    return &made;
  }

  const Statement* for_block(int line) {
    Statement& made = make(Kind::kFor, line);
    made.target = target(false);
    if (!tokens_.skip_name("in")) tokens_.fail_expected("\"in\"");
    made.expression = expressions_.parse_tuple(false);
    if (tokens_.skip_name("if")) made.condition = expressions_.parse();
    made.is_recursive = tokens_.skip_name("recursive");
    tokens_.expect(TokenKind::kBlockEnd, "%}");
    ++loops_;
    made.body = body({"else", "endfor"});
    --loops_;
    if (tokens_.skip_name("else")) {
      tokens_.expect(TokenKind::kBlockEnd, "%}");
      made.otherwise = body_to("endfor");
    } else {
      tokens_.take();
      tokens_.expect(TokenKind::kBlockEnd, "%}");
    }
    return &made;
  }

  const Statement* set_block(int line) {
    Statement& made = make(Kind::kSet, line);
    made.target = target(true);
    if (tokens_.skip_operator("=")) {
      made.expression = expressions_.parse_tuple();
      tokens_.expect(TokenKind::kBlockEnd, "%}");
    } else {
      made.kind = Kind::kSetBlock;
      made.expression = expressions_.parse_filters(nullptr);
      tokens_.expect(TokenKind::kBlockEnd, "%}");
      made.body = body_to("endset");
    }
    return &made;
  }

  const Statement* macro_block(int line) {
    Statement& made = make(Kind::kMacro, line);
    made.macro.name = tokens_.expect_name("the name of a macro");
    read_macro(made.macro, "endmacro", nullptr);
    return &made;
  }

  const Statement* call_block(int line) {
    Statement& made = make(Kind::kCallBlock, line);
    made.macro.name = "caller";
    read_macro(made.macro, "endcall", &made);
    return &made;
  }

  /// Parameters and body; between them what a call block calls.
  void read_macro(MacroDefinition& macro, std::string_view end, Statement* call) {
    if (call == nullptr || tokens_.now().is_operator("(")) read_parameters(macro);
    if (call != nullptr) {
      call->expression = expressions_.parse();
      if (call->expression->kind != Expression::Kind::kCall) tokens_.fail_at(call->line, "expected a call");
    }
    tokens_.expect(TokenKind::kBlockEnd, "%}");
    const int outer_loops = std::exchange(loops_, 0);
    bool& varargs = expressions_.saw_varargs;
    bool& kwargs = expressions_.saw_kwargs;
    bool& caller = expressions_.saw_caller;
    const bool outer[] = {std::exchange(varargs, false), std::exchange(kwargs, false), std::exchange(caller, false)};
    macro.body = body_to(end);
    macro.uses_varargs = std::exchange(varargs, outer[0]);
    macro.uses_kwargs = std::exchange(kwargs, outer[1]);
    macro.uses_caller = std::exchange(caller, outer[2]);
    loops_ = outer_loops;
  }

  void read_parameters(MacroDefinition& macro) {
    tokens_.expect_operator("(");
    while (!tokens_.skip_operator(")")) {
      if (!macro.parameters.empty()) tokens_.expect_operator(",");
      MacroDefinition::Parameter& parameter = macro.parameters.emplace_back();
      parameter.name = tokens_.expect_name("the name of a parameter");
      if (tokens_.skip_operator("=")) {
        parameter.default_value = expressions_.parse();
      } else if (macro.parameters.size() > 1 && macro.parameters[macro.parameters.size() - 2].default_value) {
        tokens_.fail("expected a default for a parameter after one with a default, got none");
      }
    }
  }

  const Statement* filter_block(int line) {
    Statement& made = make(Kind::kFilterBlock, line);
    made.expression = expressions_.parse_filters(expressions_.parse_filter(nullptr));
    tokens_.expect(TokenKind::kBlockEnd, "%}");
    made.body = body_to("endfilter");
    return &made;
  }

  const Statement* with_block(int line) {
    Statement& made = make(Kind::kWith, line);
    while (tokens_.now().kind != TokenKind::kBlockEnd) {
      if (!made.assignments.empty()) tokens_.expect_operator(",");
      Statement::Assignment& assignment = made.assignments.emplace_back();
      assignment.target = target(false);
      tokens_.expect_operator("=");
      assignment.value = expressions_.parse();
    }
    tokens_.take();
    made.body = body_to("endwith");
    return &made;
  }

  /// Marks what the model wrote, which matters for training only: the same as its body.
  const Statement* generation_block(int line) {
    tokens_.expect(TokenKind::kBlockEnd, "%}");
    Statement& made = make(Kind::kWith, line);
    made.body = body_to("endgeneration");
    return &made;
  }

  const Statement* break_block(int line) { return leave(Kind::kBreak, line); }
  const Statement* continue_block(int line) { return leave(Kind::kContinue, line); }

  const Statement* leave(Kind kind, int line) {
    if (loops_ == 0) tokens_.fail_at(line, "expected break and continue inside a loop only");
    tokens_.expect(TokenKind::kBlockEnd, "%}");
    return &make(kind, line);
  }

  /// A name, several in a tuple, or, for `set`, the member of a namespace.
  Target target(bool with_member) {
    const Nesting nesting(depth_, tokens_);
    Target first = target_part(with_member);
    if (!tokens_.now().is_operator(",")) return first;
    Target tuple;
    tuple.is_tuple = true;
    tuple.targets.push_back(std::move(first));
    while (tokens_.skip_operator(",")) {
      if (tokens_.now().kind != TokenKind::kName && !tokens_.now().is_operator("(")) break;
      if (tokens_.now().is_name("in")) break;
      tuple.targets.push_back(target_part(with_member));
    }
    return tuple;
  }

  Target target_part(bool with_member) {
    if (tokens_.skip_operator("(")) {
      Target inner = target(with_member);
      tokens_.expect_operator(")");
      return inner;
    }
    Target single;
    const int line = tokens_.now().line;
    single.name = tokens_.expect_name("the name of a variable");
    for (const char* constant : {"true", "false", "none", "True", "False", "None"}) {
      if (single.name == constant) tokens_.fail_at(line, "expected the name of a variable, got " + single.name);
    }
    if (with_member && tokens_.skip_operator(".")) single.member = tokens_.expect_name("the name of a member");
    return single;
  }

  std::unique_ptr<Ast> ast_;
  TokenStream tokens_;
  ExpressionParser expressions_;
  int depth_ = 0;
  int loops_ = 0;
};

}  // namespace

std::unique_ptr<const Ast> parse(std::string_view source, const std::string& name) {
  return Parser(source, name).run();
}

}  // namespace kl::jinja
