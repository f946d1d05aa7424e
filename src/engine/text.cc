#include "engine/text.h"

#include <algorithm>

#include "model/sequence_state.h"

namespace kl {
namespace {

constexpr std::int64_t kLeastDistance = 256;   // between checkpoints, the last ones excepted
constexpr std::int64_t kWorthAsking = 16;      // tokens behind the last message end: a raw prompt that may come again
constexpr std::int64_t kCheapToExpand = 2048;  // so many tokens are expanded for a single one without a second thought

GenerateOptions options_of(const Job& job, int index) {
  GenerateOptions options = job.request.options;
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

std::vector<std::int64_t> checkpoint_positions(std::span<const ReadToken> prompt, const Reading& reading,
                                               std::int64_t from) {
  std::vector<std::int64_t> ends;  // of messages
  for (std::int64_t i = 0; i + 1 < std::ssize(prompt); ++i)
    if (reading.ends_message(prompt[static_cast<std::size_t>(i)].token())) ends.push_back(i + 1);

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
    const bool costs = prompt.back().expanded() && size > kCheapToExpand;
    positions.push_back(costs ? (size - kExpandFrom) / kLatentBlock * kLatentBlock : size - 1);
  }
  std::erase_if(positions, [&](std::int64_t p) { return p <= from || p >= std::ssize(prompt); });
  std::sort(positions.begin(), positions.end());
  positions.erase(std::unique(positions.begin(), positions.end()), positions.end());
  return positions;
}

Text::Text(std::shared_ptr<Job> its_job, int its_index, const Tokenizer& tokenizer, std::vector<ReadToken> prompt,
           int max_draft)
    : job(std::move(its_job)),
      index(its_index),
      tokens(std::move(prompt)),
      prompt_tokens(std::ssize(tokens)),
      continuation(tokenizer, options_of(*job, its_index), job->request.prompt) {
  if (max_draft > 0) speculation.emplace(max_draft).append(job->request.prompt);
}

std::int64_t Text::piece(std::int64_t most) const {
  std::int64_t end = std::min(fed() + most, same_form_until(tokens, fed()));
  const auto stop = std::upper_bound(stops.begin(), stops.end(), fed());
  if (stop != stops.end()) end = std::min(end, *stop);
  return end - fed();
}

void Text::tell(EngineEvent event) const {
  event.index = index;
  job->mailbox->put(std::move(event));
}

void Text::tell_progress() {
  EngineEvent event;
  event.kind = EngineEvent::Kind::kPrompt;
  event.prompt_tokens = prompt_tokens;
  event.prompt_done = std::min(fed(), prompt_tokens);
  event.cached_tokens = cached_tokens;
  event.miss = miss;
  if (event.prompt_done == prompt_tokens) event.prompt_logprobs = std::move(scores);
  tell(std::move(event));
}

/// What was drawn since the last event.
EngineEvent Text::news(EngineEvent::Kind kind, std::string text) {
  EngineEvent event;
  event.kind = kind;
  event.text = std::move(text);
  const auto& ids = continuation.ids();
  const auto& logprobs = continuation.logprobs();
  event.ids.assign(ids.begin() + static_cast<std::ptrdiff_t>(told_ids_), ids.end());
  if (!logprobs.empty())
    event.logprobs.assign(logprobs.begin() + static_cast<std::ptrdiff_t>(told_ids_), logprobs.end());
  told_ids_ = ids.size();
  return event;
}

void Text::tell_tokens(std::string text) { tell(news(EngineEvent::Kind::kTokens, std::move(text))); }

void Text::tell_finished(std::string rest) {
  EngineEvent event = news(EngineEvent::Kind::kFinished, std::move(rest));
  const Clock::time_point now = Clock::now();
  event.reason = continuation.finish_reason();
  event.stop_string = continuation.stop_string();
  event.prompt_tokens = prompt_tokens;
  event.prompt_done = std::min(fed(), prompt_tokens);
  event.cached_tokens = cached_tokens;
  event.miss = miss;
  event.completion_tokens = std::ssize(continuation.ids());
  if (speculation) {
    event.drafted_tokens = speculation->drafted_tokens();
    event.accepted_tokens = speculation->accepted_tokens();
  }
  const bool decoded = !continuation.ids().empty();
  event.queue_seconds = seconds((started ? began : now) - job->arrived);
  if (started) event.prompt_seconds = seconds((decoded ? decoding_since : now) - began);
  if (decoded) event.decode_seconds = seconds(now - decoding_since);
  const EngineEvent others{.kind = event.kind, .prompt_tokens = prompt_tokens, .reason = event.reason};
  tell(std::move(event));
  for (int i = 1; index == 0 && !branched && i < job->request.n; ++i) {
    EngineEvent other = others;
    other.index = i;
    job->mailbox->put(std::move(other));
  }
}

}  // namespace kl
