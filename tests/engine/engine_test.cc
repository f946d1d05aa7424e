#include "kl/engine.h"

#include <gtest/gtest.h>

#include <map>
#include <thread>

#include "kl/error.h"
#include "tests/support/temp_dir.h"

namespace kl {
namespace {

using namespace std::chrono_literals;

constexpr const char* kDemo = KL_SOURCE_DIR "/models/demo";

/// Everything that came of a request.
struct Result {
  std::map<int, std::string> text;
  std::map<int, std::vector<Token>> ids;
  std::map<int, EngineEvent> end;
  std::vector<SampledToken> prompt_logprobs;
  std::string failure;

  void take(EngineEvent event) {
    text[event.index] += event.text;
    auto& all = ids[event.index];
    all.insert(all.end(), event.ids.begin(), event.ids.end());
    if (!event.prompt_logprobs.empty()) prompt_logprobs = event.prompt_logprobs;
    if (event.kind == EngineEvent::Kind::kFailed) failure = event.message;
    if (event.kind == EngineEvent::Kind::kFinished) end[event.index] = std::move(event);
  }
};

Result read_all(Generation& generation) {
  Result result;
  while (!generation.over()) result.take(generation.wait());
  return result;
}

class EngineTest : public testing::Test {
 protected:
  static ModelOptions model_options(int chunk = 64) { return {.threads = 2, .isa = {}, .chunk_tokens = chunk}; }
  std::unique_ptr<Engine> engine(EngineOptions options = {}, int chunk = 64) {
    if (options.cache_bytes == 0) options.cache_bytes = 256u << 20;
    return std::make_unique<Engine>(Model::open(kDemo, model_options(chunk)), tokenizer_, options);
  }
  EngineRequest request(const std::string& prompt, std::int64_t max_tokens = 24, std::uint64_t seed = 1) {
    EngineRequest r;
    r.prompt = tokenizer_.encode(prompt, SpecialText::kControl);
    r.options.max_tokens = max_tokens;
    r.options.sampling.seed = seed;
    r.options.ignore_stop_tokens = true;
    return r;
  }
  Result run(Engine& e, EngineRequest r) { return read_all(*e.submit(std::move(r))); }

  /// What generate() makes of it, alone and from nothing.
  std::vector<Token> alone(const EngineRequest& r) {
    Model model = Model::open(kDemo, model_options());
    SequenceState state = model.make_cache();
    return generate(model, tokenizer_, state, r.prompt, r.options).ids;
  }

  Tokenizer tokenizer_ = Tokenizer::open(kDemo);
};

TEST_F(EngineTest, SaysWhatGenerateSays) {
  const auto e = engine();
  for (int i = 0; i < 5; ++i) {
    const EngineRequest r =
        request("ROMEO:\nWhat is number " + std::to_string(i) + "?\n", 30, static_cast<std::uint64_t>(i));
    const Result result = run(*e, r);
    EXPECT_EQ(result.ids.at(0), alone(r));
    EXPECT_EQ(result.text.at(0), tokenizer_.decode(result.ids.at(0), true));
    EXPECT_EQ(result.end.at(0).reason, FinishReason::kLength);
    EXPECT_EQ(result.end.at(0).tokens.generated, 30);
  }
}

TEST_F(EngineTest, CompanyChangesNothing) {
  const auto e = engine({.parallel = 6});
  std::vector<EngineRequest> requests;
  for (int i = 0; i < 20; ++i)
    requests.push_back(
        request(std::string(static_cast<std::size_t>(1 + i * 37 % 200), static_cast<char>('a' + i)) + "\nKING:\n",
                5 + i % 20, static_cast<std::uint64_t>(i)));
  std::vector<std::unique_ptr<Generation>> running;
  for (const EngineRequest& r : requests) running.push_back(e->submit(r));
  for (std::size_t i = 0; i < requests.size(); ++i)
    EXPECT_EQ(read_all(*running[i]).ids.at(0), alone(requests[i])) << "request " << i;
  EXPECT_EQ(e->stats().finished, 20u);
  EXPECT_TRUE(e->drain(1s));
}

TEST_F(EngineTest, AContinuedTextIsNotReadAgainAndSaysTheSame) {
  const auto warm = engine(), cold = engine();
  std::int64_t known = 0;
  std::string chat = "<|im_user|>user<|im_middle|>Who art thou?<|im_end|>";
  for (int turn = 0; turn < 6; ++turn) {
    EngineRequest r = request(chat + "<|im_assistant|>assistant<|im_middle|>", 20, 7);
    EngineRequest anew = r;
    anew.cache_prompt = false;
    const Result a = run(*warm, r), b = run(*cold, anew);
    ASSERT_EQ(a.ids.at(0), b.ids.at(0)) << "turn " << turn;
    EXPECT_EQ(b.end.at(0).tokens.cached, 0);
    EXPECT_EQ(b.end.at(0).miss, CacheMiss::kNotAsked);
    EXPECT_GE(a.end.at(0).tokens.cached, known) << "an answer may be spelt in other tokens, what came before is known";
    known = std::ssize(tokenizer_.encode(chat, SpecialText::kControl));
    const Result again = run(*warm, r);
    EXPECT_EQ(again.ids.at(0), a.ids.at(0)) << "regenerated";
    EXPECT_EQ(again.end.at(0).tokens.cached, known);
    chat += "<|im_assistant|>assistant<|im_middle|>" + a.text.at(0) +
            "<|im_end|><|im_user|>user<|im_middle|>And number " + std::to_string(turn) + "?<|im_end|>";
  }
}

TEST_F(EngineTest, LongMessagesAreExpandedWhoeverReadsThem) {
  std::string prompt;
  for (int i = 0; i < 120; ++i) prompt += "line " + std::to_string(i * i) + " of it; ";
  const auto warm = engine({}, 64), other = engine({}, 300);
  const EngineRequest r = request("<|im_user|>user<|im_middle|>" + prompt + "<|im_end|>", 16);
  ASSERT_GT(r.prompt.size(), 400u);
  const Result first = run(*warm, r);
  EXPECT_EQ(first.ids.at(0), run(*other, r).ids.at(0)) << "other pieces";
  const Result second = run(*warm, r);
  EXPECT_EQ(first.ids.at(0), second.ids.at(0));
  EXPECT_GT(second.end.at(0).tokens.cached, 0) << "there is a ladder inside of the message";
}

TEST_F(EngineTest, ARawPromptThatIsAskedAgainIsKnown) {
  for (const int words : {20, 150, 500}) {
    const auto e = engine();
    std::string prompt;
    for (int i = 0; i < words; ++i) prompt += "w" + std::to_string(i % 7) + " ";
    const EngineRequest r = request(prompt, 4);
    const Result first = run(*e, r), again = run(*e, r);
    EXPECT_EQ(first.ids, again.ids);
    EXPECT_GE(again.end.at(0).tokens.cached, again.end.at(0).tokens.prompt - 320) << words;
    EXPECT_GT(again.end.at(0).tokens.cached, 0) << words;
  }
}

TEST_F(EngineTest, SeveralTextsShareTheirPrompt) {
  const auto e = engine({.parallel = 3});
  EngineRequest r = request("HAMLET:\nTo be, or", 12, 5);
  r.n = 5;
  const Result result = run(*e, r);
  ASSERT_EQ(result.ids.size(), 5u);
  for (int i = 0; i < 5; ++i) {
    EngineRequest one = request("HAMLET:\nTo be, or", 12, 5u + static_cast<std::uint64_t>(i));
    EXPECT_EQ(result.ids.at(i), alone(one)) << "text " << i;
  }
  EXPECT_EQ(e->stats().tokens.prompt, std::ssize(r.prompt)) << "read once";
}

TEST_F(EngineTest, PromptLogprobsAreThoseOfAPlainRun) {
  const auto e = engine();
  EngineRequest r = request("The king is dead, long live the king; and so on and so forth", 0);
  r.options.sampling.logprobs = 2;
  r.prompt_logprobs = true;
  const Result cold = run(*e, r), warm = run(*e, r);
  ASSERT_EQ(cold.prompt_logprobs.size(), r.prompt.size() - 1);
  Model model = Model::open(kDemo, model_options());
  SequenceState state = model.make_cache();
  for (std::size_t i = 0; i + 1 < r.prompt.size(); ++i) {
    const std::vector<float> logits = model.forward(state, {&r.prompt[i], 1});
    const SampledToken expected = Sampler({}).score(
        std::span(logits).first(static_cast<std::size_t>(tokenizer_.vocab_size())), r.prompt[i + 1], 2);
    EXPECT_EQ(cold.prompt_logprobs[i].logprob, expected.logprob) << i;
    EXPECT_EQ(warm.prompt_logprobs[i].logprob, expected.logprob) << i;
    EXPECT_EQ(cold.prompt_logprobs[i].token, r.prompt[i + 1]);
  }
}

TEST_F(EngineTest, ScoresAreComputedFromTheNearestCheckpoint) {
  const auto e = engine();
  const std::string head = "<|im_user|>user<|im_middle|>one two three<|im_end|>", tail = "four five six";
  run(*e, request(head + "x", 1));
  EngineRequest r = request(head + tail, 0), all = r;
  r.prompt_logprobs = all.prompt_logprobs = true;
  r.score_from = std::ssize(tokenizer_.encode(head, SpecialText::kControl)) + 1;
  const Result some = run(*e, r), whole = run(*e, all);
  EXPECT_GT(some.end.at(0).tokens.cached, 0);
  ASSERT_EQ(some.prompt_logprobs.size(), r.prompt.size() - static_cast<std::size_t>(r.score_from));
  for (std::size_t i = 0; i < some.prompt_logprobs.size(); ++i)
    EXPECT_EQ(some.prompt_logprobs[i].logprob,
              whole.prompt_logprobs[i + static_cast<std::size_t>(r.score_from) - 1].logprob);
}

TEST_F(EngineTest, CancelledWithinAStepAndTheSlotIsFree) {
  const auto e = engine({.parallel = 1});
  auto endless = e->submit(request("on and on", 100000));
  endless->wait();
  const auto next = e->submit(request("after it", 3));
  endless->cancel();
  EXPECT_EQ(read_all(*next).ids.at(0).size(), 3u);
  EXPECT_EQ(read_all(*endless).end.at(0).reason, FinishReason::kCancelled);
  endless = e->submit(request("dropped", 100000));
  endless.reset();
  EXPECT_EQ(run(*e, request("after that", 3)).ids.at(0).size(), 3u);
}

TEST_F(EngineTest, EveryTextOfACancelledRequestEnds) {
  const auto e = engine({.parallel = 1});
  const auto running = e->submit(request("on", 100000));
  running->wait();
  EngineRequest three = request("three", 5);
  three.n = 3;
  const auto waiting = e->submit(three);
  waiting->cancel();
  const Result result = read_all(*waiting);
  ASSERT_EQ(result.end.size(), 3u) << "also those that never began";
  for (const auto& [index, end] : result.end) EXPECT_EQ(end.reason, FinishReason::kCancelled) << index;
}

TEST_F(EngineTest, ADeadlineEndsAText) {
  const auto e = engine();
  EngineRequest r = request("slow", 1000000);
  r.deadline = std::chrono::steady_clock::now() + 100ms;
  EXPECT_EQ(run(*e, r).end.at(0).reason, FinishReason::kTimeout);
}

TEST_F(EngineTest, ATextEndsWhereItsContextEnds) {
  const auto e = engine({.ctx_size = 40});
  const EngineRequest r = request("a b c d", 1000);
  const Result result = run(*e, r);
  EXPECT_EQ(result.end.at(0).reason, FinishReason::kLength);
  EXPECT_EQ(result.ids.at(0).size() + r.prompt.size(), 40u);
  EXPECT_THROW(e->submit(request(std::string(300, 'x') + " y z", 4)), Error);
}

TEST_F(EngineTest, ASlowReaderPausesItsOwnTextOnly) {
  const auto e = engine({.parallel = 1, .event_queue = 4});
  const EngineRequest r = request("slow reader", 50);
  auto slow = e->submit(r);
  const EngineRequest other = request("quick", 30);
  EXPECT_EQ(run(*e, other).ids.at(0), alone(other)) << "the slow one gives up its slot";
  EXPECT_GE(e->stats().preemptions, 1u);
  EXPECT_EQ(read_all(*slow).ids.at(0), alone(r)) << "and goes on as if nothing had been";
}

TEST_F(EngineTest, ARefusedRequestSaysWhyAndAFullQueueIsBusy) {
  const auto e = engine({.parallel = 1, .max_queue = 1});
  EngineRequest bad = request("x");
  bad.prompt = {1, 999999};
  EXPECT_THROW(e->submit(bad), Error);
  bad = request("x");
  bad.options.sampling.temperature = -1;
  EXPECT_THROW(e->submit(bad), Error);
  const auto a = e->submit(request("a", 100000));
  a->wait();
  const auto b = e->submit(request("b", 1));
  try {
    e->submit(request("c", 1));
    FAIL() << "the queue is full";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kBusy);
  }
  a->cancel();
  EXPECT_EQ(read_all(*b).ids.at(0).size(), 1u);
}

TEST_F(EngineTest, SlotsAreSavedRestoredAndErased) {
  const TempDir dir;
  const EngineRequest r = request("<|im_user|>user<|im_middle|>Remember this.<|im_end|>and", 10);
  std::vector<Token> ids;
  {
    const auto e = engine({.parallel = 2});
    EngineRequest first = r;
    first.slot = 1;
    ids = run(*e, first).ids.at(0);
    EXPECT_EQ(e->save_slot(1, dir / "s").tokens, std::ssize(r.prompt) + 9);
    EXPECT_THROW(e->save_slot(0, dir / "none"), Error) << "nothing was ever in it";
    EXPECT_THROW(e->save_slot(2, dir / "none"), Error);
    EXPECT_FALSE(std::filesystem::exists(dir / "none"));
  }
  const auto e = engine({.parallel = 2});
  EXPECT_EQ(e->restore_slot(0, dir / "s").tokens, std::ssize(r.prompt) + 9);
  EXPECT_EQ(e->slots().at(0).kept_tokens, std::ssize(r.prompt) + 9);
  EngineRequest on = r;
  on.prompt.insert(on.prompt.end(), ids.begin(), ids.end());
  const Result result = run(*e, on);
  EXPECT_EQ(result.end.at(0).tokens.cached, std::ssize(r.prompt) + 9);
  EXPECT_EQ(result.ids.at(0), alone(on));
  e->restore_slot(1, dir / "s");
  EXPECT_EQ(e->erase_slot(1), std::ssize(r.prompt) + 9);
  EXPECT_THROW(e->restore_slot(0, dir / "absent"), Error);

  const auto busy = e->submit(request("on", 100000));
  busy->wait();
  try {
    for (int i = 0; i < 2; ++i) e->save_slot(i, dir / "t");
    FAIL() << "one of them is busy";
  } catch (const Error& error) {
    EXPECT_TRUE(error.code() == ErrorCode::kBusy || error.code() == ErrorCode::kInvalidArgument);
  }
}

TEST_F(EngineTest, DraftsChangeTheSpeedAndNothingElse) {
  const auto e = engine({.parallel = 3, .speculate = true});
  std::vector<EngineRequest> requests;
  for (int i = 0; i < 6; ++i) {
    EngineRequest r = request("the king the king the king the queen the king the king the king the queen\n", 60, 3);
    r.options.sampling.temperature = i % 2 == 0 ? 0.0f : 0.5f;
    r.n = i == 5 ? 3 : 1;
    requests.push_back(r);
  }
  // Whether a draft pays is measured, and on a busy machine it may seem not to for a while.
  constexpr int kMostRounds = 20;
  for (int round = 0; round < kMostRounds && e->stats().tokens.accepted == 0; ++round) {
    std::vector<std::unique_ptr<Generation>> running;
    for (const EngineRequest& r : requests) running.push_back(e->submit(r));
    for (std::size_t i = 0; i < requests.size(); ++i) {
      const Result result = read_all(*running[i]);
      for (int k = 0; k < requests[i].n; ++k) {
        EngineRequest one = requests[i];
        one.options.sampling.seed += static_cast<std::uint64_t>(k);
        EXPECT_EQ(result.ids.at(k), alone(one)) << i << ", " << k;
      }
    }
  }
  EXPECT_GT(e->stats().tokens.accepted, 0);
}

/// Allows everything, and fails or hangs at the third token.
class Trap : public Grammar {
 public:
  explicit Trap(std::function<void()> spring) : spring_(std::move(spring)) {}
  std::unique_ptr<GrammarState> start() const override { return std::make_unique<State>(spring_); }

 private:
  class State : public GrammarState {
   public:
    explicit State(std::function<void()> spring) : spring_(std::move(spring)) {}
    void allowed(std::span<std::uint64_t> mask) override {
      if (++tokens_ == 3) spring_();
      std::fill(mask.begin(), mask.end(), ~std::uint64_t{0});
    }
    void accept(Token) override {}
    bool finished() const override { return false; }
    std::unique_ptr<GrammarState> clone() const override { return std::make_unique<State>(*this); }

   private:
    std::function<void()> spring_;
    int tokens_ = 0;
  };
  std::function<void()> spring_;
};

TEST_F(EngineTest, AFailingTextHarmsNoOther) {
  const auto e = engine();
  const EngineRequest good = request("good", 40);
  EngineRequest bad = request("bad", 40);
  bad.options.grammar = std::make_shared<Trap>([] { throw std::runtime_error("a broken grammar"); });
  const auto a = e->submit(good), b = e->submit(bad);
  EXPECT_EQ(read_all(*b).failure, "a broken grammar");
  EXPECT_EQ(read_all(*a).ids.at(0), alone(good));
  EXPECT_EQ(e->stats().failed, 1u);
  EXPECT_TRUE(e->stats().healthy);
}

TEST_F(EngineTest, AHungStepIsSeenFromOutside) {
  const auto e = engine();
  std::atomic<bool> go_on = false;
  EngineRequest bad = request("bad", 5);
  bad.options.grammar = std::make_shared<Trap>([&] {
    while (!go_on) std::this_thread::sleep_for(1ms);
  });
  const auto b = e->submit(bad);
  std::this_thread::sleep_for(200ms);
  e->stats();  // looks whether layers were computed since the last look
  std::this_thread::sleep_for(700ms);
  EXPECT_GT(std::chrono::steady_clock::now() - e->stats().last_progress, 500ms);
  go_on = true;
  read_all(*b);
  std::this_thread::sleep_for(1200ms);
  EXPECT_LT(std::chrono::steady_clock::now() - e->stats().last_progress, 1s) << "an idle engine beats";
}

TEST_F(EngineTest, StopsWithWorkLeft) {
  auto e = engine({.parallel = 2});
  std::vector<std::unique_ptr<Generation>> running;
  for (int i = 0; i < 6; ++i) running.push_back(e->submit(request("x", 100000)));
  e.reset();
  for (auto& g : running) read_all(*g);
}

}  // namespace
}  // namespace kl
