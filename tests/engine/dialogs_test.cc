// Multi-turn dialogs say the same, token for token and with the same bits of probability, however they are served:
// cold, from the cache, under a cache that is always too small, in pieces of other sizes, in company, with readers so
// slow that texts lose their slots.
//
// KL_DIALOGS=1000 runs more of them than the gate does.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <thread>

#include "kl/engine.h"
#include "kl/synth.h"
#include "tests/support/temp_dir.h"

namespace kl {
namespace {

constexpr const char* kDemo = KL_SOURCE_DIR "/models/demo";
constexpr const char* kAnswer = "<|im_assistant|>assistant<|im_middle|>";

/// One request of a dialog and the text that answers it.
struct Turn {
  std::string prompt;
  std::int64_t max_tokens = 0;
  float temperature = 0;
  std::uint64_t seed = 0;
  std::vector<SampledToken> answer;  // of the reference
};

bool same(const std::vector<SampledToken>& a, const std::vector<SampledToken>& b) {
  return std::ranges::equal(
      a, b, [](const SampledToken& x, const SampledToken& y) { return x.token == y.token && x.logprob == y.logprob; });
}

/// A dialog as a user leads it: goes on, asks again, edits the last message, goes back.
class Dialog {
 public:
  explicit Dialog(std::uint64_t seed) : random_(seed) {}

  /// The next prompt, `answer` being what the last one gave.
  Turn next(const std::string& answer) {
    const unsigned what = pick(10);
    if (messages_.empty() || what < 5) {
      if (!messages_.empty()) messages_.push_back(kAnswer + answer + "<|im_end|>");
      messages_.push_back(user_message());
    } else if (what < 7) {
      messages_.back() = user_message();  // edits
    } else if (what < 9 && messages_.size() > 2) {
      messages_.resize(messages_.size() - 2);  // goes back to the message before
    }                                          // else asks again
    Turn turn;
    for (const std::string& message : messages_) turn.prompt += message;
    turn.prompt += kAnswer;
    turn.max_tokens = 1 + pick(14);
    turn.temperature = pick(2) == 0 ? 0.0f : 1.0f;
    turn.seed = pick(1000);
    return turn;
  }

 private:
  unsigned pick(unsigned n) { return static_cast<unsigned>(random_() % n); }
  std::string user_message() {
    static constexpr const char* kWords[] = {"the",   "king", "of",   "night", "shall",
                                             "speak", "no",   "more", "\n",    "thou"};
    std::string text;
    const unsigned words = pick(8) == 0 ? 150 + pick(150) : 1 + pick(12);  // some are long enough to be expanded
    for (unsigned i = 0; i < words; ++i) text += std::string(i > 0 ? " " : "") + kWords[pick(10)];
    return "<|im_user|>user<|im_middle|>" + text + "<|im_end|>";
  }

  std::mt19937_64 random_;
  std::vector<std::string> messages_;
};

class Dialogs : public testing::Test {
 protected:
  /// The demo model's vocabulary and sizes with attention in the middle, so that a last bit of it reaches every later
  /// state.
  Dialogs() {
    ModelArgs args = ModelArgs::load(kDemo);
    args.layer_kinds = {LayerKind::kMla, LayerKind::kKda, LayerKind::kMla, LayerKind::kKda};
    synthesize(args, dir_ / "model", {.dtype = "f32", .tokenizer = std::filesystem::path(kDemo) / "tiktoken.model"});
  }
  Model model(int chunk) const { return Model::open(dir_ / "model", {.threads = 1, .isa = {}, .chunk_tokens = chunk}); }
  std::unique_ptr<Engine> engine(int chunk, const EngineOptions& options) {
    return std::make_unique<Engine>(model(chunk), tokenizer_, options);
  }
  EngineRequest request(const Turn& turn, bool cache) const {
    EngineRequest r;
    r.prompt = tokenizer_.encode(turn.prompt, SpecialText::kControl);
    r.cache_prompt = cache;
    r.options.max_tokens = turn.max_tokens;
    r.options.sampling.temperature = turn.temperature;
    r.options.sampling.seed = turn.seed;
    r.options.sampling.logprobs = 30;
    return r;
  }
  static std::vector<SampledToken> answer(Generation& generation, bool slowly) {
    std::vector<SampledToken> drawn;
    while (!generation.over()) {
      const EngineEvent event = generation.wait();
      drawn.insert(drawn.end(), event.logprobs.begin(), event.logprobs.end());
      if (slowly) std::this_thread::sleep_for(std::chrono::microseconds(300));
    }
    return drawn;
  }

  /// Dialogs and what is said in them to somebody who is alone and always read from the beginning.
  std::vector<std::vector<Turn>> lead(int num_dialogs) {
    std::vector<std::vector<Turn>> dialogs;
    const auto cold = engine(64, {.parallel = 1, .cache_bytes = 1});
    for (int d = 0; d < num_dialogs; ++d) {
      Dialog dialog(static_cast<std::uint64_t>(d));
      std::string last;
      auto& turns = dialogs.emplace_back();
      for (int t = 0; t < 4; ++t) {
        Turn turn = dialog.next(last);
        turn.answer = answer(*cold->submit(request(turn, false)), false);
        last = text(turn.answer);
        turns.push_back(std::move(turn));
      }
    }
    return dialogs;
  }

  std::string text(const std::vector<SampledToken>& drawn) const {
    std::vector<Token> ids;
    for (const SampledToken& s : drawn) ids.push_back(s.token);
    return tokenizer_.decode(ids, true);
  }

  TempDir dir_;
  Tokenizer tokenizer_ = Tokenizer::open(kDemo);
};

TEST_F(Dialogs, SayTheSameHoweverTheyAreServed) {
  const char* wanted = std::getenv("KL_DIALOGS");
  const int num_dialogs = wanted != nullptr ? std::atoi(wanted) : 200;
  const std::vector<std::vector<Turn>> dialogs = lead(num_dialogs);
  struct Way {
    const char* name;
    int chunk, clients;
    EngineOptions options;
    bool slowly;
  };
  const std::size_t one_state = model(64).memory_plan().state_fixed;
  const Way ways[] = {
      {"cached, pieces of 512", 512, 1, {.parallel = 1, .cache_bytes = 512u << 20}, false},
      {"cached, pieces of 33, two at once", 33, 2, {.parallel = 2, .cache_bytes = 512u << 20}, false},
      {"a cache for six states, pieces of 512, eight at once",
       512,
       8,
       {.parallel = 8, .cache_bytes = 8 * one_state},
       false},
      {"slow readers, two slots for six", 64, 6, {.parallel = 2, .cache_bytes = 512u << 20, .event_queue = 2}, true},
      {"with drafts, three at once",
       64,
       3,
       {.parallel = 3, .cache_bytes = 512u << 20, .speculate = true, .max_draft = 5},
       false},
  };
  for (const Way& way : ways) {
    const auto e = engine(way.chunk, way.options);
    std::atomic<int> next = 0, different = 0;
    std::vector<std::thread> clients;
    for (int c = 0; c < way.clients; ++c) {
      clients.emplace_back([&] {
        for (int d = next++; d < num_dialogs; d = next++)
          for (const Turn& turn : dialogs[static_cast<std::size_t>(d)])
            if (!same(answer(*e->submit(request(turn, true)), way.slowly), turn.answer)) ++different;
      });
    }
    for (std::thread& client : clients) client.join();
    EXPECT_EQ(different, 0) << way.name;
    EXPECT_GT(e->stats().tokens.cached, 0) << way.name;
    if (way.slowly && num_dialogs >= 100) {  // few may end before anybody is parked
      EXPECT_GT(e->stats().preemptions, 0u) << way.name;
    }
  }
}

TEST_F(Dialogs, GoOnAfterARestartFromASessionFile) {
  const EngineOptions options{.parallel = 1, .cache_bytes = 512u << 20};
  std::int64_t cached = 0;
  for (const auto& turns : lead(40)) {
    std::filesystem::remove(dir_ / "session");
    for (const Turn& turn : turns) {
      const auto e = engine(64, options);
      if (std::filesystem::exists(dir_ / "session")) e->restore_slot(0, dir_ / "session");
      ASSERT_TRUE(same(answer(*e->submit(request(turn, true)), false), turn.answer));
      cached += e->stats().tokens.cached;
      e->save_slot(0, dir_ / "session");
    }
  }
  EXPECT_GT(cached, 2000) << "sessions are of use";
}

}  // namespace
}  // namespace kl
