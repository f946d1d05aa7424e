#include "jinja/template.h"

#include <fmt/format.h>

#include "jinja/ast.h"
#include "jinja/failure.h"
#include "jinja/from_json.h"
#include "jinja/interpreter.h"
#include "jinja/parser.h"
#include "kl/error.h"

namespace kl::jinja {

Template::Template(std::string_view source, std::string name) : name_(std::move(name)), ast_(parse(source, name_)) {}
Template::~Template() = default;
Template::Template(Template&&) noexcept = default;

Text Template::render(const std::vector<Variable>& variables, const Limits& limits) const {
  Heap heap(limits);
  Interpreter interpreter(heap);
  try {
    for (const Variable& variable : variables) {
      interpreter.define(variable.name, from_json(variable, heap));
    }
    return interpreter.run(ast_->body);
  } catch (const Failure& failure) {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("{}:{}: {}", name_, interpreter.line(), failure.what()));
  }
}

}  // namespace kl::jinja
