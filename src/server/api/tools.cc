#include "server/api/tools.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/printable.h"
#include "server/exchange/api_error.h"

namespace kl {
namespace {

constexpr const char* kSectionBegin = "<|tool_calls_section_begin|>";

Tools::Function read_function(const Fields& function, std::string_view schema) {
  Tools::Function result;
  result.declaration.name = *function.text("name");
  if (const OrderedJson* parameters = function.find(schema)) result.declaration.parameters = to_text(*parameters);
  if (function.knows("strict")) result.strict = *function.boolean("strict");
  result.name_path = function.path_of("name");
  result.schema_path = function.path_of(schema);
  return result;
}

/// {"type": "function", "function": {...}} of a declaration in another API's form.
OrderedJson in_chat_form(const Fields& function, std::string_view schema) {
  OrderedJson inner = {{"name", *function.text("name")}};
  if (const auto description = function.text("description")) inner["description"] = *description;
  if (const OrderedJson* parameters = function.find(schema)) inner["parameters"] = *parameters;
  return {{"type", "function"}, {"function", inner}};
}

/// Reads the array "tools" whose elements are `element`s; `read` says what one is, in both forms.
template <class Read>
Tools read_tools(const Fields& body, Body element, const Read& read) {
  Tools tools;
  const OrderedJson* array = body.find("tools");
  if (!array || array->empty()) return tools;
  OrderedJson json = OrderedJson::array();
  for (std::size_t i = 0; i < array->size(); ++i) {
    const Fields tool((*array)[i], element, fmt::format("{}[{}]", body.path_of("tools"), i), body.is_strict());
    auto [function, chat_form] = read(tool);
    for (const Tools::Function& other : tools.functions) {
      if (other.declaration.name != function.declaration.name) continue;
      refuse_field(function.name_path,
                   fmt::format("expected a name of its own, got \"{}\" twice", printable(other.declaration.name)));
    }
    tools.functions.push_back(std::move(function));
    json.push_back(std::move(chat_form));
  }
  tools.json = to_text(json);
  tools.choice = Tools::Choice::kAuto;
  return tools;
}

void choose(Tools& tools, const std::string& word) {
  tools.choice = word == "none"   ? Tools::Choice::kNone
                 : word == "auto" ? Tools::Choice::kAuto
                                  : Tools::Choice::kRequired;
}

void choose_named(Tools& tools, const std::string& name, const std::string& path) {
  const auto is_it = [&name](const Tools::Function& f) { return f.declaration.name == name; };
  if (std::none_of(tools.functions.begin(), tools.functions.end(), is_it)) {
    refuse_field(path, fmt::format("expected the name of one of the tools, got \"{}\"", printable(name)));
  }
  tools.choice = Tools::Choice::kNamed;
  tools.named = name;
}

/// "required" with no tools asks for the impossible.
void check_choice(const Fields& body, const Tools& tools) {
  if (tools.choice == Tools::Choice::kRequired && tools.functions.empty()) {
    body.refuse("tool_choice", "expected tools to choose from, got none");
  }
}

/// Compiles a schema; errors name the field it came from.
std::shared_ptr<const Grammar> compile(GrammarCompiler& compiler, const std::string& schema, const std::string& path) {
  try {
    return compiler.json_schema(schema);
  } catch (const Error& error) {
    ApiError refusal = to_api_error(error);
    refusal.message = fmt::format("{}: {}", path, refusal.message);
    refusal.param = path;
    throw refusal;
  }
}

std::shared_ptr<const Grammar> read_format(GrammarCompiler& compiler, const Fields& format) {
  const std::string type = *format.text("type");
  if (type == "text") return nullptr;
  const OrderedJson* schema = format.find("schema");
  std::string path = format.path_of("schema");
  if (type == "json_schema" && format.knows("json_schema") && format.find("json_schema")) {
    const Fields named = *format.object("json_schema", Body::kJsonSchema);
    schema = named.find("schema");
    path = named.path_of("schema");
  } else if (type == "json_schema" && format.knows("json_schema") && !schema) {
    format.refuse("json_schema", "expected an object, got nothing");
  }
  if (schema) return compile(compiler, to_text(*schema), path);
  if (type == "json_schema") refuse_field(path, "expected an object, got nothing");
  return compiler.json_object();
}

}  // namespace

Tools read_chat_tools(const Fields& body) {
  Tools tools = read_tools(body, Body::kTool, [&](const Fields& tool) {
    const Fields function = *tool.object("function", Body::kFunction);
    // As it came: a template shows members it knows, in their order.
    OrderedJson form = {{"type", "function"}, {"function", *tool.find("function")}};
    return std::pair(read_function(function, "parameters"), std::move(form));
  });
  if (body.knows("parallel_tool_calls")) tools.parallel = *body.boolean("parallel_tool_calls");
  const OrderedJson* choice = body.knows("tool_choice") ? body.find("tool_choice") : nullptr;
  if (choice && choice->is_string()) choose(tools, choice->get<std::string>());
  if (choice && choice->is_object()) {
    const Fields function = *body.object("tool_choice", Body::kToolChoice)->object("function", Body::kChosenFunction);
    choose_named(tools, *function.text("name"), function.path_of("name"));
  }
  check_choice(body, tools);
  return tools;
}

Tools read_response_tools(const Fields& body) {
  Tools tools = read_tools(body, Body::kResponseTool, [](const Fields& tool) {
    return std::pair(read_function(tool, "parameters"), in_chat_form(tool, "parameters"));
  });
  tools.parallel = *body.boolean("parallel_tool_calls");
  const OrderedJson* choice = body.find("tool_choice");
  if (choice && choice->is_string()) choose(tools, choice->get<std::string>());
  if (choice && choice->is_object()) {
    const Fields chosen = *body.object("tool_choice", Body::kResponseToolChoice);
    choose_named(tools, *chosen.text("name"), chosen.path_of("name"));
  }
  check_choice(body, tools);
  return tools;
}

Tools read_anthropic_tools(const Fields& body) {
  Tools tools = read_tools(body, Body::kAnthropicTool, [](const Fields& tool) {
    return std::pair(read_function(tool, "input_schema"), in_chat_form(tool, "input_schema"));
  });
  const std::optional<Fields> choice = body.object("tool_choice", Body::kAnthropicToolChoice);
  if (!choice) return tools;
  const std::string type = *choice->text("type");
  tools.parallel = !*choice->boolean("disable_parallel_tool_use");
  if (type == "tool") {
    choose_named(tools, choice->text("name").value_or(""), choice->path_of("name"));
  } else {
    choose(tools, type == "any" ? "required" : type);
  }
  check_choice(body, tools);
  return tools;
}

std::shared_ptr<const Grammar> tool_grammar(GrammarCompiler& compiler, const Tools& tools) {
  std::vector<ToolDeclaration> declarations;
  for (const Tools::Function& function : tools.functions) {
    if (tools.choice == Tools::Choice::kNamed && function.declaration.name != tools.named) continue;
    ToolDeclaration declaration = function.declaration;
    if (!declaration.parameters.empty()) {
      try {
        compile(compiler, declaration.parameters, function.schema_path);
      } catch (const ApiError&) {
        if (function.strict) throw;
        declaration.parameters.clear();
      }
    }
    declarations.push_back(std::move(declaration));
  }
  const ToolChoice choice = tools.choice == Tools::Choice::kAuto ? ToolChoice::kAuto : ToolChoice::kRequired;
  return compiler.tool_calls(declarations, choice, tools.parallel);
}

std::shared_ptr<const Grammar> read_text_format(GrammarCompiler& compiler, const Fields& body, const Tools& tools) {
  std::shared_ptr<const Grammar> grammar;
  std::string_view from;
  if (body.knows("response_format") && body.find("response_format")) {
    from = "response_format";
    grammar = read_format(compiler, *body.object("response_format", Body::kResponseFormat));
  }
  if (body.knows("json_schema") && body.find("json_schema")) {
    if (grammar) body.refuse("json_schema", "expected only one of it and response_format, got both");
    from = "json_schema";
    grammar = compile(compiler, to_text(*body.find("json_schema")), body.path_of("json_schema"));
  }
  if (body.knows("text") && body.find("text")) {
    const Fields text = *body.object("text", Body::kResponseText);
    from = "text";
    if (text.find("format")) grammar = read_format(compiler, *text.object("format", Body::kResponseTextFormat));
  }
  if (grammar && tools.may_call())
    body.refuse(from, "expected plain text, or tool_choice \"none\", where there are tools");
  return grammar;
}

void apply_tools(const ApiContext& context, const Fields& body, const Tools& tools, EngineRequest& request) {
  request.options.grammar = read_text_format(*context.grammars, body, tools);
  if (tools.may_call()) {
    request.options.grammar = tool_grammar(*context.grammars, tools);
  } else {
    const Token begin = context.tokenizer->special_id(kSectionBegin);
    const bool has_logit = begin >= 0 && begin < context.backend->args().vocab_size;
    if (has_logit) request.options.sampling.logit_bias.emplace_back(begin, -1e9f);
  }
}

}  // namespace kl
