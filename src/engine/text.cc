#include "engine/text.h"

#include <algorithm>

#include "model/sequence_state.h"

namespace kl {
namespace {

constexpr std::int64_t kLeastDistance = 256;   // between checkpoints, the last ones excepted
constexpr std::int64_t kWorthAsking = 16;      // tokens behind the last message end: a raw prompt that may come again
constexpr std::int64_t kCheapToExpand = 2048;  // so many tokens are expanded for a single one without a second thought

GenerateOptions options_of(const Submission& submission, int index) {
  GenerateOptions options = submission.request.options;
  options.sampling.seed += static_cast<std::uint64_t>(index);
  return options;
}

double seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }

/// Positions within (first, end) that halve the distance to `end` again and again, at whole blocks of latents.
void add_ladder(std::int64_t first, std::int64_t end, std::vector<std::int64_t>& positions) {
  for (std::int64_t left = (end - first) / 2; left >= 2 * kLeastDistance; left /= 2)
    positions.push_back((end - left) / kLatentBlock * kLatentBlock);
}

}  // namespace

std::vector<std::int64_t> checkpoint_positions(std::span<const ReadToken> prompt, const MlaFormRule& form,
                                               std::int64_t from) {
  std::vector<std::int64_t> ends;  // of messages
  for (std::int64_t i = 0; i + 1 < std::ssize(prompt); ++i)
    if (form.ends_message(prompt[static_cast<std::size_t>(i)].token())) ends.push_back(i + 1);

  std::vector<std::int64_t> positions;
  std::int64_t last = from;
  for (std::size_t i = 0; i < ends.size(); ++i) {
    if (ends[i] <= from) continue;
    add_ladder(last, ends[i], positions);
    const bool is_recent = i + 2 >= ends.size();
    if (is_recent || ends[i] - last >= kLeastDistance) positions.push_back(last = ends[i]);
  }
  const std::int64_t size = std::ssize(prompt);
  add_ladder(last, size, positions);
  if (size - last >= kWorthAsking) {
    const bool costs = prompt.back().form() == MlaForm::kExpanded && size > kCheapToExpand;
    positions.push_back(costs ? (size - kExpandFrom) / kLatentBlock * kLatentBlock : size - 1);
  }
  std::erase_if(positions, [&](std::int64_t p) { return p <= from || p >= std::ssize(prompt); });
  std::sort(positions.begin(), positions.end());
  positions.erase(std::unique(positions.begin(), positions.end()), positions.end());
  return positions;
}

Text::Text(std::shared_ptr<Submission> its_submission, int its_index, const Tokenizer& tokenizer,
           const MlaFormRule& form, const TextMachine::Setting& setting)
    : submission(std::move(its_submission)),
      index(its_index),
      machine(tokenizer, form, options_of(*submission, its_index), submission->request.prompt, state, setting) {}

std::int64_t Text::piece(std::int64_t most) const {
  const std::int64_t fed = machine.fed();
  const auto stop = std::upper_bound(stops.begin(), stops.end(), fed);
  return machine.stretch(stop == stops.end() ? most : std::min(most, *stop - fed));
}

bool Text::is_scored() const {
  const std::int64_t first = machine.pass_first(), end = first + machine.pass_size();
  return request().prompt_logprobs && end >= request().score_from && first < machine.prompt_tokens() - 1;
}

TokenCounts Text::counts() const {
  TokenCounts counts = machine.counts();
  counts.cached = cached_tokens;
  return counts;
}

void Text::send(EngineEvent event) const {
  event.index = index;
  submission->mailbox->put(std::move(event));
}

void Text::send_progress() {
  EngineEvent event;
  event.kind = EngineEvent::Kind::kPrompt;
  event.tokens = {.prompt = machine.prompt_tokens(), .cached = cached_tokens};
  event.prompt_done = machine.prompt_done();
  event.miss = miss;
  if (event.prompt_done == event.tokens.prompt) event.prompt_logprobs = std::move(scores);
  send(std::move(event));
}

/// An event with what was drawn since the last one.
EngineEvent Text::event_of_new_tokens(EngineEvent::Kind kind, std::string text) {
  EngineEvent event;
  event.kind = kind;
  event.text = std::move(text);
  const auto& ids = machine.continuation().ids();
  const auto& logprobs = machine.continuation().logprobs();
  event.ids.assign(ids.begin() + static_cast<std::ptrdiff_t>(sent_ids_), ids.end());
  if (!logprobs.empty())
    event.logprobs.assign(logprobs.begin() + static_cast<std::ptrdiff_t>(sent_ids_), logprobs.end());
  sent_ids_ = ids.size();
  return event;
}

void Text::send_tokens(std::string text) { send(event_of_new_tokens(EngineEvent::Kind::kTokens, std::move(text))); }

void Text::send_finished(std::string rest) {
  EngineEvent event = event_of_new_tokens(EngineEvent::Kind::kFinished, std::move(rest));
  const Clock::time_point now = Clock::now();
  event.reason = machine.continuation().finish_reason();
  event.stop_string = machine.continuation().stop_string();
  event.tokens = counts();
  event.prompt_done = machine.prompt_done();
  event.miss = miss;
  const bool decoded = event.tokens.generated > 0;
  const Clock::time_point written_since = machine.written_since();
  event.queue_seconds = seconds((started ? began : now) - submission->arrived);
  if (started) event.prompt_seconds = seconds((decoded ? written_since : now) - began);
  if (decoded) event.decode_seconds = seconds(now - written_since);
  EngineEvent other;
  other.kind = event.kind;
  other.tokens.prompt = event.tokens.prompt;
  other.reason = event.reason;
  send(std::move(event));
  for (int i = 1; index == 0 && !branched && i < request().n; ++i) {
    other.index = i;
    submission->mailbox->put(other);
  }
}

}  // namespace kl
