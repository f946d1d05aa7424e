// One answer: asks the server, and puts what streams in into a message of the conversation.
import { streamChat } from "./api.js";
import { requestFields } from "./fields.js";
import { tokensFrom } from "./tokens.js";
import { addToolCalls } from "./toolcalls.js";
import { addNode, removeLeaf, toMessages } from "./tree.js";

/// Answers the message `after`.  Adds the new message to the conversation at once and calls `onchange(node)` whenever it
/// has grown.  Returns it when it is whole or was stopped; throws ApiError, keeping what had come.
///
/// node.stats {model, finish, promptTokens, cachedTokens, missReason, tokens, firstTokenMs, tokensPerSecond}: what the
/// server says, and what was measured here where it says nothing.
export async function generate(conversation, after, { model, probabilities, signal, onchange }) {
  const request = { model, ...requestFields(conversation.settings), messages: toMessages(conversation, after) };
  if (probabilities) Object.assign(request, { logprobs: true, top_logprobs: 5 });
  const node = addNode(conversation, { role: "assistant", content: "", state: "streaming", stats: { model } }, after.id);
  const clock = new Clock();
  onchange(node);
  try {
    const decoder = new TextDecoder();
    for await (const part of streamChat(request, signal)) {
      take(node, part, clock, decoder);
      onchange(node);
    }
    node.state = "done";
  } catch (error) {
    node.state = error.name === "AbortError" ? "stopped" : "broken";
    if (node.content === "" && !node.toolCalls) removeLeaf(conversation, node);
    if (node.state === "broken") throw error;
  } finally {
    clock.finish(node.stats);
    onchange(node);
  }
  return node;
}

function take(node, part, clock, decoder) {
  const stats = node.stats;
  if (part.content || part.toolCalls) clock.tick();
  if (part.content) node.content += part.content;
  if (part.toolCalls) addToolCalls((node.toolCalls ??= []), part.toolCalls);
  if (part.logprobs) (node.tokens ??= []).push(...tokensFrom(part.logprobs, decoder));
  if (part.finish) stats.finish = part.finish;
  if (part.usage) {
    stats.promptTokens = part.usage.prompt_tokens;
    stats.tokens = part.usage.completion_tokens;
    const details = part.usage.prompt_tokens_details ?? {};
    if (Number.isFinite(details.cached_tokens)) stats.cachedTokens = details.cached_tokens;
    if (details.cache_miss_reason) stats.missReason = String(details.cache_miss_reason);
  }
  if (part.timings) {
    if (part.timings.predicted_per_second > 0) stats.tokensPerSecond = part.timings.predicted_per_second;
    if (part.timings.prompt_ms > 0) stats.promptMs = part.timings.prompt_ms;
  }
}

/// Time to the first piece of an answer, and pieces per second after it.
class Clock {
  #start = performance.now();
  #first = null;
  #last = null;
  #pieces = 0;

  tick() {
    this.#last = performance.now();
    this.#first ??= this.#last;
    this.#pieces++;
  }

  /// Fills in what the server did not say.
  finish(stats) {
    if (this.#first === null) return;
    stats.firstTokenMs = this.#first - this.#start;
    const tokens = stats.tokens ?? this.#pieces;
    const seconds = (this.#last - this.#first) / 1000;
    if (tokens > 1 && seconds > 0) stats.tokensPerSecond ??= (tokens - 1) / seconds;
  }
}
