#pragma once
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "jinja/value.h"

namespace kl::jinja {

/// How deep a template's own text may nest: brackets, blocks, and operators in a row.
constexpr int kMaxNesting = 200;

struct Expression;

struct Argument {
  enum class Kind : std::uint8_t { kPositional, kNamed, kList, kDict } kind = Kind::kPositional;
  std::string name;  // kNamed
  const Expression* value = nullptr;
};

enum class Operator : std::uint8_t {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn,
};

struct Filter;  // filters.h
struct Test;    // tests.h

/// A node that has a value.
struct Expression {
  enum class Kind : std::uint8_t {
    kLiteral,    // constant
    kName,       // name
    kList,       // children
    kTuple,      // children
    kDict,       // children: key, value, key, value, ...
    kAttribute,  // children[0].name
    kItem,       // children[0][children[1]]
    kSlice,      // children[0][children[1] : children[2] : children[3]], nullptr for what is left out
    kCall,       // children[0](arguments)
    kFilter,     // children[0] | filter(arguments); children[0] is nullptr for the text of a filter block
    kTest,       // children[0] is test(arguments)
    kNegative,
    kPositive,
    kNot,
    kBinary,   // children[0] operators[0] children[1]
    kCompare,  // children[0] operators[0] children[1] operators[1] children[2] ...
    kAnd,
    kOr,           // of two
    kConcatenate,  // children
    kConditional,  // children[0] if children[1] else children[2], which may be nullptr
  };
  Kind kind = Kind::kLiteral;
  int line = 0;
  int depth = 1;
  std::string name;
  Value constant;
  std::vector<const Expression*> children;
  std::vector<Argument> arguments;
  std::vector<Operator> operators;
  const Filter* filter = nullptr;
  const Test* test = nullptr;
};

struct Statement;
using Body = std::vector<const Statement*>;

/// What an assignment binds.
struct Target {
  std::string name;             // a name, or the namespace whose member is set
  std::string member;           // not empty: name.member
  std::vector<Target> targets;  // not empty: a tuple
  bool is_tuple = false;
};

struct MacroDefinition {
  struct Parameter {
    std::string name;
    const Expression* default_value = nullptr;  // nullptr: none
  };
  std::string name;
  std::vector<Parameter> parameters;
  Body body;
  bool uses_varargs = false, uses_kwargs = false, uses_caller = false;
};

/// A node that does something.
struct Statement {
  enum class Kind : std::uint8_t {
    kText,         // text
    kOutput,       // expression
    kIf,           // branches
    kFor,          // for target in expression if condition: body, else otherwise
    kSet,          // target = expression
    kSetBlock,     // target = body, through the filters of expression, if any
    kMacro,        // macro
    kCallBlock,    // expression is the call, macro the block
    kFilterBlock,  // body through the filters of expression
    kWith,         // assignments, body
    kBreak,
    kContinue,
  };
  struct Branch {
    const Expression* condition = nullptr;  // nullptr: else
    Body body;
  };
  struct Assignment {
    Target target;
    const Expression* value = nullptr;
  };
  Kind kind = Kind::kText;
  int line = 0;
  TextPtr text;
  const Expression* expression = nullptr;
  const Expression* condition = nullptr;
  Target target;
  Body body, otherwise;
  bool is_recursive = false;
  std::vector<Branch> branches;
  std::vector<Assignment> assignments;
  MacroDefinition macro;
};

/// A parsed template; owns its nodes side by side, so that nothing recurses when it goes.
struct Ast {
  std::deque<Expression> expressions;
  std::deque<Statement> statements;
  Body body;
};

}  // namespace kl::jinja
