#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kl/tokenizer.h"

namespace kl {

/// One call that the model wrote.
struct ToolCall {
  std::string id;         ///< as written: "functions.NAME:INDEX"
  std::string name;       ///< of the function
  std::string arguments;  ///< as written, blanks around it left out; "{}" where there were none
  bool complete = false;
  bool valid_json = false;  ///< a strict JSON object
};

/// What one more token made certain.
struct ToolCallDelta {
  /// More content, a call that begins, or more of its arguments.
  enum class Kind : std::uint8_t { kContent, kCall, kArguments } kind = Kind::kContent;
  int call = -1;         ///< index of the call; -1 for content
  std::string id, name;  ///< with kCall
  std::string text;      ///< content, or a piece of arguments
};

/// Finds tool calls in what the model wrote, token by token.
///
/// Markers are tokens, not text: a model that spells "<|tool_call_begin|>" letter by letter has written content.
///
///     content <|tool_calls_section_begin|> <|tool_call_begin|> functions.NAME:0 <|tool_call_argument_begin|> {...}
///     <|tool_call_end|> ... <|tool_calls_section_end|>
///
/// What is malformed is repaired as far as it can be, and reported.
/// - Text outside of sections and calls is content, unchanged.  Text between the calls of a section is left out: an error.
/// - The name is the id without a last ":DIGITS", then without a first "functions.".  An id that names nothing, or holds
///   one of { } " or a line break, makes no call.
/// - A call without end is closed by whatever comes next; it is complete if its arguments are a JSON object all the same.
///
/// Invariant: the result does not depend on how the text was split into tokens, and deltas put together are it.
class ToolCallParser {
 public:
  explicit ToolCallParser(const Tokenizer& tokenizer);  ///< must outlive the parser
  ~ToolCallParser();
  ToolCallParser(ToolCallParser&&) noexcept;

  /// Nothing behind a stop token counts.
  std::vector<ToolCallDelta> push(Token token);

  /// Nothing follows.  `cut`: the text was ended by a limit, not by the model.
  std::vector<ToolCallDelta> finish(bool cut);

  const std::string& content() const;          ///< what is not part of a call, so far
  const std::vector<ToolCall>& calls() const;  ///< so far, the last one maybe incomplete

  /// What was malformed: "stray_marker", "no_argument_marker", "arguments_not_json", "arguments_not_object",
  /// "unterminated_call", or "bad_call", "text_in_section", "unterminated_call" with ": " and what was left out.
  const std::vector<std::string>& errors() const;
  bool calls_tools() const;  ///< after finish(): the finish reason is "tool_calls"

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kl
