// The checkpoints in tests/golden/oracle load, and each naming gives the same weights.
#include <gtest/gtest.h>

#include "weights/sanitize.h"

namespace kl {
namespace {

std::string oracle(const std::string& name) { return std::string(KL_SOURCE_DIR) + "/tests/golden/oracle/" + name; }

TEST(BindWeights, TakesEveryOracleCheckpoint) {
  for (const char* name : {"tiny", "headdims", "grouped", "softmax", "stress", "tiny-mlx-bf16"}) {
    SCOPED_TRACE(name);
    const ModelArgs args = ModelArgs::load(oracle(name));
    const auto checkpoint = Checkpoint::open(oracle(name));
    const ModelWeights weights = bind_weights(args, checkpoint);
    EXPECT_EQ(weights.layers.size(), static_cast<std::size_t>(args.num_hidden_layers));
    EXPECT_LE(weights.mapped_bytes + weights.copied_bytes, 2 * checkpoint->bytes());
    EXPECT_EQ(args, ModelArgs::parse(args.to_json(), "again"));
    EXPECT_TRUE(args.unknown_keys.empty()) << args.unknown_keys.front();
  }
}

TEST(ReleasedTensors, Counts48B) {
  const ModelArgs args = ModelArgs::like("48b");
  EXPECT_EQ(released_size(args).parameters, 49'122'681'728.0);
  EXPECT_EQ(released_size(args).tensors, 20'493.0);
  EXPECT_EQ(released_tensors(args).size(), 20'493u);
}

}  // namespace
}  // namespace kl
