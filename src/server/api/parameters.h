#pragma once
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

namespace kl {

/// Every JSON object a client may send: bodies first, then what stands inside them.
enum class Body : std::uint8_t {
  kChat,
  kCompletion,
  kResponse,
  kMessages,
  kCountTokens,
  kLlamaCompletion,
  kTokenize,
  kDetokenize,
  kApplyTemplate,
  kSlotFile,
  kStreamOptions,
  kChatMessage,
  kTextPart,
  kToolCall,
  kCalledFunction,
  kTool,
  kFunction,
  kToolChoice,
  kChosenFunction,
  kResponseFormat,
  kJsonSchema,
  kPromptObject,
  kResponseItem,
  kResponsePart,
  kResponseTool,
  kResponseToolChoice,
  kResponseText,
  kResponseTextFormat,
  kAnthropicMessage,
  kAnthropicBlock,
  kAnthropicTool,
  kAnthropicToolChoice,
};
inline constexpr int kNumBodies = static_cast<int>(Body::kAnthropicToolChoice) + 1;

/// "ChatRequest": the name of its schema in openapi.yaml.
std::string_view name_of(Body body);

/// A set of bodies.
using Bodies = std::uint64_t;
constexpr Bodies operator|(Body a, Body b) {
  return Bodies{1} << static_cast<int>(a) | Bodies{1} << static_cast<int>(b);
}
constexpr Bodies operator|(Bodies a, Body b) { return a | Bodies{1} << static_cast<int>(b); }
constexpr Bodies only(Body body) { return Bodies{1} << static_cast<int>(body); }
constexpr bool contains(Bodies set, Body body) { return (set >> static_cast<int>(body) & 1) != 0; }

/// A set of JSON types.
using Types = unsigned;
inline constexpr Types kBoolean = 1, kInteger = 2, kNumber = 4, kString = 8, kArray = 16, kObject = 32;
inline constexpr Types kAnything = 63;

/// One field.  The table of these is what validates requests, and what openapi.yaml and docs/api.md are made of.
///
/// null is the same as leaving a field out, everywhere.
struct Parameter {
  std::string_view name;
  Bodies in = 0;  ///< where it may stand
  Types types = kAnything;
  double min = -std::numeric_limits<double>::infinity();  ///< of numbers
  double max = std::numeric_limits<double>::infinity();
  std::size_t min_size = 0;  ///< bytes of a string, elements of an array, members of an object
  std::size_t max_size = std::numeric_limits<std::size_t>::max();
  std::string_view one_of;    ///< "auto|none|required": what a string may be; empty: anything
  std::string_view elements;  ///< what an array holds and an object is: a body's name, "string", "integer", "number"
  std::string_view fallback;  ///< JSON text of the value where it is left out; empty: see the description
  bool required = false;
  bool refused = false;  ///< known, not supported: any value but null, false, "", [], {} is an error
  std::string_view description;
};

std::span<const Parameter> parameters();

/// The row of `name` in `body`, nullptr if there is none.
const Parameter* find_parameter(Body body, std::string_view name);

}  // namespace kl
