#pragma once
#include <optional>
#include <string>
#include <vector>

#include "base/stop_filter.h"
#include "kl/engine.h"
#include "kl/tool_calls.h"

namespace kl {

/// One answer of a chat in the making: content and calls out of an engine's events.
///
/// Invariant: the deltas handed out, put together, are content() and calls().
class Turn {
 public:
  /// `calls_tools`: look for calls; `stop` is then looked for here, and must not be given to the engine.
  Turn(const Tokenizer& tokenizer, bool calls_tools, std::vector<std::string> stop);

  /// Takes the next event of kind kTokens or kFinished.  REQUIRES: not over().
  std::vector<ToolCallDelta> take(const EngineEvent& event);

  bool over() const { return reason_.has_value(); }

  FinishReason reason() const { return reason_.value(); }
  const std::string& stop_string() const { return stop_string_; }
  bool calls_tools() const { return parser_ && parser_->calls_tools(); }  ///< once over
  const std::string& content() const { return content_; }
  std::vector<ToolCall> calls() const { return parser_ ? parser_->calls() : std::vector<ToolCall>(); }

 private:
  std::vector<ToolCallDelta> filter(std::vector<ToolCallDelta> deltas);

  std::optional<ToolCallParser> parser_;  // nothing: no calls
  StopFilter filter_;                     // of content, which the engine cannot tell from calls
  std::string content_;
  std::string stop_string_;
  std::optional<FinishReason> reason_;
};

/// "stop", "length" or "tool_calls".  A text that its deadline ended is one that a limit ended: "length".
const char* openai_finish_reason(FinishReason reason, bool calls_tools);

}  // namespace kl
