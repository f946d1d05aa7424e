#include "kl/generate.h"

#include <gtest/gtest.h>

#include "kl/error.h"

namespace kl {
namespace {

constexpr const char* kDemo = KL_SOURCE_DIR "/models/demo";

class Generate : public testing::Test {
 protected:
  GenerateResult run(SequenceState& state, const std::vector<Token>& prompt, const GenerateOptions& options,
                     const GenerateHooks& hooks = {}) {
    return generate(model_, tokenizer_, state, prompt, options, hooks);
  }
  GenerateOptions greedy(std::int64_t max_tokens) const {
    GenerateOptions options;
    options.sampling.temperature = 0;
    options.max_tokens = max_tokens;
    options.ignore_stop_tokens = true;
    return options;
  }

  Tokenizer tokenizer_ = Tokenizer::open(kDemo);
  Model model_ = Model::open(kDemo, {.threads = 2, .chunk_tokens = 16});
  std::vector<Token> prompt_ = tokenizer_.encode("ROMEO:\nBut, soft! what light through yonder window breaks?\n");
};

TEST_F(Generate, StreamsWhatItReturns) {
  GenerateOptions options = greedy(40);
  options.sampling.temperature = 1;
  std::string streamed;
  GenerateHooks hooks;
  hooks.on_text = [&](std::string_view piece) { streamed += piece; };
  SequenceState state = model_.make_cache();
  const GenerateResult result = run(state, prompt_, options, hooks);
  EXPECT_EQ(streamed, result.text);
  EXPECT_EQ(result.ids.size(), 40u);
  EXPECT_EQ(result.text, tokenizer_.decode(result.ids, /*skip_special=*/true));
  EXPECT_EQ(result.tokens.prompt, static_cast<std::int64_t>(prompt_.size()));
  EXPECT_EQ(state.num_tokens(), result.tokens.prompt + 39) << "the last token drawn is not fed";
}

TEST_F(Generate, GoesOnFromAStateAsIfNeverStopped) {
  SequenceState whole = model_.make_cache(), parts = model_.make_cache();
  const std::vector<Token> at_once = run(whole, prompt_, greedy(24)).ids;
  std::vector<Token> in_two = run(parts, prompt_, greedy(10)).ids;
  const std::vector<Token> rest = run(parts, {in_two.back()}, greedy(14)).ids;
  in_two.insert(in_two.end(), rest.begin(), rest.end());
  EXPECT_EQ(in_two, at_once);
}

TEST_F(Generate, SameSeedGivesSameText) {
  GenerateOptions options = greedy(30);
  options.sampling.temperature = 1;
  const auto text = [&](std::uint64_t seed) {
    options.sampling.seed = seed;
    SequenceState state = model_.make_cache();
    return run(state, prompt_, options).text;
  };
  EXPECT_EQ(text(1), text(1));
  EXPECT_NE(text(1), text(2));
}

TEST_F(Generate, ReportsEachPassOverThePrompt) {
  std::vector<std::int64_t> done;
  GenerateHooks hooks;
  hooks.on_prompt = [&](std::int64_t tokens, std::int64_t total) {
    EXPECT_EQ(total, static_cast<std::int64_t>(prompt_.size()));
    done.push_back(tokens);
  };
  SequenceState state = model_.make_cache();
  run(state, prompt_, greedy(5), hooks);
  ASSERT_EQ(done.size(), (prompt_.size() + 15) / 16);
  EXPECT_EQ(done.front(), 16);
  EXPECT_EQ(done.back(), static_cast<std::int64_t>(prompt_.size()));
}

TEST_F(Generate, StopsInsideThePromptWhenCancelled) {
  std::atomic<bool> cancel{false};
  GenerateHooks hooks;
  hooks.cancel = &cancel;
  hooks.on_prompt = [&](std::int64_t, std::int64_t) { cancel = true; };
  SequenceState state = model_.make_cache();
  const GenerateResult result = run(state, prompt_, greedy(5), hooks);
  EXPECT_EQ(result.finish_reason, FinishReason::kCancelled);
  EXPECT_EQ(result.tokens.prompt, 16);
  EXPECT_TRUE(result.ids.empty());
  EXPECT_EQ(state.num_tokens(), 16);
}

TEST_F(Generate, StopsInsideTheTextWhenCancelled) {
  std::atomic<bool> cancel{false};
  int pieces = 0;
  GenerateHooks hooks;
  hooks.cancel = &cancel;
  hooks.on_text = [&](std::string_view) { cancel = ++pieces >= 3; };
  SequenceState state = model_.make_cache();
  const GenerateResult result = run(state, prompt_, greedy(1000), hooks);
  EXPECT_EQ(result.finish_reason, FinishReason::kCancelled);
  EXPECT_LT(result.ids.size(), 20u);
  EXPECT_EQ(state.num_tokens(), result.tokens.prompt + static_cast<std::int64_t>(result.ids.size()) - 1);
}

TEST_F(Generate, OnlyReadsThePromptForZeroTokens) {
  SequenceState state = model_.make_cache();
  const GenerateResult result = run(state, prompt_, greedy(0));
  EXPECT_TRUE(result.ids.empty());
  EXPECT_EQ(result.finish_reason, FinishReason::kLength);
  EXPECT_EQ(state.num_tokens(), static_cast<std::int64_t>(prompt_.size()));
}

TEST_F(Generate, RefusesAnEmptyPromptAndFeedsNothing) {
  SequenceState state = model_.make_cache();
  EXPECT_THROW(run(state, {}, greedy(3)), Error);
  GenerateOptions impossible = greedy(3);
  impossible.sampling.temperature = -1;
  EXPECT_THROW(run(state, prompt_, impossible), Error);
  EXPECT_EQ(state.num_tokens(), 0);
}

}  // namespace
}  // namespace kl
