#include "verify/suspicions.h"

#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <limits>
#include <random>

namespace kl {
namespace {

/// Tensors of f32 numbers that live as long as the object.
class Tensors {
 public:
  Unit& add(const std::string& name, std::vector<float> values) {
    values_.push_back(std::move(values));
    const std::vector<float>& kept = values_.back();
    Unit unit{name, role_of(name), "f", "F32", reinterpret_cast<const std::byte*>(kept.data()), 4 * kept.size(), {},
              {}};
    unit.layout = number_layout(name, {"F32", {static_cast<std::int64_t>(kept.size())}, unit.data, unit.bytes});
    unit.stats = scan(unit.layout, unit.data, unit.bytes);
    return units_.emplace_back(std::move(unit));
  }
  std::vector<float> normal(std::size_t n, float scale = 1) {
    std::normal_distribution<float> draw(0, scale);
    std::vector<float> values(n);
    for (float& x : values) x = draw(random_);
    return values;
  }
  std::vector<Finding> findings() const {
    std::vector<Finding> found;
    find_not_finite(units_, found);
    find_suspicions(units_, false, found);
    return found;
  }

 private:
  std::mt19937 random_{3};
  std::deque<std::vector<float>> values_;
  std::vector<Unit> units_;
};

/// The only finding there should be.
void expect_only(const Tensors& tensors, FindingRule rule, const std::string& tensor, const std::string& part_of_text) {
  const std::vector<Finding> found = tensors.findings();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].rule, rule) << found[0].text;
  EXPECT_EQ(found[0].tensor, tensor);
  EXPECT_NE(found[0].text.find(part_of_text), std::string::npos) << found[0].text;
}

TEST(Suspicions, HealthyTensorsHaveNone) {
  Tensors t;
  for (int layer = 0; layer < 6; ++layer) {
    t.add("model.layers." + std::to_string(layer) + ".w.weight",
          t.normal(3000, 0.02f * static_cast<float>(1 + layer % 3)));
    t.add("model.layers." + std::to_string(layer) + ".norm.weight", std::vector<float>(200, 1.0f));
  }
  t.add("model.layers.1.mlp.gate.e_score_correction_bias", std::vector<float>(256, 0.0f));
  EXPECT_TRUE(t.findings().empty());
}

TEST(Suspicions, NumbersThatAreNoneAreCounted) {
  Tensors t;
  std::vector<float> values = t.normal(5000);
  values[4099] = std::numeric_limits<float>::quiet_NaN();
  values[4100] = -std::numeric_limits<float>::infinity();
  t.add("w.weight", values);
  expect_only(t, FindingRule::kNotFinite, "w.weight", "got 1 NaN and 1 infinite of 5000, the first at 4099");
}

TEST(Suspicions, ZerosAndOneNumberOverAndOver) {
  Tensors zeros, ones;
  zeros.add("w.weight", std::vector<float>(100, 0.0f));
  expect_only(zeros, FindingRule::kZero, "w.weight", "got 100 zeros");
  ones.add("w.weight", std::vector<float>(100, 0.5f));
  expect_only(ones, FindingRule::kEqual, "w.weight", "got 100 times 0.5");
}

TEST(Suspicions, OneWeightOutOfBounds) {
  Tensors huge, far;
  std::vector<float> values = huge.normal(2000, 0.02f);
  values[77] = -3e30f;
  huge.add("w.weight", values);
  expect_only(huge, FindingRule::kHuge, "w.weight", "got -3e+30");
  values = far.normal(2000, 0.02f);
  values[77] = 100;
  far.add("w.weight", values);
  expect_only(far, FindingRule::kOutlier, "w.weight", "got 100");
}

TEST(Suspicions, ANormFarFromThoseOfOtherLayers) {
  Tensors t;
  for (int layer = 0; layer < 8; ++layer) {
    std::vector<float> norm = t.normal(64, 0.1f);
    for (float& x : norm) x = (1 + x) * (layer == 5 ? 20.0f : 1.0f);
    t.add("model.layers." + std::to_string(layer) + ".input_layernorm.weight", norm);
  }
  expect_only(t, FindingRule::kPeers, "model.layers.5.input_layernorm.weight", "its 7 peers");
}

TEST(Suspicions, TheSameExpertTwice) {
  Tensors t;
  const std::vector<float> expert = t.normal(500);
  t.add("experts.0.w1.weight", expert);
  t.add("experts.1.w1.weight", t.normal(500));
  t.add("experts.2.w1.weight", expert);
  expect_only(t, FindingRule::kDuplicate, "experts.2.w1.weight", "got the 2000 bytes of experts.0.w1.weight in f");
}

TEST(NumberLayout, FindsScalesInBlocksAndPackedWeights) {
  const std::vector<std::byte> bytes(4 * 544);
  const NumberLayout packed = number_layout("lm_head.q4_g32_f16", {"U8", {1, 4, 544}, bytes.data(), bytes.size()});
  EXPECT_EQ(packed.type, NumberType::kF16);
  EXPECT_EQ(packed.count * 2, packed.block_bytes - 512);
  std::vector<std::byte> blocks(3 * 144);
  blocks[144 + 1] = std::byte{0x7c};  // the second block's scale: infinity
  const NumberLayout ggml = number_layout("w", {"Q4_K", {3, 256}, blocks.data(), blocks.size()});
  const TensorStats stats = scan(ggml, blocks.data(), blocks.size());
  EXPECT_EQ(stats.count, 6);
  EXPECT_EQ(stats.infs, 1);
  EXPECT_EQ(stats.first_bad, 2);
  EXPECT_EQ(number_layout("w.weight", {"U32", {1}, blocks.data(), 4}).count, 0);
}

TEST(TensorScan, PiecesGiveWhatTheWholeGives) {
  std::mt19937 random(5);
  std::vector<float> values(10'000);
  for (float& x : values) x = static_cast<float>(static_cast<int>(random() % 2000) - 1000) / 256;
  values[9001] = 0;
  const auto* data = reinterpret_cast<const std::byte*>(values.data());
  const NumberLayout layout = number_layout("w", {"F32", {10'000}, data, 40'000});
  const TensorStats whole = scan(layout, data, 40'000);
  TensorStats sum;
  for (std::size_t at = 0; at < 40'000; at += 8000) sum.append(scan(layout, data + at, 8000));
  EXPECT_EQ(sum.count, whole.count);
  EXPECT_EQ(sum.min, whole.min);
  EXPECT_EQ(sum.max, whole.max);
  EXPECT_EQ(sum.zeros, whole.zeros);
  EXPECT_NEAR(sum.rms(), whole.rms(), 1e-6);
  double squares = 0;
  for (const float x : values) squares += static_cast<double>(x) * x;
  EXPECT_NEAR(whole.rms(), std::sqrt(squares / 10'000), 1e-5);
}

}  // namespace
}  // namespace kl
