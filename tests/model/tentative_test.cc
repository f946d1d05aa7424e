// Tokens fed tentatively and taken back leave no trace: every bit is that of a run that never guessed.
#include <gtest/gtest.h>

#include "kernels/select.h"
#include "kl/error.h"
#include "kl/quantize.h"
#include "kl/synth.h"
#include "tests/model/recorder.h"
#include "tests/support/golden.h"
#include "tests/support/random.h"
#include "tests/support/temp_dir.h"

namespace kl::test {
namespace {

using Rows = std::vector<std::vector<float>>;

std::vector<Token> random_tokens(std::ptrdiff_t n, int vocab, Random& random) {
  std::vector<Token> tokens(static_cast<std::size_t>(n));
  for (Token& t : tokens) t = static_cast<Token>(random.below(vocab));
  return tokens;
}

/// Every remembered number.  Settles a copy, lest looking changes what is looked at.
Rows contents(Model& model, SequenceState state) {
  model.settle(state);
  Rows all;
  for (int layer = 0; layer < model.args().num_hidden_layers; ++layer)
    for (auto& values :
         {state.kda_state(layer), state.conv_state(layer), state.mla_latent(layer), state.mla_k_pe(layer)})
      all.push_back(values);
  return all;
}

/// A text that is fed in steps of firm and tentative tokens, and what a straight run makes of it.
struct Text {
  std::vector<Token> tokens;
  Rows logits;      // of the straight run
  Rows remembered;  // by it at the end
  SequenceState state;
  std::int64_t done = 0;  // tokens fed for good

  // The step in progress.
  std::vector<Token> fed;
  std::int64_t firm = 0, right = 0;  // tokens that stay anyway; tentative ones that are true

  Text(Model& model, std::ptrdiff_t length, Random& random)
      : tokens(random_tokens(length, model.args().vocab_size, random)), state(model.make_cache()) {
    SequenceState straight;
    logits = logits_of(model, tokens, {1u << 30}, &straight);
    remembered = contents(model, std::move(straight));
  }

  std::int64_t left() const { return std::ssize(tokens) - done; }

  /// Some true tokens, of which the last `right` are tentative, then up to `most_wrong` wrong ones.
  SequenceInput next(Random& random, int vocab, std::int64_t most_right, std::int64_t most_wrong) {
    right = std::min<std::int64_t>(left(), random.below(most_right + 1));
    firm = std::min<std::int64_t>(left() - right, static_cast<std::int64_t>(random.below(4)));
    auto wrong = random.below(most_wrong + 1);
    if (right + firm + wrong == 0) wrong = 1;
    const auto first = tokens.begin() + done;
    fed.assign(first, first + firm + right);
    for (const Token t : random_tokens(wrong, vocab, random)) fed.push_back(t);
    return {&state, fed, WantLogits::kAll, MlaForm::kAuto, right + wrong};
  }

  /// What the pass gave for true tokens is what the straight run gave.
  void expect_right(const Recorder& recorder, int sequence) const {
    for (std::int64_t i = 0; i < firm + right; ++i)
      ASSERT_EQ(recorder.logits.at({sequence, i}), logits[static_cast<std::size_t>(done + i)]) << "token " << done + i;
  }
};

struct Case {
  const char* name;
  ModelOptions options;
};

/// Every number type a state may have, and passes shorter than most drafts.
const Case kCases[] = {
    {"F32", {.threads = 2}},
    {"Bf16Latents", {.threads = 1, .cache_type = CacheType::kBf16}},
    {"Int8LatentsBf16State", {.threads = 2, .cache_type = CacheType::kInt8, .bf16_state = true}},
    {"PassesOf3", {.threads = 2, .chunk_tokens = 3}},
    {"Expanded", {.threads = 2, .chunk_tokens = 16, .mla_form = MlaForm::kExpanded}},
};

class Tentative : public testing::TestWithParam<std::string> {
 protected:
  Model open(const std::filesystem::path& dir, ModelOptions options) const {
    options.isa = GetParam();
    if (options.mla_form == MlaForm::kAuto) options.mla_form = MlaForm::kAbsorbed;
    return Model::open(dir, options);
  }
  static std::filesystem::path dir_of(const char* golden) { return Golden(golden).dir; }
};

/// Beyond the second block of latents, but for the reference table, which takes its time.
std::vector<std::ptrdiff_t> lengths_for(const Model& model) {
  if (std::string(model.isa()) == "reference") return {20, 40};
  return {40, 150, 270};
}

/// Several texts in ragged batches of random steps, beside one that is fed plainly.
void expect_no_trace(Model& model, std::uint64_t seed) {
  Random random(seed);
  std::vector<Text> texts;
  for (const std::ptrdiff_t length : lengths_for(model)) texts.emplace_back(model, length, random);
  const int vocab = model.args().vocab_size;
  while (std::any_of(texts.begin(), texts.end(), [](const Text& t) { return t.left() > 0; })) {
    std::vector<SequenceInput> batch;
    for (Text& text : texts) batch.push_back(text.next(random, vocab, random.below(2) == 0 ? 3 : 20, 6));
    Recorder recorder;
    model.forward(batch, recorder);
    for (std::size_t s = 0; s < texts.size(); ++s) {
      Text& text = texts[s];
      ASSERT_NO_FATAL_FAILURE(text.expect_right(recorder, static_cast<int>(s))) << "text " << s;
      EXPECT_EQ(text.state.num_tokens(), text.done + text.firm);
      EXPECT_EQ(text.state.num_tentative(), std::ssize(text.fed) - text.firm);
      if (random.below(4) == 0) text.right = random.below(text.right + 1);
      if (random.below(4) == 0) text.state = SequenceState(text.state);  // before keep(): tentative tokens come along
      text.state.keep(text.right);
      if (random.below(4) == 0) text.state = SequenceState(text.state);
      if (random.below(4) == 0) model.settle(text.state);
      text.done += text.firm + text.right;
      EXPECT_EQ(text.state.num_tokens(), text.done);
    }
  }
  for (const Text& text : texts) EXPECT_EQ(contents(model, text.state), text.remembered);
}

TEST_P(Tentative, WhatIsTakenBackLeavesNoTrace) {
  for (const Case& one : kCases) {
    SCOPED_TRACE(one.name);
    Model model = open(dir_of("tiny"), one.options);
    ASSERT_NO_FATAL_FAILURE(expect_no_trace(model, 1));
  }
}

TEST_P(Tentative, QuantisedModelsToo) {
  const TempDir dir;
  quantize(std::filesystem::path(KL_SOURCE_DIR) / "models/demo", dir / "4", {.bits = 4, .group_size = 32});
  Model model = open(dir / "4", {.threads = 2});
  ASSERT_NO_FATAL_FAILURE(expect_no_trace(model, 2));
}

TEST_P(Tentative, OddHeadsAndOtherConvolutionsToo) {
  for (const int taps : {1, 2, 6}) {
    SCOPED_TRACE(taps);
    ModelArgs args = ModelArgs::like("tiny");
    args.kda_num_heads = 3;
    args.kda_head_dim = 40;
    args.kda_conv_size = taps;
    const TempDir dir;
    synthesize(args, dir / "m", {.seed = 1});
    Model model = open(dir / "m", {.threads = 2});
    ASSERT_NO_FATAL_FAILURE(expect_no_trace(model, 3));
  }
}

TEST_P(Tentative, CopiesTakenInBetweenGoTheirOwnWays) {
  Model model = open(dir_of("tiny"), {.threads = 2});
  Random random(4);
  Text text(model, 140, random);
  // Around the end of a block of latents, at 128 rows: a draft may fill a block that copies then share.
  const std::vector<std::int64_t> some = {127}, all = {120, 124, 126, 127, 128, 129};
  for (const std::int64_t at : GetParam() == "reference" ? some : all) {
    SCOPED_TRACE(at);
    const auto upto = [&](std::int64_t end) { return std::span(text.tokens).first(static_cast<std::size_t>(end)); };
    const auto rest = [&](std::int64_t from) { return std::span(text.tokens).subspan(static_cast<std::size_t>(from)); };
    SequenceState state = model.make_cache();
    model.forward(state, upto(at));
    const SequenceState before = state;
    std::vector<Token> draft(rest(at).begin(), rest(at).begin() + 4);
    for (const Token t : random_tokens(6, model.args().vocab_size, random)) draft.push_back(t);
    Recorder recorder;
    const SequenceInput input{&state, draft, WantLogits::kNone, MlaForm::kAuto, 10};
    model.forward({&input, 1}, recorder);

    std::vector<SequenceState> kept;
    for (std::int64_t count = 0; count <= 4; ++count) {
      kept.push_back(state);
      kept.back().keep(count);
    }
    EXPECT_EQ(contents(model, state), contents(model, before)) << "nothing of the draft is true yet";
    for (std::int64_t count = 0; count <= 4; ++count) {
      SequenceState& branch = kept[static_cast<std::size_t>(count)];
      const SequenceState copy = branch;
      EXPECT_EQ(model.forward(branch, rest(at + count)), text.logits.back()) << count;
      EXPECT_EQ(contents(model, branch), text.remembered) << count;
      SequenceState resumed = copy;
      EXPECT_EQ(model.forward(resumed, rest(at + count)), text.logits.back()) << "copy of " << count;
    }
    state.keep(10);  // a wrong text, but one that may not reach the others
    model.forward(state, rest(at));
    for (const SequenceState& branch : kept) EXPECT_EQ(contents(model, branch), text.remembered);
    SequenceState resumed = before;
    EXPECT_EQ(model.forward(resumed, rest(at)), text.logits.back());
  }
}

std::vector<std::string> tables() {
  std::vector<std::string> names;
  for (const Kernels* k : available_kernels()) names.push_back(k->isa);
  return names;
}
INSTANTIATE_TEST_SUITE_P(Tables, Tentative, testing::ValuesIn(tables()), [](const auto& table) { return table.param; });

TEST(TentativeState, RefusesWhatMakesNoSenseAndChangesNothing) {
  Model model = Model::open(Golden("tiny").dir);
  const std::vector<Token> tokens = {1, 2, 3, 4};
  SequenceState state = model.make_cache();
  Recorder recorder;
  const auto feed = [&](std::int64_t tentative) {
    const SequenceInput input{&state, tokens, WantLogits::kNone, MlaForm::kAuto, tentative};
    model.forward({&input, 1}, recorder);
  };
  const auto message_of = [](auto&& call) -> std::string {
    try {
      call();
    } catch (const Error& e) {
      return e.code() == ErrorCode::kInvalidArgument ? e.what() : "wrong code";
    }
    return "";
  };
  EXPECT_EQ(message_of([&] { feed(5); }), "sequence 0 of the batch: expected 0 to 4 tentative tokens, got 5");
  EXPECT_EQ(message_of([&] { feed(-1); }), "sequence 0 of the batch: expected 0 to 4 tentative tokens, got -1");
  EXPECT_EQ(message_of([&] { state.keep(1); }), "keep: expected 0 to 0 tentative tokens, got 1");
  EXPECT_EQ(message_of([&] { state.keep(0); }), "");
  feed(3);
  EXPECT_EQ(message_of([&] { feed(0); }),
            "sequence 0 of the batch: expected a state after keep(), got one with tentative tokens");
  EXPECT_EQ(message_of([&] { state.repeat_to(100); }),
            "repeat_to: expected a state after keep(), got one with tentative tokens");
  EXPECT_EQ(message_of([&] { state.keep(4); }), "keep: expected 0 to 3 tentative tokens, got 4");
  EXPECT_EQ(message_of([&] { state.keep(-1); }), "keep: expected 0 to 3 tentative tokens, got -1");
  EXPECT_TRUE(state.is_settled());
  state.keep(2);
  EXPECT_FALSE(state.is_settled());
  EXPECT_EQ(message_of([&] { state.kda_state(0); }),
            "state: expected one after Model::settle(), got one with kept tokens to write");
  model.settle(state);
  EXPECT_TRUE(state.is_settled());
  EXPECT_FALSE(state.kda_state(0).empty());
  EXPECT_EQ(state.num_tokens(), 3);
  SequenceState none;
  EXPECT_EQ(message_of([&] { model.settle(none); }), "settle: expected a state of this model, got another or none");
}

TEST(TentativeState, StoppedCallLeavesTheDraftAsFarAsItCame) {
  Model model = Model::open(Golden("tiny").dir, {.chunk_tokens = 2, .mla_form = MlaForm::kAbsorbed});
  struct StopAfterTwo : Recorder {
    bool on_progress(std::int64_t, std::int64_t) override { return ++passes < 2; }
    int passes = 0;
  } stop;
  const auto tokens = Golden("tiny").tokens("tokens");
  SequenceState state = model.make_cache();
  const SequenceInput input{&state, std::span(tokens).first(8), WantLogits::kAll, MlaForm::kAuto, 7};
  EXPECT_EQ(model.forward({&input, 1}, stop), 4);
  EXPECT_EQ(state.num_tokens(), 1);
  EXPECT_EQ(state.num_tentative(), 3);
  state.keep(2);
  EXPECT_EQ(model.forward(state, std::span(tokens).subspan(3)), logits_of(model, tokens).back());
}

TEST(TentativeState, PlanCountsWhatIsHeldAndCopiesOfSettledStatesDoNotHoldIt) {
  Model model = Model::open(Golden("tiny").dir);
  const auto tokens = Golden("tiny").tokens("tokens");
  SequenceState state = model.make_cache();
  const MemoryPlan plan = model.memory_plan();
  model.forward(state, std::span(tokens).first(3));
  const std::size_t plain = state.bytes();
  Recorder recorder;
  const SequenceInput input{&state, std::span(tokens).subspan(3, 5), WantLogits::kNone, MlaForm::kAuto, 4};
  model.forward({&input, 1}, recorder);
  EXPECT_EQ(state.bytes(), plain + 4 * plan.state_per_tentative);
  state.keep(3);
  EXPECT_EQ(SequenceState(state).bytes(), plain + 3 * plan.state_per_tentative);
  model.settle(state);
  EXPECT_EQ(SequenceState(state).bytes(), plain);
}

}  // namespace
}  // namespace kl::test
