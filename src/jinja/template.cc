#include "jinja/template.h"

#include <fmt/format.h>

#include "base/utf8.h"
#include "jinja/ast.h"
#include "jinja/failure.h"
#include "jinja/from_json.h"
#include "jinja/interpreter.h"
#include "jinja/parser.h"
#include "kl/error.h"

namespace kl::jinja {

namespace {

/// A message may quote any string of a template; an error's should be readable.
std::string shortened(std::string message) {
  constexpr std::size_t kMost = 4096;
  if (message.size() <= kMost) return message;
  message.resize(last_character(std::string_view(message).substr(0, kMost + 1)));  // not inside a character
  return message + "...";
}

}  // namespace

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
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}:{}: {}", name_, interpreter.line(), shortened(failure.what())));
  }
}

}  // namespace kl::jinja
