#include "engine/engine_loop.h"

#include <algorithm>

#include "kl/error.h"

namespace kl {
namespace {

// The least part of an expanded stretch that one step reads: below it expansion costs more than it saves (docs/mla.md).
constexpr std::int64_t kLeastExpanded = 192;

}  // namespace

/// A text's share of a step.
struct EngineLoop::Item {
  Slot* slot;
  std::vector<Token> tokens;
  std::int64_t first;   // position of the first of them
  bool scores = false;  // logits of all positions are wanted
  bool draws = false;   // the last position's logits give the next token

  Text& text() const { return *slot->text; }
};

/// Passes logits on to the texts they belong to.
class EngineLoop::Drawing : public ForwardObserver {
 public:
  Drawing(EngineLoop& loop, std::span<Item> items) : loop_(loop), items_(items) {}
  void on_logits(int sequence, std::int64_t index, std::span<const float> logits) override {
    loop_.on_logits(items_[static_cast<std::size_t>(sequence)], index, logits);
  }
  bool on_progress(std::int64_t, std::int64_t) override {
    loop_.beat_.store(Clock::now(), std::memory_order_relaxed);
    return true;
  }

 private:
  EngineLoop& loop_;
  std::span<Item> items_;
};

EngineLoop::EngineLoop(Model model, const Tokenizer& tokenizer, const EngineOptions& options)
    : model_(std::move(model)),
      tokenizer_(tokenizer),
      options_(options),
      plan_(model_.memory_plan()),
      reading_(tokenizer, model_.options().mla_form),
      store_(options.cache_bytes),
      sharing_(options.step_seconds),
      slots_(static_cast<std::size_t>(options.parallel)) {}

std::int64_t EngineLoop::num_running() const {
  return std::count_if(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.text != nullptr; });
}

void EngineLoop::enqueue(std::shared_ptr<Job> job) {
  ++counters_.requests;
  std::vector<ReadToken> prompt = reading_.prompt(job->request.prompt);
  waiting_.push_back(std::make_unique<Text>(std::move(job), 0, tokenizer_, std::move(prompt)));
}

bool EngineLoop::step() {
  beat_.store(Clock::now(), std::memory_order_relaxed);
  sweep();
  admit();
  std::vector<Item> items = choose_items();
  if (items.empty()) return false;
  run(items);
  return true;
}

/// Ends what nobody wants any more and what is too late.
void EngineLoop::sweep() {
  const Clock::time_point now = Clock::now();
  const auto is_over = [&](Text& text) {
    if (!text.job->is_unwanted() && !text.job->is_late(now)) return false;
    if (!text.is_finished() && !text.job->failed) {
      const bool late = text.job->is_late(now);
      text.tell_finished(text.continuation.finish(late ? FinishReason::kTimeout : FinishReason::kCancelled));
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
    if ((*it)->job->mailbox->is_full()) {
      ++it;
    } else {
      waiting_.push_back(std::move(*it));
      it = parked_.erase(it);
    }
  }
  if (!waiting_.empty()) park_one_who_waits_for_its_reader();
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    const int wanted = (*it)->job->request.slot;
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
    return !s.text->is_reading() && s.text->job->mailbox->is_full() && s.text->job->request.slot < 0;
  });
  if (slot == slots_.end()) return;
  Text& text = *slot->text;
  store_.keep(std::span(text.tokens).first(static_cast<std::size_t>(text.fed())), std::move(text.state));
  text.state = {};
  parked_.push_back(std::move(slot->text));
  ++counters_.preemptions;
}

/// Gives the text a slot and the longest beginning of it that is remembered.
void EngineLoop::start(std::unique_ptr<Text> text, Slot& slot) {
  slot.text = std::move(text);
  Text& t = *slot.text;
  const EngineRequest& request = t.job->request;
  const bool resumes = t.started;
  if (!resumes) t.began = Clock::now();
  t.started = true;
  if (t.begin) {  // branches off where its sibling had read the prompt
    t.state = t.begin->state;
    t.cached_tokens = t.prompt_tokens;
    t.decoding_since = Clock::now();
    const std::shared_ptr<PromptEnd> begin = std::move(t.begin);
    draw(t, begin->logits);
    if (t.job->failed || t.is_finished()) end(slot);
    return;
  }
  StateStore::Found found;
  if (request.cache_prompt || resumes) {
    std::int64_t most = t.length() - 1;
    const bool scores = request.prompt_logprobs && !resumes;
    if (scores) most = std::min(most, request.score_from - 1);
    found = store_.find(t.tokens, most);
    if (scores && found.miss == CacheMiss::kNone && most < t.length() - 1) found.miss = CacheMiss::kScored;
  } else {
    found.miss = CacheMiss::kNotAsked;
  }
  t.state = found.state.has_value() ? std::move(found.state) : model_.make_cache();
  if (resumes) return;
  t.cached_tokens = found.tokens;
  t.miss = found.miss;
  counters_.cached_tokens += static_cast<std::uint64_t>(found.tokens);
  if (request.cache_prompt) t.stops = checkpoint_positions(t.tokens, reading_, t.fed());
  t.tell_progress();
}

/// Divides the step among the texts: a token for everyone who decodes, then pieces of prompts, whose turn it is first.
std::vector<EngineLoop::Item> EngineLoop::choose_items() {
  std::vector<Item> items;
  std::vector<Slot*> readers;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[(turn_ + i) % slots_.size()];
    if (!slot.text) continue;
    if (slot.text->is_reading()) {
      readers.push_back(&slot);
    } else if (!slot.text->job->mailbox->is_full()) {
      items.push_back(
          {.slot = &slot, .tokens = {slot.text->tokens.back().token()}, .first = slot.text->fed(), .draws = true});
    }
  }
  if (readers.empty()) return items;
  const bool others_decode = !items.empty();
  if (others_decode && !sharing_.may_read()) return items;
  std::int64_t budget = others_decode ? sharing_.piece_tokens(plan_.chunk_tokens) : plan_.chunk_tokens;
  turn_ = static_cast<std::size_t>(readers.front() - slots_.data()) + 1;
  const std::size_t decoding = items.size();
  for (Slot* slot : readers) {
    Text& text = *slot->text;
    const bool expanded = text.tokens[static_cast<std::size_t>(text.fed())].expanded();
    const std::int64_t piece = text.piece(expanded ? std::max(budget, kLeastExpanded) : budget);
    if (piece > budget && items.size() > decoding) break;  // does not fit behind others; its turn comes
    Item item{.slot = slot, .tokens = {}, .first = text.fed()};
    for (std::int64_t i = 0; i < piece; ++i)
      item.tokens.push_back(text.tokens[static_cast<std::size_t>(item.first + i)].token());
    item.draws = item.first + piece == text.length();
    item.scores = text.job->request.prompt_logprobs && item.first + piece >= text.job->request.score_from &&
                  item.first < text.prompt_tokens - 1;
    budget -= piece;
    items.push_back(std::move(item));
    if (budget <= 0) break;
  }
  return items;
}

void EngineLoop::run(std::span<Item> items) {
  const Clock::time_point start = Clock::now();
  std::int64_t read = 0, decoded = 0;
  for (const Item& item : items) (item.text().is_reading() ? read : decoded) += std::ssize(item.tokens);
  forward(items);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  sharing_.record(seconds, read, decoded);
  ++counters_.steps;
  counters_.prompt_tokens += static_cast<std::uint64_t>(read);
  (read > 0 ? counters_.prompt_seconds : counters_.decode_seconds) += seconds;
  for (Item& item : items) after(item);
}

/// Feeds the items; if that cannot be done together, one by one, so that only the one that is too much fails.
void EngineLoop::forward(std::span<Item> items) {
  std::vector<SequenceInput> inputs;
  for (Item& item : items) {
    const WantLogits want = item.scores ? WantLogits::kAll : item.draws ? WantLogits::kLast : WantLogits::kNone;
    inputs.push_back(
        {&item.text().state, item.tokens, want, item.text().tokens[static_cast<std::size_t>(item.first)].form()});
  }
  Drawing drawing(*this, items);
  try {
    model_.forward(inputs, drawing);
  } catch (const Error& error) {
    if (items.size() == 1) {
      fail(items.front().text(), error);
    } else {
      for (std::size_t i = 0; i < items.size(); ++i) forward(items.subspan(i, 1));
    }
  }
}

void EngineLoop::on_logits(Item& item, std::int64_t index, std::span<const float> logits) {
  Text& text = item.text();
  const std::int64_t next = item.first + index + 1;  // the position these logits predict
  const EngineRequest& request = text.job->request;
  try {
    if (item.scores && next >= request.score_from && next < text.prompt_tokens) {
      const auto known = logits.first(std::min(logits.size(), static_cast<std::size_t>(tokenizer_.vocab_size())));
      text.scores.push_back(score(known, text.tokens[static_cast<std::size_t>(next)].token(),
                                  request.options.sampling.logprobs.value_or(0)));
    }
    if (!item.draws || index + 1 != std::ssize(item.tokens)) return;
    if (text.continuation.ids().empty()) {
      text.decoding_since = Clock::now();
      if (text.index == 0 && request.n > 1) branch(text, logits);
    }
  } catch (const Error& error) {
    fail(text, error);
    return;
  }
  draw(text, logits);
}

/// The prompt is read: the request's other texts begin here.
void EngineLoop::branch(Text& text, std::span<const float> logits) {
  const auto begin = std::make_shared<PromptEnd>();
  begin->state = text.state;
  begin->logits.assign(logits.begin(), logits.end());
  const std::vector<ReadToken> prompt(text.tokens.begin(), text.tokens.begin() + text.prompt_tokens);
  for (int i = text.job->request.n - 1; i > 0; --i) {
    waiting_.push_front(std::make_unique<Text>(text.job, i, tokenizer_, prompt));
    waiting_.front()->begin = begin;
  }
}

/// Draws the next token of a text from its logits.
void EngineLoop::draw(Text& text, std::span<const float> logits) {
  if (text.job->failed) return;
  try {
    std::string certain;
    if (text.job->request.options.max_tokens == 0) {
      certain = text.continuation.finish(FinishReason::kLength);
    } else {
      certain = text.continuation.accept(logits);
      text.tokens.push_back(reading_.drawn(text.continuation.ids().back()));
      ++counters_.generated_tokens;
      if (!text.is_finished() && text.length() >= options_.ctx_size)
        certain += text.continuation.finish(FinishReason::kLength);
    }
    if (text.length() == text.prompt_tokens + 1 || text.job->request.options.max_tokens == 0) text.tell_progress();
    if (text.is_finished()) {
      text.tell_finished(std::move(certain));
      ++counters_.finished;
    } else {
      text.tell_tokens(std::move(certain));
    }
  } catch (const Error& error) {
    fail(text, error);
  } catch (const std::exception& error) {  // a grammar's, of whatever kind: it concerns this text alone
    fail(text, Error(ErrorCode::kFailure, error.what()));
  }
}

/// Keeps a checkpoint where one is wanted, and ends the text if it is over.
void EngineLoop::after(Item& item) {
  Slot& slot = *item.slot;
  Text& text = *slot.text;
  if (text.job->failed || text.is_finished()) {
    end(slot);
    return;
  }
  if (!item.draws && !text.job->mailbox->is_full()) text.tell_progress();
  if (std::binary_search(text.stops.begin(), text.stops.end(), text.fed())) {
    const auto read = std::span(text.tokens).first(static_cast<std::size_t>(text.fed()));
    if (!store_.has(read)) store_.keep(read, text.state);
  }
}

/// Frees the slot; what the text has become stays in the store.
void EngineLoop::end(Slot& slot) {
  Text& text = *slot.text;
  slot.last_request = text.job->id;
  slot.last.clear();
  if (!text.job->failed && text.job->request.cache_prompt && text.state.has_value() && text.fed() > 0) {
    slot.last.assign(text.tokens.begin(), text.tokens.begin() + text.fed());
    store_.keep(slot.last, std::move(text.state));
  }
  slot.text.reset();
}

void EngineLoop::end_all(const std::optional<Error>& error) {
  const auto finish = [&](Text& text) {
    if (error) {
      fail(text, *error);
    } else if (!text.job->failed && !text.is_finished()) {
      text.tell_finished(text.continuation.finish(FinishReason::kCancelled));
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
  s.checkpoints_kept = store_.num_kept();
  s.checkpoints_evicted = store_.num_evicted();
  for (const Slot& slot : slots_)
    if (slot.text)
      s.state_bytes += plan_.state_fixed + plan_.state_per_token * static_cast<std::size_t>(slot.text->fed());
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
      info.request = slot.text->job->id;
      info.prompt_tokens = slot.text->prompt_tokens;
      info.prompt_done = std::min(slot.text->fed(), slot.text->prompt_tokens);
      info.generated_tokens = slot.text->length() - slot.text->prompt_tokens;
    }
    infos.push_back(info);
  }
  return infos;
}

/// The whole request is over; its other texts are swept away in the next step.
void EngineLoop::fail(Text& text, const Error& error) {
  if (text.job->failed) return;
  text.job->failed = true;
  ++counters_.failed;
  EngineEvent event;
  event.kind = EngineEvent::Kind::kFailed;
  event.error = error.code();
  event.message = error.what();
  text.tell(std::move(event));
}

}  // namespace kl
