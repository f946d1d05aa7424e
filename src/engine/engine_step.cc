// One step of the engine: whose tokens are fed, and what comes of the logits.
#include <algorithm>

#include "engine/engine_loop.h"
#include "kl/error.h"

namespace kl {

/// A text's share of a step.
struct EngineLoop::Item {
  Slot* slot;
  std::vector<Token> tokens;
  std::int64_t first;        // position of the first of them
  bool scores = false;       // logits of all positions are wanted
  bool draws = false;        // the last position's logits give the next token,
  std::int64_t draft = 0;    // and those of so many positions before it, as long as what is drawn is what was fed
  bool went_astray = false;  // it was not
  std::vector<Token> drawn;

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

bool EngineLoop::step() {
  beat_.store(Clock::now(), std::memory_order_relaxed);
  sweep();
  admit();
  std::vector<Item> items = choose_items();
  if (items.empty()) return false;
  run(items);
  return true;
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
      const Token last = slot.text->tokens.back().token();
      items.push_back({.slot = &slot, .tokens = {last}, .first = slot.text->fed(), .draws = true});
    }
  }
  for (Item& item : items) add_draft(item, static_cast<int>(items.size()));
  if (!readers.empty() && (items.empty() || sharing_.may_read())) add_pieces(readers, items);
  return items;
}

/// What may follow the token, if to try pays in a pass of `rows` texts.
void EngineLoop::add_draft(Item& item, int rows) {
  Text& text = item.text();
  if (!text.speculation) return;
  const std::int64_t wanted = text.job->request.options.max_tokens - std::ssize(text.continuation.ids());
  const std::int64_t room = std::min(wanted, options_.ctx_size - text.length()) - 1;
  const std::span<const Token> draft = text.speculation->propose(pass_cost_, std::max<std::int64_t>(room, 0), rows);
  item.tokens.insert(item.tokens.end(), draft.begin(), draft.end());
  item.draft = std::ssize(draft);
}

/// Pieces of the prompts of `readers`, in this order, as many tokens as the step has time for.
void EngineLoop::add_pieces(std::span<Slot* const> readers, std::vector<Item>& items) {
  const std::size_t decoding = items.size();
  const std::int64_t most = plan_.chunk_tokens;
  std::int64_t budget = decoding > 0 ? sharing_.piece_tokens(most) : sharing_.piece_tokens_alone(most);
  turn_ = static_cast<std::size_t>(readers.front() - slots_.data()) + 1;
  for (Slot* slot : readers) {
    Text& text = *slot->text;
    const bool expanded = text.tokens[static_cast<std::size_t>(text.fed())].expanded();
    const std::int64_t piece = text.piece(expanded ? std::max<std::int64_t>(budget, kExpandFrom) : budget);
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
}

void EngineLoop::run(std::span<Item> items) {
  const Clock::time_point start = Clock::now();
  std::int64_t read = 0, decoded = 0;
  for (const Item& item : items) (item.text().is_reading() ? read : decoded) += std::ssize(item.tokens);
  forward(items);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  sharing_.record(seconds, read, decoded);
  if (read == 0) pass_cost_.observe(static_cast<int>(decoded), seconds);
  ++counters_.steps;
  counters_.prompt_tokens += static_cast<std::uint64_t>(read);
  (read > 0 ? counters_.prompt_seconds : counters_.decode_seconds) += seconds;
  for (Item& item : items) after(item);
}

/// Feeds the items; if that cannot be done together, one by one, so that only the one that is too much fails.
void EngineLoop::forward(std::span<Item> items) {
  std::vector<SequenceInput> inputs;
  for (Item& item : items) {
    const bool all = item.scores || item.draft > 0;
    inputs.push_back({.state = &item.text().state,
                      .tokens = item.tokens,
                      .want = all          ? WantLogits::kAll
                              : item.draws ? WantLogits::kLast
                                           : WantLogits::kNone,
                      .form = item.text().tokens[static_cast<std::size_t>(item.first)].form(),
                      .tentative = item.draft});
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
    if (!item.draws || item.went_astray || index + 1 + item.draft < std::ssize(item.tokens)) return;
    if (text.continuation.ids().empty()) {
      text.decoding_since = Clock::now();
      if (text.index == 0 && request.n > 1) branch(text, logits);
    }
  } catch (const Error& error) {
    fail(text, error);
    return;
  }
  draw(text, logits);
  if (text.job->failed || text.continuation.ids().empty()) return;
  item.drawn.push_back(text.continuation.ids().back());
  const auto fed_next = static_cast<std::size_t>(index) + 1;
  item.went_astray =
      text.is_finished() || (fed_next < item.tokens.size() && item.tokens[fed_next] != item.drawn.back());
}

/// The prompt is read: the request's other texts begin here.
void EngineLoop::branch(Text& text, std::span<const float> logits) {
  const auto begin = std::make_shared<PromptEnd>();
  text.branched = true;
  begin->state = text.state;
  begin->logits.assign(logits.begin(), logits.end());
  const std::vector<ReadToken> prompt(text.tokens.begin(), text.tokens.begin() + text.prompt_tokens);
  for (int i = text.job->request.n - 1; i > 0; --i) {
    waiting_.push_front(std::make_unique<Text>(text.job, i, tokenizer_, prompt, max_draft()));
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
  if (!text.job->failed && !item.drawn.empty()) {
    text.state.keep(std::min(item.draft, std::ssize(item.drawn) - 1));
    if (text.speculation) text.speculation->judge(item.drawn);
  }
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

}  // namespace kl
