// The exactness contract of docs/numerics.md, line by line, on every kernel table.
#include <gtest/gtest.h>

#include <random>

#include "kernels/select.h"
#include "kl/error.h"
#include "tests/model/recorder.h"
#include "tests/support/golden.h"

namespace kl::test {
namespace {

using Rows = std::vector<std::vector<float>>;

class Exactness : public testing::TestWithParam<std::string> {
 protected:
  Model open(const std::string& checkpoint, ModelOptions options = {}) const {
    options.isa = GetParam();
    if (options.mla_form == MlaForm::kAuto) options.mla_form = MlaForm::kAbsorbed;
    return Model::open(Golden(checkpoint).dir, options);
  }

  /// Random tokens: goldens are too short for some of these properties.
  static std::vector<Token> random_tokens(std::size_t n, unsigned seed, int vocab) {
    std::mt19937 random(seed);
    std::vector<Token> tokens(n);
    for (Token& t : tokens) t = static_cast<Token>(random() % static_cast<unsigned>(vocab));
    return tokens;
  }

  /// Every cached number of a state.
  static Rows contents(const SequenceState& state, int layers) {
    Rows all;
    for (int layer = 0; layer < layers; ++layer)
      for (auto& values :
           {state.kda_state(layer), state.conv_state(layer), state.mla_latent(layer), state.mla_k_pe(layer)})
        all.push_back(values);
    return all;
  }
};

TEST_P(Exactness, AnySplitOfAPromptEqualsOneCall) {
  for (const char* checkpoint : {"tiny", "grouped", "headdims"}) {
    Model model = open(checkpoint, {.threads = 2});
    const auto tokens = Golden(checkpoint).tokens("tokens");
    SequenceState whole_state;
    const Rows whole = logits_of(model, tokens, {1u << 30}, &whole_state);
    std::vector<std::vector<std::size_t>> splits = {{1}, {7}, {3, 1, 2, 20, 5}, {16, 1}, {45, 3}};
    for (std::size_t first = 1; first <= 8; ++first) splits.push_back({first, 1000});  // around the convolution's reach
    for (const auto& split : splits) {
      SequenceState state;
      EXPECT_EQ(logits_of(model, tokens, split, &state), whole) << checkpoint << ", first call " << split[0];
      EXPECT_EQ(contents(state, model.args().num_hidden_layers), contents(whole_state, model.args().num_hidden_layers));
    }
  }
}

TEST_P(Exactness, ChunkSizeAndThreadsChangeNothing) {
  const auto tokens = Golden("tiny").tokens("tokens");
  Model plain = open("tiny", {.threads = 1, .chunk_tokens = 512});
  const Rows expected = logits_of(plain, tokens);
  for (const int threads : {1, 2, 3})
    for (const int chunk : {1, 7, 64, 10000}) {
      Model model = open("tiny", {.threads = threads, .chunk_tokens = chunk});
      EXPECT_EQ(logits_of(model, tokens), expected) << threads << " threads, chunk " << chunk;
    }
}

TEST_P(Exactness, RaggedBatchEqualsSingles) {
  for (const char* checkpoint : {"tiny", "grouped"}) {
    Model model = open(checkpoint, {.threads = 2, .chunk_tokens = 100});
    std::vector<std::vector<Token>> prompts;
    for (const std::size_t length : {1, 2, 3, 17, 63, 64, 65, 200})
      prompts.push_back(random_tokens(length, static_cast<unsigned>(length), model.args().vocab_size));
    expect_batch_equals_singles(model, prompts);
  }
}

TEST_P(Exactness, LongContextIsTheSameFromStretchesSpreadOverThreads) {
  // 1500 tokens are two stretches of attention: one thread walks them in order, several take one each.
  const auto tokens = Golden("stress").tokens("tokens");
  Model one = open("stress", {.threads = 1}), two = open("stress", {.threads = 2});
  const Rows expected = logits_of(one, tokens);
  EXPECT_EQ(logits_of(two, tokens, {1400, 1}), expected);
}

TEST_P(Exactness, SnapshotContinuesAsIfNothingHappened) {
  Model model = open("tiny", {.threads = 2});
  const auto tokens = random_tokens(300, 5, model.args().vocab_size);
  const Rows whole = logits_of(model, tokens);
  SequenceState state = model.make_cache();
  for (const std::size_t cut : {1u, 2u, 127u, 128u, 129u, 200u}) {
    state = model.make_cache();
    model.forward(state, std::span(tokens).first(cut));
    const SequenceState snapshot = state;
    model.forward(state, random_tokens(50, 9, model.args().vocab_size));  // another future for the original
    SequenceState resumed = snapshot;
    EXPECT_EQ(model.forward(resumed, std::span(tokens).subspan(cut)), whole.back()) << "cut at " << cut;
    SequenceState again = snapshot;
    EXPECT_EQ(model.forward(again, std::span(tokens).subspan(cut)), whole.back()) << "second branch from " << cut;
  }
}

TEST_P(Exactness, ExpandedFormIsIndependentOfTheSplitToo) {
  Model model = open("tiny", {.threads = 2, .mla_form = MlaForm::kExpanded});
  const auto tokens = random_tokens(300, 6, model.args().vocab_size);
  const Rows whole = logits_of(model, tokens);
  EXPECT_EQ(logits_of(model, tokens, {1, 63, 64, 65}), whole);
}

TEST_P(Exactness, FormsOfMlaAgreeToRounding) {
  const auto tokens = random_tokens(400, 7, 320);
  Model absorbed = open("tiny"), expanded = open("tiny", {.mla_form = MlaForm::kExpanded});
  const Rows a = logits_of(absorbed, tokens), e = logits_of(expanded, tokens);
  double worst = 0, largest = 0;
  for (std::size_t t = 0; t < a.size(); ++t)
    for (std::size_t i = 0; i < a[t].size(); ++i) {
      worst = std::max(worst, std::abs(double{a[t][i]} - e[t][i]));
      largest = std::max(largest, std::abs(double{a[t][i]}));
    }
  EXPECT_GT(worst, 0) << "one of the forms was not used";
  EXPECT_LE(worst, 5e-6 * largest);
}

std::vector<std::string> tables() {
  std::vector<std::string> names;
  for (const Kernels* k : available_kernels()) names.push_back(k->isa);
  return names;
}
INSTANTIATE_TEST_SUITE_P(Tables, Exactness, testing::ValuesIn(tables()), [](const auto& table) { return table.param; });

TEST(Exactness, Avx2AndAvx512GiveTheSameBits) {
  const auto names = tables();
  if (std::count(names.begin(), names.end(), "avx512") == 0) GTEST_SKIP() << "this CPU has no AVX-512";
  for (const char* checkpoint : {"tiny", "headdims", "grouped", "softmax"})
    for (const MlaForm form : {MlaForm::kAbsorbed, MlaForm::kExpanded}) {
      const Golden golden(checkpoint);
      Model narrow = Model::open(golden.dir, {.isa = "avx2", .mla_form = form});
      Model wide = Model::open(golden.dir, {.isa = "avx512", .mla_form = form});
      EXPECT_EQ(logits_of(narrow, golden.tokens("tokens")), logits_of(wide, golden.tokens("tokens"))) << checkpoint;
    }
}

TEST(Model, RefusesBadBatchesAndChangesNothing) {
  const Golden golden("tiny");
  Model model = Model::open(golden.dir);
  SequenceState state = model.make_cache(), empty;
  const std::vector<Token> good = {1, 2, 3}, bad = {1, 320}, negative = {-1}, none;
  Recorder recorder;
  const auto refused = [&](std::vector<SequenceInput> batch) {
    try {
      model.forward(batch, recorder);
    } catch (const Error& e) {
      return e.code() == ErrorCode::kInvalidArgument;
    }
    return false;
  };
  EXPECT_TRUE(refused({{&state, bad, WantLogits::kAll}}));
  EXPECT_TRUE(refused({{&state, negative, WantLogits::kAll}}));
  EXPECT_TRUE(refused({{&state, none, WantLogits::kAll}}));
  EXPECT_TRUE(refused({{&state, good, WantLogits::kAll}, {&state, good, WantLogits::kAll}}));
  EXPECT_TRUE(refused({{nullptr, good, WantLogits::kAll}}));
  EXPECT_TRUE(refused({{&empty, good, WantLogits::kAll}}));
  EXPECT_EQ(state.num_tokens(), 0);
  EXPECT_TRUE(recorder.logits.empty());
}

TEST(Model, StoppedCallLeavesEveryStateWhereItsPassEnded) {
  const Golden golden("tiny");
  Model model = Model::open(golden.dir, {.chunk_tokens = 10, .mla_form = MlaForm::kAbsorbed});
  struct StopAfterTwo : Recorder {
    bool on_progress(std::int64_t, std::int64_t) override { return ++passes < 2; }
    int passes = 0;
  } stop;
  const auto tokens = golden.tokens("tokens");
  SequenceState state = model.make_cache();
  const SequenceInput input{&state, tokens, WantLogits::kLast};
  EXPECT_EQ(model.forward({&input, 1}, stop), 20);
  EXPECT_EQ(state.num_tokens(), 20);
  EXPECT_EQ(model.forward(state, std::span(tokens).subspan(20)), logits_of(model, tokens).back());
}

TEST(Model, PlanCountsStatesAndScratch) {
  Model model = Model::open(Golden("tiny").dir, {.threads = 2});
  const MemoryPlan plan = model.memory_plan();
  SequenceState state = model.make_cache();
  EXPECT_EQ(state.bytes(), plan.state_fixed);
  EXPECT_EQ(plan.state_fixed, 3u * (2 * 32 * 32 + 3 * 3 * 64) * sizeof(float));
  EXPECT_EQ(plan.state_per_token, (32 + 16) * sizeof(float));
  EXPECT_GT(plan.scratch, 0u);
  EXPECT_GT(plan.weights_mapped, plan.weights_copied);
}

}  // namespace
}  // namespace kl::test
