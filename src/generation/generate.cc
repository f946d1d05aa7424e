#include "kl/generate.h"

#include <chrono>
#include <utility>

#include "generation/text_machine.h"
#include "kl/error.h"

namespace kl {
namespace {

using Clock = std::chrono::steady_clock;

double seconds(Clock::duration time) { return std::chrono::duration<double>(time).count(); }

/// Keeps the logits of a pass, reports progress on the prompt, and passes on the wish to stop.
class PassObserver : public ForwardObserver {
 public:
  struct Row {
    std::int64_t index;  // of its token in the pass
    std::vector<float> logits;
  };

  PassObserver(const GenerateHooks& hooks, const TextMachine& text) : hooks_(hooks), text_(text) {}

  bool cancelled() const { return hooks_.cancel != nullptr && hooks_.cancel->load(std::memory_order_relaxed); }
  std::vector<Row> take_rows() { return std::exchange(rows_, {}); }

  void on_logits(int, std::int64_t index, std::span<const float> logits) override {
    rows_.push_back({index, {logits.begin(), logits.end()}});
  }
  bool on_progress(std::int64_t, std::int64_t) override {
    if (text_.is_reading() && hooks_.on_prompt) hooks_.on_prompt(text_.fed(), text_.prompt_tokens());
    return !cancelled();
  }

 private:
  const GenerateHooks& hooks_;
  const TextMachine& text_;
  std::vector<Row> rows_;
};

/// Drives the text to its end.  Returns when its prompt had been read.
Clock::time_point write(Model& model, TextMachine& text, const GenerateHooks& hooks) {
  const auto show = [&](const std::string& certain) {
    if (!certain.empty() && hooks.on_text) hooks.on_text(certain);
  };
  PassObserver observer(hooks, text);
  PassCost cost;
  Clock::time_point read;
  while (!text.finished()) {
    const bool reads = text.is_reading();
    if (reads) {
      text.read_on(text.stretch());
    } else {
      text.write_on(cost);
    }
    const Clock::time_point start = Clock::now();
    const SequenceInput input = text.input();
    const bool fed_all = model.forward({&input, 1}, observer) == text.pass_size();
    const Clock::time_point end = Clock::now();
    if (reads) {
      read = end;
    } else {
      cost.observe(static_cast<int>(text.pass_size()), seconds(end - start));
    }
    for (const PassObserver::Row& row : observer.take_rows()) {
      if (!text.draws_from(row.index)) break;
      show(text.draw(row.logits));
      if (observer.cancelled()) show(text.finish(FinishReason::kCancelled));
    }
    text.end_pass();
    if (!fed_all) text.finish(FinishReason::kCancelled);
  }
  return read;
}

}  // namespace

GenerateResult generate(Model& model, const Tokenizer& tokenizer, SequenceState& state, std::span<const Token> prompt,
                        const GenerateOptions& options, const GenerateHooks& hooks, int max_draft) {
  if (prompt.empty()) throw Error(ErrorCode::kInvalidArgument, "prompt: expected at least one token, got none");
  const MlaFormRule form(tokenizer, model.options().mla_form);
  TextMachine text(tokenizer, form, options, prompt, state, {.isa = model.isa(), .max_draft = max_draft});
  const Clock::time_point start = Clock::now(), read = write(model, text, hooks);
  model.settle(state);

  const Continuation& written = text.continuation();
  TokenCounts tokens = text.counts();
  tokens.prompt = text.prompt_done();
  return {.text = written.text(),
          .ids = written.ids(),
          .read = {text.read().begin(), text.read().end()},
          .logprobs = written.logprobs(),
          .finish_reason = written.finish_reason(),
          .stop_string = written.stop_string(),
          .tokens = tokens,
          .prompt_seconds = seconds(read - start),
          .decode_seconds = seconds(Clock::now() - read)};
}

}  // namespace kl
