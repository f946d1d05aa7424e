#pragma once
#include <memory>
#include <string>
#include <vector>

#include "grammar/json_grammar.h"
#include "kl/grammar.h"
#include "kl/structured.h"

namespace kl::grammar {

/// The control tokens around calls (kl/tool_calls.h).
struct ToolMarkers {
  /// Throws Error(kUnsupported) if the vocabulary lacks one.
  explicit ToolMarkers(const Tokenizer& tokenizer);
  Token section_begin, call_begin, argument_begin, call_end, section_end;
};

/// A function that may be called.
struct Tool {
  std::string name;
  std::shared_ptr<const CompiledSchema> arguments;
};

/// What every text with the same tools shares.
struct ToolSet {
  ToolMarkers markers;
  std::shared_ptr<const Vocabulary> vocabulary;
  std::vector<Tool> tools;
  ToolChoice choice;
  bool parallel;
  std::vector<std::uint64_t> free_text;  ///< all tokens but misplaced markers
};

/// A text with tool calls:
///
///     text | free text, section begin, call, (call ...) section end
///     call: call begin, "functions.NAME:INDEX", argument begin, JSON object, call end
///
/// NAME is one of the tools, INDEX counts calls from 0, and the object follows that tool's schema.
class ToolGrammar final : public Grammar {
 public:
  explicit ToolGrammar(ToolSet tools);
  std::unique_ptr<GrammarState> start() const override;

 private:
  std::shared_ptr<const ToolSet> tools_;
};

}  // namespace kl::grammar
