#pragma once
#include <memory>
#include <string>
#include <vector>

#include "kl/structured.h"
#include "server/api/context.h"
#include "server/api/fields.h"

namespace kl {

/// The functions of a request, whichever API it came from, and what the model may do with them.
struct Tools {
  struct Function {
    ToolDeclaration declaration;
    bool strict = false;
    std::string name_path, schema_path;  ///< where they stand in the request, for errors
  };

  std::string json;  ///< the array a chat template is given, in OpenAI's form; empty: none
  std::vector<Function> functions;
  enum class Choice : std::uint8_t { kNone, kAuto, kRequired, kNamed } choice = Choice::kNone;
  std::string named;  ///< with kNamed
  bool parallel = true;

  bool may_call() const { return choice != Choice::kNone && !functions.empty(); }
};

// One reader for each API's spelling.  All throw ApiError 400 naming the field.
Tools read_chat_tools(const Fields& body);
Tools read_response_tools(const Fields& body);
Tools read_anthropic_tools(const Fields& body);

/// The grammar of a text that may call the tools.  A strict function whose schema is not supported is an error; any
/// other one's arguments need only be an object then.  REQUIRES: tools.may_call().
std::shared_ptr<const Grammar> tool_grammar(GrammarCompiler& compiler, const Tools& tools);

/// What `response_format`, `text.format` and `json_schema` ask for; null: anything.
/// Throws ApiError 400 naming the field, also if tools may be called at the same time.
std::shared_ptr<const Grammar> read_text_format(GrammarCompiler& compiler, const Fields& body, const Tools& tools);

/// Puts what tools and formats ask for into a request: a grammar, or that no call may begin.
void apply_tools(const ApiContext& context, const Fields& body, const Tools& tools, EngineRequest& request);

}  // namespace kl
