#include "verify/dump.h"

#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"

namespace kl {
namespace {

std::string oracle(const std::string& name) { return std::string(KL_SOURCE_DIR) + "/tests/golden/oracle/" + name; }

TEST(Dump, AGoldenIsReadInTheOrderOfComputation) {
  const Dump dump = read_dump(oracle("tiny/golden.safetensors"), ModelArgs::load(oracle("tiny")));
  ASSERT_EQ(dump.sequences.size(), 2u);
  EXPECT_EQ(dump.sequences[0].tokens.size(), 48u);
  EXPECT_EQ(dump.sequences[1].tokens.size(), 29u);
  std::vector<std::string> names;
  for (const DumpArray& array : dump.arrays) names.push_back(array.name);
  const std::vector<std::string> first = {"layer.0.conv_state",     "layer.0.kda_state", "layer.0.hidden",
                                          "layer.1.conv_state",     "layer.1.kda_state", "layer.1.router_ids",
                                          "layer.1.router_weights", "layer.1.hidden"};
  ASSERT_GT(names.size(), first.size());
  EXPECT_EQ(std::vector<std::string>(names.begin(), names.begin() + 8), first);
  EXPECT_EQ(names.back(), "logits2_f64");
  EXPECT_EQ(dump.precision, Precision::kF32);
  EXPECT_TRUE(dump.is_precision_declared);
  EXPECT_EQ(dump.ignored.size(), 6u);
}

TEST(Dump, LogitsMayBeOfSomePositionsOnly) {
  const Dump dump = read_dump(oracle("stress/golden.safetensors"), ModelArgs::load(oracle("stress")));
  EXPECT_EQ(dump.sequences[0].positions.size(), 64u);
  EXPECT_EQ(dump.sequences[1].positions.size(), 37u);
  EXPECT_EQ(dump.arrays.back().rows, 37);
}

}  // namespace
}  // namespace kl
