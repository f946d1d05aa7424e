#include "packing/predicates.h"

#include <gtest/gtest.h>

#include "kl/safetensors.h"

namespace kl {
namespace {

TEST(CastPredicate, AgreesWithTheTypesMlxLmWrote) {
  const SafetensorsFile file(std::string(KL_SOURCE_DIR) + "/tests/golden/oracle/tiny-mlx-bf16/model.safetensors");
  for (const auto& [name, tensor] : file.tensors()) EXPECT_EQ(cast_predicate(name), tensor.dtype == "BF16") << name;
}

TEST(QuantPredicate, GivesTheRouterEightBitsAndTheRestTheBase) {
  const QuantRule base{4, 32};
  const auto bits = [&](const char* name, int rank, long long cols) {
    const auto rule = quant_predicate(name, rank, cols, base);
    return rule ? rule->bits * 1000 + rule->group_size : 0;
  };
  EXPECT_EQ(bits("model.layers.1.self_attn.q_proj.weight", 2, 64), 4032);
  EXPECT_EQ(bits("model.layers.1.mlp.switch_mlp.up_proj.weight", 3, 64), 4032);
  EXPECT_EQ(bits("model.layers.1.mlp.gate.weight", 2, 64), 8064);
  EXPECT_EQ(bits("model.layers.1.block_sparse_moe.gate.weight", 2, 2304), 8064);
  EXPECT_EQ(bits("model.layers.0.mlp.gate_proj.weight", 2, 64), 4032) << "a projection, not the router";
  EXPECT_EQ(bits("model.layers.1.mlp.gate.weight", 2, 96), 0) << "96 is no multiple of 64";
  EXPECT_EQ(bits("model.layers.1.self_attn.q_proj.weight", 2, 48), 0);
}

TEST(QuantPredicate, LeavesSmallAndSensitiveTensorsAlone) {
  for (const char* name :
       {"self_attn.A_log", "self_attn.dt_bias", "mlp.gate.e_score_correction_bias", "input_layernorm.weight"}) {
    EXPECT_FALSE(quant_predicate(name, 1, 64, {}).has_value()) << name;
  }
  EXPECT_FALSE(quant_predicate("self_attn.q_conv1d.weight", 3, 64, {}).has_value());
  EXPECT_FALSE(quant_predicate("self_attn.q_conv.conv.weight", 3, 64, {}).has_value());
  EXPECT_FALSE(quant_predicate("self_attn.A_log", 4, 64, {}).has_value());
}

}  // namespace
}  // namespace kl
