// Quantised models: the exactness contract of docs/numerics.md, and the two ways to compute them.
#include <gtest/gtest.h>

#include "kernels/select.h"
#include "kl/quantize.h"
#include "tests/model/recorder.h"
#include "tests/support/random.h"
#include "tests/support/temp_dir.h"

namespace kl::test {
namespace {

using Rows = std::vector<std::vector<float>>;

/// The demo model, quantised; once for all tests.
class PackedModel : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = new TempDir;
    const std::filesystem::path demo = std::filesystem::path(KL_SOURCE_DIR) / "models/demo";
    quantize(demo, *dir_ / "4", {.bits = 4, .group_size = 32});
    quantize(demo, *dir_ / "8", {.bits = 8, .group_size = 64});
  }
  static void TearDownTestSuite() { delete dir_; }

  static Model open(const char* bits, ModelOptions options = {}) {
    if (options.mla_form == MlaForm::kAuto) options.mla_form = MlaForm::kAbsorbed;
    return Model::open(*dir_ / bits, options);
  }
  /// The best table of this machine, whatever $KL_ISA says: fast tables agree with each other, not with the reference.
  static std::string best() { return available_kernels().front()->isa; }

  static std::vector<Token> tokens(std::ptrdiff_t n, std::uint64_t seed) {
    Random random(seed);
    std::vector<Token> all(static_cast<std::size_t>(n));
    for (Token& t : all) t = static_cast<Token>(random.below(992));
    return all;
  }
  static inline TempDir* dir_ = nullptr;
};

double distance(const Rows& a, const Rows& b) {
  double error = 0, power = 0;
  for (std::size_t t = 0; t < a.size(); ++t)
    for (std::size_t i = 0; i < a[t].size(); ++i) {
      error += std::pow(double{a[t][i]} - b[t][i], 2);
      power += std::pow(double{b[t][i]}, 2);
    }
  return std::sqrt(error / power);
}

TEST_F(PackedModel, LongContextsAreTheSameHoweverManyThreadsReadThem) {
  // Texts of one, two and three stretches of keys go on together, token by token: one thread walks each of them in order,
  // some take stretches, and many take slices of their values.
  const std::size_t lengths[] = {700, 1500, 2100};
  constexpr std::int64_t kSteps = 2;
  const auto run = [&](const ModelOptions& options) {
    Model model = open("4", options);
    std::vector<SequenceState> states;
    for (const std::size_t length : lengths) {
      const auto prompt = tokens(static_cast<std::ptrdiff_t>(length), length);
      logits_of(model, {prompt.begin(), prompt.begin() + 40}, {40}, &states.emplace_back());
      states.back().repeat_to(static_cast<std::int64_t>(length));
    }
    Rows rows;
    for (std::int64_t step = 0; step < kSteps; ++step) {
      const auto next = tokens(3, 7 + static_cast<std::uint64_t>(step));
      std::vector<SequenceInput> batch;
      for (std::size_t i = 0; i < states.size(); ++i) batch.push_back({&states[i], std::span(next).subspan(i, 1)});
      Recorder together;
      model.forward(batch, together);
      for (auto& [key, row] : together.logits) rows.push_back(std::move(row));
    }
    return rows;
  };
  for (const CacheType type : {CacheType::kF32, CacheType::kBf16, CacheType::kInt8}) {
    const Rows expected = run({.threads = 1, .isa = best(), .cache_type = type});
    for (const Kernels* table : available_kernels()) {
      if (table == &reference::kernels) continue;
      for (const int threads : {2, 4, 12}) {
        EXPECT_EQ(run({.threads = threads, .isa = table->isa, .cache_type = type}), expected)
            << threads << " threads, " << table->isa << ", latents " << static_cast<int>(type);
      }
    }
  }
  const ModelOptions slow = {.threads = 1, .isa = "reference", .cache_type = CacheType::kBf16};  // with itself alone
  ModelOptions many = slow;
  many.threads = 12;
  EXPECT_EQ(run(many), run(slow));
}

TEST_F(PackedModel, SplitsChunksThreadsAndTablesChangeNothing) {
  const auto prompt = tokens(150, 1);
  for (const char* bits : {"4", "8"}) {
    for (const Compute compute : {Compute::kAuto, Compute::kF32}) {
      Model plain = open(bits, {.threads = 1, .isa = best(), .compute = compute});
      const Rows expected = logits_of(plain, prompt);
      for (const Kernels* table : available_kernels()) {
        if (table == &reference::kernels) continue;
        Model model = open(bits, {.threads = 2, .isa = table->isa, .chunk_tokens = 64, .compute = compute});
        EXPECT_EQ(logits_of(model, prompt), expected) << table->isa;
        EXPECT_EQ(logits_of(model, prompt, {1, 7, 2, 64, 3}), expected) << table->isa;
      }
    }
  }
}

TEST_F(PackedModel, RaggedBatchEqualsSingles) {
  for (const MlaForm form : {MlaForm::kAbsorbed, MlaForm::kExpanded}) {
    Model model = open("4", {.threads = 2, .chunk_tokens = 50, .mla_form = form});
    std::vector<std::vector<Token>> prompts;
    for (const std::ptrdiff_t n : {1, 2, 5, 33, 70}) prompts.push_back(tokens(n, static_cast<std::uint64_t>(n)));
    expect_batch_equals_singles(model, prompts);
  }
}

TEST_F(PackedModel, FastTablesAgreeWithTheReference) {
  const auto prompt = tokens(40, 3);
  for (const char* bits : {"4", "8"}) {
    for (const Compute compute : {Compute::kAuto, Compute::kF32}) {
      Model fast = open(bits, {.isa = best(), .compute = compute}),
            reference = open(bits, {.isa = "reference", .compute = compute});
      // Rounding activations to 8 bits turns a difference in the last bit of one into one of a whole step, here and there.
      const double budget = compute == Compute::kF32 ? 3e-6 : 3e-3;
      EXPECT_LE(distance(logits_of(fast, prompt), logits_of(reference, prompt)), budget) << bits;
    }
  }
}

TEST_F(PackedModel, FormsOfMlaAgree) {
  const auto prompt = tokens(220, 4);
  Model absorbed = open("4", {.compute = Compute::kF32});
  Model expanded = open("4", {.mla_form = MlaForm::kExpanded, .compute = Compute::kF32});
  const double d = distance(logits_of(expanded, prompt), logits_of(absorbed, prompt));
  EXPECT_LE(d, 5e-6);
  EXPECT_GT(d, 0) << "one of the forms was not used";
}

TEST_F(PackedModel, IntegersStayCloseToF32) {
  const auto prompt = tokens(100, 5);
  Model integers = open("8"), f32 = open("8", {.compute = Compute::kF32});
  const double d = distance(logits_of(integers, prompt), logits_of(f32, prompt));
  EXPECT_LE(d, 0.05);  // about 1 % a product, here and there another expert
  EXPECT_GT(d, 0) << "the switch has no effect";
}

TEST_F(PackedModel, EveryCacheTypeKeepsTheContract) {
  const auto prompt = tokens(300, 6);
  for (const CacheType type : {CacheType::kF32, CacheType::kBf16, CacheType::kInt8}) {
    for (const MlaForm form : {MlaForm::kAbsorbed, MlaForm::kExpanded}) {
      Model plain = open("8", {.threads = 1, .isa = best(), .mla_form = form, .cache_type = type});
      const Rows expected = logits_of(plain, prompt);
      for (const Kernels* table : available_kernels()) {
        if (table == &reference::kernels) continue;
        Model model =
            open("8", {.threads = 2, .isa = table->isa, .chunk_tokens = 100, .mla_form = form, .cache_type = type});
        SequenceState state;
        EXPECT_EQ(logits_of(model, prompt, {130, 1, 40}, &state), expected) << table->isa;
        const SequenceState snapshot = state;
        SequenceState again = snapshot;
        EXPECT_EQ(model.forward(again, prompt), model.forward(state, prompt));
      }
    }
  }
}

TEST_F(PackedModel, AttentionOnBf16IsUsedWhereItShouldBeAndClose) {
  const auto prompt = tokens(300, 9);
  const std::filesystem::path demo = std::filesystem::path(KL_SOURCE_DIR) / "models/demo";
  // Unquantised weights are multiplied in f32 either way: what differs is attention alone.
  for (const MlaForm form : {MlaForm::kAbsorbed, MlaForm::kExpanded}) {
    const auto run = [&](Compute compute, CacheType type) {
      Model model = Model::open(demo, {.mla_form = form, .compute = compute, .cache_type = type});
      return logits_of(model, prompt);
    };
    const double d = distance(run(Compute::kAuto, CacheType::kBf16), run(Compute::kF32, CacheType::kBf16));
    EXPECT_GT(d, 0);
    EXPECT_LE(d, 0.01);
    EXPECT_EQ(run(Compute::kAuto, CacheType::kF32), run(Compute::kF32, CacheType::kF32));
    EXPECT_EQ(run(Compute::kAuto, CacheType::kInt8), run(Compute::kF32, CacheType::kInt8));
  }
}

TEST_F(PackedModel, LongContextOnBf16IsTheSameFromStretchesSpreadOverThreads) {
  // 1100 tokens are two stretches of attention: one thread walks them in order, several take one each.
  const auto prompt = tokens(1100, 10);
  Model one = open("8", {.threads = 1}), three = open("8", {.threads = 3, .chunk_tokens = 300});
  EXPECT_EQ(logits_of(three, prompt, {1090, 1}), logits_of(one, prompt));
}

TEST_F(PackedModel, StateInBf16KeepsTheContract) {
  const auto prompt = tokens(120, 8);
  Model plain = open("8", {.threads = 1, .isa = best(), .bf16_state = true}), f32 = open("8", {.isa = best()});
  const Rows expected = logits_of(plain, prompt);
  const double d = distance(expected, logits_of(f32, prompt));
  EXPECT_GT(d, 0);
  EXPECT_LE(d, 0.05);
  EXPECT_LT(plain.make_cache().bytes(), f32.make_cache().bytes());
  EXPECT_EQ(plain.make_cache().bytes(), plain.memory_plan().state_fixed);
  for (const Kernels* table : available_kernels()) {
    if (table == &reference::kernels) continue;
    Model model = open("8", {.threads = 2, .isa = table->isa, .chunk_tokens = 50, .bf16_state = true});
    EXPECT_EQ(logits_of(model, prompt, {70, 1, 13}), expected) << table->isa;
  }
}

TEST_F(PackedModel, CacheTypesDifferByTheirRounding) {
  const auto prompt = tokens(300, 7);
  const auto run = [&](CacheType type, Compute compute = Compute::kF32) {
    Model model = open("8", {.compute = compute, .cache_type = type});
    return logits_of(model, prompt);
  };
  const Rows f32 = run(CacheType::kF32), bf16 = run(CacheType::kBf16), int8 = run(CacheType::kInt8);
  EXPECT_GT(distance(bf16, f32), 0);
  EXPECT_LE(distance(bf16, f32), 0.01);
  EXPECT_GT(distance(int8, f32), distance(bf16, f32));
  EXPECT_LE(distance(int8, f32), 0.03);
  EXPECT_EQ(run(CacheType::kAuto), f32) << "exact where exactness is asked for";
  EXPECT_EQ(run(CacheType::kAuto, Compute::kAuto), run(CacheType::kBf16, Compute::kAuto)) << "else bf16 is the default";
}

TEST_F(PackedModel, PlanCountsTheCacheType) {
  const std::size_t f32 = open("8", {.cache_type = CacheType::kF32}).memory_plan().state_per_token;
  EXPECT_EQ(f32, (64u + 16) * 4);
  EXPECT_EQ(open("8", {.cache_type = CacheType::kBf16}).memory_plan().state_per_token, f32 / 2);
  EXPECT_EQ(open("8", {.cache_type = CacheType::kInt8}).memory_plan().state_per_token, 64u + 16 + 8);
}

}  // namespace
}  // namespace kl::test
