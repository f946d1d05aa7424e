#include "engine/engine_loop.h"

#include <algorithm>

#include "kl/error.h"

namespace kl {

EngineLoop::EngineLoop(Model model, const Tokenizer& tokenizer, const EngineOptions& options)
    : model_(std::move(model)),
      tokenizer_(tokenizer),
      options_(options),
      plan_(model_.memory_plan()),
      form_rule_(tokenizer, model_.options().mla_form),
      store_(options.cache_bytes),
      sharing_(options.step_seconds),
      slots_(static_cast<std::size_t>(options.parallel)) {}

std::int64_t EngineLoop::num_running() const {
  return std::count_if(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.text != nullptr; });
}

std::unique_ptr<Text> EngineLoop::make_text(std::shared_ptr<Submission> submission, int index) const {
  const TextMachine::Setting setting{
      .isa = model_.isa(), .max_draft = options_.speculate ? options_.max_draft : 0, .ctx_size = options_.ctx_size};
  return std::make_unique<Text>(std::move(submission), index, tokenizer_, form_rule_, setting);
}

void EngineLoop::enqueue(std::shared_ptr<Submission> submission) {
  ++counters_.requests;
  waiting_.push_back(make_text(std::move(submission), 0));
}

/// Ends what nobody wants any more and what is too late.
void EngineLoop::sweep() {
  const Clock::time_point now = Clock::now();
  const auto is_over = [&](Text& text) {
    const bool late = text.submission->is_late(now);
    if (!text.submission->is_unwanted() && !late) return false;
    if (!text.is_over()) {
      text.send_finished(text.machine.finish(late ? FinishReason::kTimeout : FinishReason::kCancelled));
      ++counters_.cancelled;
    }
    return true;
  };
  for (Slot& slot : slots_)
    if (slot.text && is_over(*slot.text)) end(slot);
  for (auto* queue : {&waiting_, &parked_}) std::erase_if(*queue, [&](const auto& text) { return is_over(*text); });
}

/// Gives free slots to those who wait, in the order of their coming.
void EngineLoop::admit() {
  for (auto it = parked_.begin(); it != parked_.end();) {
    if ((*it)->submission->mailbox->is_full()) {
      ++it;
    } else {
      waiting_.push_back(std::move(*it));
      it = parked_.erase(it);
    }
  }
  if (!waiting_.empty()) park_one_who_waits_for_its_reader();
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    const int wanted = (*it)->request().slot;
    Slot* free = nullptr;
    for (std::size_t i = 0; i < slots_.size() && free == nullptr; ++i)
      if (slots_[i].text == nullptr && (wanted < 0 || wanted == static_cast<int>(i))) free = &slots_[i];
    if (free == nullptr) {
      ++it;
      continue;
    }
    std::unique_ptr<Text> text = std::move(*it);
    waiting_.erase(it);
    start(std::move(text), *free);
    it = waiting_.begin();  // starting may have brought in texts that branch off
  }
}

/// A text that cannot go on, since its reader is slow, makes room.  It starts again from its checkpoint later.
void EngineLoop::park_one_who_waits_for_its_reader() {
  if (num_running() < std::ssize(slots_)) return;
  const auto slot = std::find_if(slots_.begin(), slots_.end(), [](const Slot& s) {
    return !s.text->machine.is_reading() && s.text->submission->mailbox->is_full() && s.text->request().slot < 0;
  });
  if (slot == slots_.end()) return;
  Text& text = *slot->text;
  model_.settle(text.state);
  const std::span<const ReadToken> read = text.machine.read();
  store_.keep(read, std::move(text.state));
  text.state = {};
  parked_.push_back(std::move(slot->text));
  ++counters_.preemptions;
}

/// Gives the text a slot and the longest beginning of it that is remembered.
void EngineLoop::start(std::unique_ptr<Text> text, Slot& slot) {
  slot.text = std::move(text);
  Text& t = *slot.text;
  const EngineRequest& request = t.request();
  const bool resumes = t.started;
  if (!resumes) t.began = Clock::now();
  t.started = true;
  if (t.begin) {  // branches off where its sibling had read the prompt
    t.state = t.begin->state;
    t.cached_tokens = t.machine.prompt_tokens();
    const std::shared_ptr<PromptEnd> begin = std::move(t.begin);
    draw(t, begin->logits);
    end_pass(slot);
    return;
  }
  StateStore::Found found;
  if (request.cache_prompt || resumes) {
    std::int64_t most = t.machine.length() - 1;
    const bool scores = request.prompt_logprobs && !resumes;
    if (scores) most = std::min(most, request.score_from - 1);
    found = store_.find(t.machine.tokens(), most);
    if (scores && found.miss == CacheMiss::kNone && most < t.machine.length() - 1) found.miss = CacheMiss::kScored;
  } else {
    found.miss = CacheMiss::kNotAsked;
  }
  t.state = found.state.has_value() ? std::move(found.state) : model_.make_cache();
  if (resumes) return;
  t.cached_tokens = found.tokens;
  t.miss = found.miss;
  counters_.tokens.prompt += found.tokens;
  counters_.tokens.cached += found.tokens;
  if (request.cache_prompt) t.stops = checkpoint_positions(t.machine.tokens(), form_rule_, t.machine.fed());
  t.send_progress();
}

/// Frees the slot; what the text has become stays in the store.
void EngineLoop::end(Slot& slot) {
  Text& text = *slot.text;
  const TokenCounts counts = text.counts();
  counters_.tokens.drafted += counts.drafted;
  counters_.tokens.accepted += counts.accepted;
  slot.last_request = text.submission->id;
  slot.last.clear();
  if (!text.submission->failed && text.request().cache_prompt && text.state.has_value() && text.machine.fed() > 0) {
    model_.settle(text.state);
    slot.last.assign(text.machine.read().begin(), text.machine.read().end());
    store_.keep(slot.last, std::move(text.state));
  }
  slot.text.reset();
}

void EngineLoop::end_all(const std::optional<Error>& error) {
  const auto finish = [&](Text& text) {
    if (error) {
      fail(text, *error);
    } else if (!text.is_over()) {
      text.send_finished(text.machine.finish(FinishReason::kCancelled));
    }
  };
  for (Slot& slot : slots_) {
    if (!slot.text) continue;
    finish(*slot.text);
    slot.text.reset();
  }
  for (auto* queue : {&waiting_, &parked_}) {
    for (const auto& text : *queue) finish(*text);
    queue->clear();
  }
}

EngineStats EngineLoop::stats() const {
  EngineStats s = counters_;
  s.running = num_running();
  s.waiting = num_waiting();
  s.cache_bytes = store_.bytes();
  s.cache_budget = store_.budget();
  s.checkpoints = store_.size();
  s.checkpoints_evicted = store_.num_evicted();
  for (const Slot& slot : slots_)
    if (slot.text)
      s.state_bytes += plan_.state_fixed + plan_.state_per_token * static_cast<std::size_t>(slot.text->machine.fed());
  return s;
}

std::vector<SlotInfo> EngineLoop::slots() const {
  std::vector<SlotInfo> infos;
  for (const Slot& slot : slots_) {
    SlotInfo info{.id = static_cast<int>(infos.size()),
                  .busy = slot.text != nullptr,
                  .request = slot.last_request,
                  .ctx_size = options_.ctx_size,
                  .kept_tokens = std::ssize(slot.last)};
    if (slot.text) {
      const TextMachine& machine = slot.text->machine;
      info.request = slot.text->submission->id;
      info.prompt_tokens = machine.prompt_tokens();
      info.prompt_done = machine.prompt_done();
      info.generated_tokens = machine.length() - machine.prompt_tokens();
    }
    infos.push_back(info);
  }
  return infos;
}

/// The whole request is over; its other texts are swept away in the next step.
void EngineLoop::fail(Text& text, const Error& error) {
  if (text.submission->failed) return;
  text.submission->failed = true;
  ++counters_.failed;
  EngineEvent event;
  event.kind = EngineEvent::Kind::kFailed;
  event.error = error.code();
  event.message = error.what();
  text.send(std::move(event));
}

}  // namespace kl
