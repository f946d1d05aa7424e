// One step of the engine: whose tokens are fed, and what comes of the logits.
#include <algorithm>

#include "engine/engine_loop.h"
#include "kl/error.h"

namespace kl {

/// Passes logits on to the texts they belong to.
class EngineLoop::PassObserver : public ForwardObserver {
 public:
  PassObserver(EngineLoop& loop, std::span<Slot* const> slots) : loop_(loop), slots_(slots) {}
  void on_logits(int sequence, std::int64_t index, std::span<const float> logits) override {
    loop_.on_logits(*slots_[static_cast<std::size_t>(sequence)]->text, index, logits);
  }
  bool on_progress(std::int64_t, std::int64_t) override {
    loop_.beat_.store(Clock::now(), std::memory_order_relaxed);
    return true;
  }

 private:
  EngineLoop& loop_;
  std::span<Slot* const> slots_;
};

bool EngineLoop::step() {
  beat_.store(Clock::now(), std::memory_order_relaxed);
  sweep();
  admit();
  const std::vector<Slot*> chosen = choose();
  if (chosen.empty()) return false;
  run(chosen);
  return true;
}

/// Divides the step among the texts: a token for everyone who writes, then pieces of prompts, whose turn it is first.
std::vector<EngineLoop::Slot*> EngineLoop::choose() {
  std::vector<Slot*> chosen, readers;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[(turn_ + i) % slots_.size()];
    if (!slot.text) continue;
    if (slot.text->machine.is_reading()) {
      readers.push_back(&slot);
    } else if (!slot.text->submission->mailbox->is_full()) {
      chosen.push_back(&slot);
    }
  }
  for (Slot* slot : chosen) slot->text->machine.write_on(pass_cost_, static_cast<int>(chosen.size()));
  if (!readers.empty() && (chosen.empty() || sharing_.may_read())) choose_readers(readers, chosen);
  return chosen;
}

/// Adds pieces of the prompts of `readers`, in this order, as many tokens as the step has time for.
void EngineLoop::choose_readers(std::span<Slot* const> readers, std::vector<Slot*>& chosen) {
  const std::size_t writing = chosen.size();
  const std::int64_t most = plan_.chunk_tokens;
  std::int64_t budget = writing > 0 ? sharing_.piece_tokens(most) : sharing_.piece_tokens_alone(most);
  turn_ = static_cast<std::size_t>(readers.front() - slots_.data()) + 1;
  for (Slot* slot : readers) {
    Text& text = *slot->text;
    const bool expands = text.machine.next_form() == MlaForm::kExpanded;
    const std::int64_t piece = text.piece(expands ? std::max<std::int64_t>(budget, kExpandFrom) : budget);
    if (piece > budget && chosen.size() > writing) break;  // does not fit behind others; its turn comes
    text.machine.read_on(piece);
    chosen.push_back(slot);
    budget -= piece;
    if (budget <= 0) break;
  }
}

void EngineLoop::run(std::span<Slot* const> chosen) {
  const Clock::time_point start = Clock::now();
  std::int64_t read = 0, written = 0;
  for (const Slot* slot : chosen)
    (slot->text->machine.is_reading() ? read : written) += slot->text->machine.pass_size();
  forward(chosen);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  sharing_.record(seconds, read, written);
  if (read == 0) pass_cost_.observe(static_cast<int>(written), seconds);
  ++counters_.steps;
  counters_.tokens.prompt += read;
  (read > 0 ? counters_.prompt_seconds : counters_.decode_seconds) += seconds;
  for (Slot* slot : chosen) end_pass(*slot);
}

/// One pass for all chosen texts; if that cannot be done together, one by one, so that only the one that is too much
/// fails.
void EngineLoop::forward(std::span<Slot* const> chosen) {
  std::vector<SequenceInput> inputs;
  for (const Slot* slot : chosen) inputs.push_back(slot->text->machine.input(slot->text->is_scored()));
  PassObserver observer(*this, chosen);
  try {
    model_.forward(inputs, observer);
  } catch (const Error& error) {
    if (chosen.size() == 1) {
      fail(*chosen.front()->text, error);
    } else {
      for (std::size_t i = 0; i < chosen.size(); ++i) forward(chosen.subspan(i, 1));
    }
  }
}

void EngineLoop::on_logits(Text& text, std::int64_t index, std::span<const float> logits) {
  const TextMachine& machine = text.machine;
  const EngineRequest& request = text.request();
  const std::int64_t next = machine.pass_first() + index + 1;  // the position these logits predict
  try {
    if (request.prompt_logprobs && next >= request.score_from && next < machine.prompt_tokens()) {
      const Token token = machine.tokens()[static_cast<std::size_t>(next)].token();
      text.scores.push_back(machine.continuation().score(logits, token));
    }
    if (!machine.draws_from(index)) return;
    if (text.index == 0 && request.n > 1 && !text.branched) branch(text, logits);
  } catch (const Error& error) {
    fail(text, error);
    return;
  }
  draw(text, logits);
}

/// The prompt is read: the request's other texts begin here.
void EngineLoop::branch(Text& text, std::span<const float> logits) {
  const auto begin = std::make_shared<PromptEnd>();
  text.branched = true;
  begin->state = text.state;
  begin->logits.assign(logits.begin(), logits.end());
  for (int i = text.request().n - 1; i > 0; --i) {
    waiting_.push_front(make_text(text.submission, i));
    waiting_.front()->begin = begin;
  }
}

/// Draws the next token of a text from its logits.
void EngineLoop::draw(Text& text, std::span<const float> logits) {
  if (text.submission->failed) return;
  try {
    std::string certain = text.machine.draw(logits);
    const std::size_t drawn = text.machine.continuation().ids().size();
    if (drawn > 0) ++counters_.tokens.generated;
    if (drawn <= 1) text.send_progress();
    if (text.machine.finished()) {
      text.send_finished(std::move(certain));
      ++counters_.finished;
    } else {
      text.send_tokens(std::move(certain));
    }
  } catch (const Error& error) {
    fail(text, error);
  } catch (const std::exception& error) {  // a grammar's, of whatever kind: it concerns this text alone
    fail(text, Error(ErrorCode::kFailure, error.what()));
  }
}

/// Keeps what the pass fed rightly, and a checkpoint where one is wanted; ends the text if it is over.
void EngineLoop::end_pass(Slot& slot) {
  Text& text = *slot.text;
  const std::int64_t drawn = text.submission->failed ? 0 : text.machine.end_pass();
  if (text.is_over()) {
    end(slot);
    return;
  }
  if (drawn == 0 && !text.submission->mailbox->is_full()) text.send_progress();
  if (std::binary_search(text.stops.begin(), text.stops.end(), text.machine.fed())) {
    const std::span<const ReadToken> read = text.machine.read();
    if (!store_.has(read)) store_.keep(read, text.state);
  }
}

}  // namespace kl
