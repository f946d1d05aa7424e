#include "server/api/turn.h"

#include <utility>

namespace kl {

Turn::Turn(const Tokenizer& tokenizer, bool calls_tools, std::vector<std::string> stop)
    : filter_(calls_tools ? std::move(stop) : std::vector<std::string>()) {
  if (calls_tools) parser_.emplace(tokenizer);
}

std::vector<ToolCallDelta> Turn::take(const EngineEvent& event) {
  std::vector<ToolCallDelta> deltas;
  const bool finished = event.kind == EngineEvent::Kind::kFinished;
  if (finished) {
    reason_ = event.reason;
    stop_string_ = event.stop_string;
  }
  if (!parser_) {
    if (!event.text.empty()) deltas.push_back({.kind = ToolCallDelta::Kind::kContent, .text = event.text});
  } else {
    const auto append = [&deltas](std::vector<ToolCallDelta> more) {
      for (ToolCallDelta& delta : more) deltas.push_back(std::move(delta));
    };
    for (const Token id : event.ids) append(parser_->push(id));
    if (finished) append(parser_->finish(event.reason != FinishReason::kStop));
    deltas = filter(std::move(deltas));
    if (std::string rest = finished && !filter_.hit() ? filter_.flush() : std::string(); !rest.empty()) {
      deltas.push_back({.kind = ToolCallDelta::Kind::kContent, .text = std::move(rest)});
    }
  }
  for (const ToolCallDelta& delta : deltas) {
    if (delta.kind == ToolCallDelta::Kind::kContent) content_ += delta.text;
  }
  if (filter_.hit()) {
    reason_ = FinishReason::kStop;
    stop_string_ = filter_.stop_string();
  }
  return deltas;
}

/// Passes content through the stop strings; what follows a hit is dropped.
std::vector<ToolCallDelta> Turn::filter(std::vector<ToolCallDelta> deltas) {
  std::vector<ToolCallDelta> kept;
  for (ToolCallDelta& delta : deltas) {
    if (filter_.hit()) break;
    const bool is_content = delta.kind == ToolCallDelta::Kind::kContent;
    std::string text = is_content ? filter_.push(delta.text) : filter_.flush();
    if (!text.empty()) kept.push_back({.kind = ToolCallDelta::Kind::kContent, .text = std::move(text)});
    if (!is_content) kept.push_back(std::move(delta));
  }
  return kept;
}

const char* openai_finish_reason(FinishReason reason, bool calls_tools) {
  if (calls_tools) return "tool_calls";
  return reason == FinishReason::kStop ? "stop" : "length";
}

}  // namespace kl
