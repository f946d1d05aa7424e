#include "kl/benchmark.h"

#include <gtest/gtest.h>

#include "tests/support/error_of.h"
#include "tests/support/golden.h"

namespace kl::test {
namespace {

/// 10 bytes per second; 100 FMA, 1000 int8 (another table: 5000) and 50 bf16 operations per second.
MachineLimits small_machine() {
  MachineLimits limits{.threads = 1, .isa = "avx512", .read_bytes_per_second = 10};
  limits.peaks = {{"avx512", "a", Arithmetic::kFma, 100},  {"avx2", "b", Arithmetic::kFma, 60},
                  {"avx512", "c", Arithmetic::kInt8, 900}, {"avx512", "d", Arithmetic::kInt8, 1000},
                  {"avx2", "e", Arithmetic::kInt8, 5000},  {"avx512", "f", Arithmetic::kBf16Dot, 50}};
  return limits;
}

TEST(MachineLimits, APeakIsTheBestOfTheTablesOwnInstructions) {
  MachineLimits limits = small_machine();
  EXPECT_EQ(limits.peak(Arithmetic::kFma), 100);
  EXPECT_EQ(limits.peak(Arithmetic::kInt8), 1000);
  limits.isa = "avx2";
  EXPECT_EQ(limits.peak(Arithmetic::kFma), 60);
  EXPECT_EQ(limits.peak(Arithmetic::kBf16Dot), 0);
  limits.isa = "reference";
  EXPECT_EQ(limits.peak(Arithmetic::kInt8), 5000);
}

TEST(MachineLimits, EachPartTakesTheLongerOfReadingAndComputing) {
  const MachineLimits limits = small_machine();
  const Cost reads{.bytes = 100, .ops = {200, 0, 0}};        // 10 s to read, 2 s to compute
  const Cost computes{.bytes = 10, .ops = {200, 3000, 50}};  // 1 s to read, 2 + 3 + 1 s to compute
  EXPECT_DOUBLE_EQ(limits.seconds(reads), 10);
  EXPECT_DOUBLE_EQ(limits.seconds(computes), 6);
  Profile profile;
  profile[ModelPart::kExperts] = reads;
  profile[ModelPart::kMla] = computes;
  EXPECT_DOUBLE_EQ(limits.seconds(profile), 16) << "a sum over parts, not the limit of their sum";
}

TEST(BenchResult, MediansAndBests) {
  BenchResult result{.test = "tg4", .tokens = 4, .runs = {30, 10, 20}, .limit = 40};
  EXPECT_EQ(result.median(), 20);
  EXPECT_EQ(result.best(), 30);
  EXPECT_EQ(result.percent_of_limit(), 50);
  EXPECT_EQ(result.per_token(24), 2);
  result.runs = {10, 40, 20, 30};
  EXPECT_EQ(result.median(), 25);
}

TEST(Benchmark, TestsAreNamedAndOrderedAsLlamaBenchHasThem) {
  Model model = Model::open(Golden("tiny").dir, {.threads = 2});
  std::vector<BenchResult> results;
  std::vector<std::string> progress;
  BenchOptions options{.prompts = {8, 300},
                       .generate = 3,
                       .depths = {0, 20, 400},
                       .batches = {1, 4},
                       .prompt_at_depth = 6,
                       .repeats = 2,
                       .breakdown = true};
  options.on_result = [&](const BenchResult& result) { results.push_back(result); };
  options.progress = [&](std::string_view test, std::int64_t done, std::int64_t total) {
    EXPECT_GT(done, 0);
    EXPECT_LE(done, total) << test;
    if (progress.empty() || progress.back() != test) progress.emplace_back(test);
  };
  EXPECT_GT(run_benchmark(model, small_machine(), options), 0u);

  std::vector<std::string> names;
  for (const BenchResult& result : results) {
    names.push_back(result.test);
    EXPECT_EQ(result.runs.size(), 2u);
    EXPECT_GT(result.median(), 0);
    EXPECT_GT(result.scheduling, 0);
    EXPECT_DOUBLE_EQ(result.limit, 1 / result.per_token(small_machine().seconds(result.profile)));
  }
  EXPECT_EQ(names, (std::vector<std::string>{"pp8", "pp300", "tg3", "tg3 @ d20", "pp6 @ d20", "tg3 @ d400",
                                             "pp6 @ d400", "tg3 x4 @ d256"}));
  EXPECT_EQ(results[7].tokens, 12);
  EXPECT_EQ(progress.front(), "reading the weights");
}

TEST(Benchmark, AFakedDepthCostsWhatARealOneDoes) {
  Model model = Model::open(Golden("tiny").dir, {.threads = 2});
  double bytes[2];
  for (const bool real : {false, true}) {
    BenchOptions options{.prompts = {}, .generate = 2, .depths = {600}, .repeats = 1, .real_depth = real};
    options.on_result = [&](const BenchResult& r) { bytes[real] = r.profile[ModelPart::kMla].bytes; };
    run_benchmark(model, small_machine(), options);
  }
  EXPECT_EQ(bytes[0], bytes[1]);
}

TEST(Benchmark, NumbersThatMakeNoSenseAreRefused) {
  Model model = Model::open(Golden("tiny").dir, {.threads = 1});
  const auto refused = [&](BenchOptions options) {
    return error_of([&] { run_benchmark(model, small_machine(), options); }).code == ErrorCode::kInvalidArgument;
  };
  EXPECT_TRUE(refused({.prompts = {0}}));
  EXPECT_TRUE(refused({.generate = -1}));
  EXPECT_TRUE(refused({.depths = {-1}}));
  EXPECT_TRUE(refused({.batches = {0}}));
  EXPECT_TRUE(refused({.repeats = 0}));
}

}  // namespace
}  // namespace kl::test
