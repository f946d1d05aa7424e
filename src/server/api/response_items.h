#pragma once
#include <functional>
#include <string>
#include <vector>

#include "kl/tool_calls.h"
#include "server/api/json.h"

namespace kl {

/// The output of a response in the making, and the events that say how it grows.
///
/// Deltas of a turn open and close items: text is a message of one part, a call is an item of its own.
class ResponseItems {
 public:
  /// Gets every event, "type" first, without its sequence number.
  using Emit = std::function<void(OrderedJson event)>;

  explicit ResponseItems(Emit emit) : emit_(std::move(emit)) {}

  /// `logprobs` are those of the text of `delta`: JSON array.
  void add(const ToolCallDelta& delta, const std::string& logprobs);

  /// Nothing follows.  `status`: "completed", or "incomplete" for an item that a limit cut.
  void finish(const std::string& status);

  /// JSON array of the items that are closed.
  const std::string& output() const { return output_; }

 private:
  enum class Open { kNothing, kMessage, kCall };
  void open_message();
  void open_call(const ToolCallDelta& delta);
  void close(const std::string& status);
  void close_message(const std::string& status);
  void close_call(const std::string& status);

  Emit emit_;
  Open open_ = Open::kNothing;
  int index_ = 0;   // of the item that is open, or the next one
  std::string id_;  // of the item
  std::string call_id_, name_;
  std::string text_;      // content or arguments so far
  std::string logprobs_;  // elements of its JSON array
  std::string output_ = "[]";
};

}  // namespace kl
