#pragma once
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "kl/grammar.h"
#include "kl/tokenizer.h"

namespace kl {

/// A function the model may call.
struct ToolDeclaration {
  std::string name;
  std::string parameters;  ///< JSON schema of its arguments, or empty: any object
};

/// What a text with tools must be.
enum class ToolChoice : std::uint8_t {
  kAuto,      ///< anything; where calls begin, they name a declared function and their arguments follow its schema
  kRequired,  ///< one call at least, and nothing else
};

/// Bounds on what one schema may cost.
struct GrammarLimits {
  std::size_t schema_bytes = 1 << 20;
  std::size_t depth = 64;                ///< of the schema and of the values it allows where it recurses
  std::size_t states = 1 << 18;          ///< of the automaton, and of what it is made from
  std::size_t cache_bytes = 256u << 20;  ///< compiled grammars kept for the next request that asks for the same
};

/// Compiles JSON schemas into automata over bytes, and those into masks over the tokens of one vocabulary.
///
/// Role      structured output: a text that follows the grammar is valid, whatever the model thinks.
/// Time      a mask takes at most 100 microseconds on average at 163,840 tokens.
/// Thread safety: all methods may be called from any thread.
class GrammarCompiler {
 public:
  /// For texts of this tokenizer, which must outlive the compiler and its grammars.
  explicit GrammarCompiler(const Tokenizer& tokenizer, const GrammarLimits& limits = {});
  ~GrammarCompiler();

  /// One JSON object, whatever is in it.
  std::shared_ptr<const Grammar> json_object();

  /// One JSON value that `schema` describes.
  /// Throws Error(kInvalidArgument) naming the place (JSON pointer) and keyword: not JSON, no schema, a keyword that is
  /// not supported, a schema nothing can follow, a limit.
  std::shared_ptr<const Grammar> json_schema(std::string_view schema);

  /// Text with tool calls in the model's own format (kl/tool_calls.h).
  std::shared_ptr<const Grammar> tool_calls(std::span<const ToolDeclaration> tools, ToolChoice choice, bool parallel);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kl
