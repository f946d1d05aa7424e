#include "generation/speculation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>

#include "kl/generate.h"
#include "tests/support/random.h"

namespace kl::test {
namespace {

using Tokens = std::vector<Token>;

/// What a machine would show on which a row more costs `per_row` of a pass.
PassCost cost_of(double per_row) {
  PassCost cost;
  for (int i = 0; i < 20; ++i)
    for (const int rows : {1, 5, 9}) cost.observe(rows, 1e-3 * (1 + per_row * (rows - 1)));
  return cost;
}

TEST(PassCost, LearnsALineAndForgetsAnOutlier) {
  PassCost cost = cost_of(0.25);
  const auto ratio = [&] { return cost.seconds(5) / cost.seconds(1); };
  EXPECT_NEAR(ratio(), 2, 0.1);
  cost.observe(1, 10);
  EXPECT_NEAR(ratio(), 2, 0.2) << "a pass that took ten thousand times as long";
  for (int i = 0; i < 300; ++i) cost.observe(i % 9 + 1, 2e-3 * (1 + 0.05 * (i % 9)));
  EXPECT_NEAR(ratio(), 1.2, 0.05) << "another machine";
}

TEST(PassCost, GuessesAgainWhatItHasNotSeenForLong) {
  PassCost cost = cost_of(1);
  for (int i = 0; i < 1000; ++i) cost.observe(1, 1e-3);
  EXPECT_LT(cost.seconds(2) / cost.seconds(1), 1.2);
}

/// Feeds a text that goes on as `next` says; returns drafted and accepted tokens of the last 100 passes.
template <class F>
std::pair<std::int64_t, std::int64_t> run(Speculation& speculation, const PassCost& cost, F&& next) {
  std::int64_t drafted = 0, accepted = 0;
  for (int pass = 0; pass < 300; ++pass) {
    const auto proposed = speculation.propose(cost, 100);
    const Tokens draft(proposed.begin(), proposed.end());
    Tokens drawn;
    do drawn.push_back(next());
    while (drawn.size() <= draft.size() && drawn.back() == draft[drawn.size() - 1]);
    speculation.judge(drawn);
    if (pass < 200) continue;
    drafted += std::ssize(draft);
    accepted += std::ssize(drawn) - 1;
  }
  return {drafted, accepted};
}

TEST(Speculation, DraftsAllItMayWhereTheTextRepeatsItself) {
  Speculation speculation(8);
  int i = 0;
  const auto [drafted, accepted] = run(speculation, cost_of(0.1), [&] { return i++ % 23; });
  EXPECT_EQ(drafted, 800);
  EXPECT_EQ(accepted, 800);
}

TEST(Speculation, LeavesItWhereRowsCostAsMuchAsPasses) {
  Speculation speculation(8);
  int i = 0;
  EXPECT_EQ(run(speculation, cost_of(1.1), [&] { return i++ % 23; }).first, 0);
}

TEST(Speculation, LeavesItWhereDraftsAreWrongAndNoticesWhenTheyAreNot) {
  Speculation speculation(8);
  Random random(1);
  int i = 0;
  EXPECT_LT(run(speculation, cost_of(0.3), [&] { return static_cast<Token>(random.below(6)); }).first, 10)
      << "one guess of six is right";
  EXPECT_EQ(run(speculation, cost_of(0.3), [&] { return i++ % 23; }).second, 800) << "learnt without feeding drafts";
}

TEST(Speculation, NeverProposesMoreThanThereIsRoomFor) {
  Speculation speculation(8);
  speculation.append(Tokens(50, 1));
  const PassCost cost = cost_of(0);
  for (const std::int64_t room : {-1, 0, 1, 3, 8, 100})
    EXPECT_EQ(speculation.propose(cost, room).size(), static_cast<std::size_t>(std::clamp<std::int64_t>(room, 0, 8)));
}

/// Texts of the bundled model with and without.
class SpeculativeText : public testing::Test {
 protected:
  static constexpr const char* kDemo = KL_SOURCE_DIR "/models/demo";

  /// Ordinary openings, and such as repeat themselves.
  std::vector<std::string> prompts() const {
    std::vector<std::string> all;
    for (const char* name : {"ROMEO", "JULIET", "KING", "MENENIUS", "GLOUCESTER"})
      for (const char* line : {":\nBut, soft!", ":\nO, speak again", ":\nMy lord,", ":\nHark! who lies", ":\n"}) {
        const std::string opening = std::string(name) + line;
        all.push_back(opening);
        all.push_back(opening + " and again" + opening + " and again" + opening + " and again" + opening);
      }
    return all;
  }

  struct Outcome {
    GenerateResult result;
    std::vector<std::vector<float>> remembered;
    std::string streamed;
  };
  Outcome run(Model& model, const std::string& prompt, const GenerateOptions& options, int max_draft,
              int cancel_after = 1 << 30) const {
    SequenceState state = model.make_cache();
    std::atomic<bool> cancel = false;
    Outcome outcome;
    int pieces = 0;
    GenerateHooks hooks;
    hooks.cancel = &cancel;
    hooks.on_text = [&](std::string_view text) {
      outcome.streamed += text;
      if (++pieces >= cancel_after) cancel = true;
    };
    outcome.result = generate(model, tokenizer_, state, tokenizer_.encode(prompt), options, hooks, max_draft);
    for (int layer = 0; layer < model.args().num_hidden_layers; ++layer)
      for (auto& values : {state.kda_state(layer), state.conv_state(layer), state.mla_latent(layer)})
        outcome.remembered.push_back(values);
    return outcome;
  }

  static void expect_same(const Outcome& with, const Outcome& without) {
    EXPECT_EQ(with.result.ids, without.result.ids);
    EXPECT_EQ(with.result.text, without.result.text);
    EXPECT_EQ(with.streamed, without.streamed);
    EXPECT_EQ(with.result.finish_reason, without.result.finish_reason);
    EXPECT_EQ(with.result.stop_string, without.result.stop_string);
    EXPECT_TRUE(with.remembered == without.remembered) << "states differ";
  }

  Tokenizer tokenizer_ = Tokenizer::open(kDemo);
};

TEST_F(SpeculativeText, IsTheSameTextGreedyAndDrawn) {
  Model model = Model::open(kDemo, {.threads = 2}),
        short_passes = Model::open(kDemo, {.threads = 1, .chunk_tokens = 3});
  std::int64_t drafted = 0, accepted = 0;
  std::uint64_t seed = 0;
  for (const std::string& prompt : prompts()) {
    SCOPED_TRACE(prompt);
    GenerateOptions options;
    options.max_tokens = 40;
    options.sampling.seed = ++seed;
    options.sampling.temperature = seed % 3 == 0 ? 0.0f : seed % 3 == 1 ? 0.3f : 1.0f;
    if (seed % 5 == 0) options.sampling.repetition_penalty = 1.1f;
    if (seed % 7 == 0) options.stop = {"the"};
    const Outcome plain = run(model, prompt, options, 0);
    const Outcome speculative = run(seed % 4 == 0 ? short_passes : model, prompt, options, seed % 2 == 0 ? 8 : 3);
    expect_same(speculative, plain);
    EXPECT_EQ(plain.result.tokens.drafted, 0);
    EXPECT_LE(speculative.result.tokens.accepted, speculative.result.tokens.drafted);
    drafted += speculative.result.tokens.drafted;
    accepted += speculative.result.tokens.accepted;
  }
  EXPECT_GT(drafted, 50) << "the prompts must make it draft";
  EXPECT_GT(accepted, 10);
  EXPECT_LT(accepted, drafted);
}

TEST_F(SpeculativeText, EndsWhereItWouldAndStopsWhenTold) {
  Model model = Model::open(kDemo, {.threads = 2});
  const std::string prompt = "one two three one two three one two three one two";
  GenerateOptions options;
  options.sampling.temperature = 0;
  options.ignore_stop_tokens = true;
  for (const std::int64_t most : {0, 1, 2, 5, 12}) {
    options.max_tokens = most;
    expect_same(run(model, prompt, options, 8), run(model, prompt, options, 0));
  }
  options.max_tokens = 40;
  const Outcome cancelled = run(model, prompt, options, 8, 7);
  EXPECT_EQ(cancelled.result.finish_reason, FinishReason::kCancelled);
  const std::vector<Token> all = run(model, prompt, options, 0).result.ids;
  EXPECT_LT(cancelled.result.ids.size(), all.size());
  EXPECT_TRUE(std::equal(cancelled.result.ids.begin(), cancelled.result.ids.end(), all.begin()));
}

}  // namespace
}  // namespace kl::test
