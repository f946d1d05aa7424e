// Every field of config.json broken in every way that comes to mind.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/support/error_of.h"
#include "tests/support/mini_model.h"
#include "weights/sanitize.h"

namespace kl {
namespace {

using nlohmann::json;

json sound() { return json::parse(mini_args().to_json()); }

/// Loads a folder whose config.json is `text`, as a program would.
ErrorSeen load(const std::string& text) {
  static const TempDir dir;
  static const bool is_written = (write_mini_model(dir.path()), true);
  EXPECT_TRUE(is_written);
  put_bytes(dir / "config.json", text);
  return error_of([&] {
    const ModelArgs args = ModelArgs::load(dir.path());
    bind_weights(args, Checkpoint::open(dir.path()));
  });
}

void expect_refused(const std::string& text, const std::string& field, ErrorCode code = ErrorCode::kCorrupt) {
  const ErrorSeen seen = load(text);
  EXPECT_TRUE(seen.thrown) << field << " in " << text;
  EXPECT_EQ(seen.code, code) << seen.message;
  EXPECT_TRUE(seen.mentions("config.json: ")) << seen.message;
  EXPECT_TRUE(seen.mentions(field)) << field << " is not in: " << seen.message;
}

/// A JSON pointer "/a/b" as messages spell it: "a.b".
std::string spelled(std::string pointer) {
  pointer.erase(0, 1);
  for (char& c : pointer) c = c == '/' ? '.' : c;
  return pointer;
}

struct IntegerField {
  const char* pointer;
  bool is_required;
  bool may_be_zero;
};

const IntegerField kIntegers[] = {
    {"/vocab_size", true, false},
    {"/hidden_size", true, false},
    {"/num_hidden_layers", true, false},
    {"/linear_attn_config/head_dim", true, false},
    {"/linear_attn_config/num_heads", true, false},
    {"/linear_attn_config/short_conv_kernel_size", false, false},
    {"/num_attention_heads", true, false},
    {"/kv_lora_rank", true, false},
    {"/qk_nope_head_dim", true, false},
    {"/qk_rope_head_dim", true, true},
    {"/v_head_dim", true, false},
    {"/intermediate_size", true, false},
    {"/num_experts", false, true},
    {"/num_experts_per_token", true, false},
    {"/num_shared_experts", false, true},
    {"/moe_intermediate_size", true, false},
    {"/first_k_dense_replace", false, true},
    {"/moe_layer_freq", false, false},
    {"/num_expert_group", false, false},
    {"/topk_group", false, false},
    {"/model_max_length", false, true},
    {"/bos_token_id", false, true},
    {"/pad_token_id", false, true},
};

TEST(BrokenConfig, StartsFromASoundOne) { EXPECT_FALSE(load(sound().dump()).thrown) << load(sound().dump()).message; }

TEST(BrokenConfig, IntegersOfWrongTypeOrRangeAreRefusedByName) {
  for (const IntegerField& field : kIntegers) {
    std::vector<json> bad{"8",
                          -2,
                          1.5,
                          8.0,
                          1e30,
                          true,
                          json::array(),
                          json::object(),
                          json::array({8}),
                          9223372036854775807,
                          1e18,
                          9223372036854775808u,
                          18446744073709551615u,
                          9007199254740993,
                          2199023255552};
    if (!field.may_be_zero) bad.push_back(0);
    for (const json& value : bad) {
      json config = sound();
      config[json::json_pointer(field.pointer)] = value;
      expect_refused(config.dump(), spelled(field.pointer) + ": expected an integer from ");
    }
  }
}

TEST(BrokenConfig, RequiredIntegersAreMissedByName) {
  for (const IntegerField& field : kIntegers) {
    if (!field.is_required) continue;
    const json::json_pointer pointer(field.pointer);
    json config = sound();
    config[pointer] = nullptr;
    expect_refused(config.dump(), spelled(field.pointer) + ": missing");
    config[pointer.parent_pointer()].erase(pointer.back());
    expect_refused(config.dump(), spelled(field.pointer) + ": missing");
  }
}

TEST(BrokenConfig, OtherFieldsOfWrongTypeOrRangeAreRefusedByName) {
  const std::pair<const char*, std::vector<json>> fields[] = {
      {"/rms_norm_eps", {"1e-5", 0, -1e-5, 2, true, json::array(), 1e-60}},
      {"/routed_scaling_factor", {"1", 0, -1, 1e7, false, json::object()}},
      {"/tie_word_embeddings", {0, 1, "true", json::array()}},
      {"/moe_renormalize", {0, "false", json::object()}},
      {"/moe_router_activation_func", {"relu", "", 1, true, json::array()}},
      {"/eos_token_id",
       {-1, "x", 1.5, json::array({-1}), json::array({"x"}), json::object(), json::array({1, 4294967296})}},
      {"/dtype", {1, json::array(), true}},
      {"/linear_attn_config", {1, "x", true, json::array()}},
      {"/linear_attn_config/kda_layers",
       {nullptr, 7, "1", json::array({0}), json::array({-1}), json::array({3}), json::array({1, 1}), json::array({1.5}),
        json::array({"1"}), json::array({4294967297}), json::object()}},
      {"/linear_attn_config/full_attn_layers",
       {7, "2", json::array({0}), json::array({3}), json::array({2, 2}), json::array({1, 2}), json::object()}},
  };
  for (const auto& [pointer, values] : fields) {
    for (const json& value : values) {
      json config = sound();
      config[json::json_pointer(pointer)] = value;
      expect_refused(config.dump(), spelled(pointer));
    }
  }
}

TEST(BrokenConfig, LayersNobodyDescribesAreRefused) {
  json config = sound();
  config.erase("linear_attn_config");
  expect_refused(config.dump(), "linear_attn_config: missing (or layer_types)");
  config["layer_types"] = {"linear_attention"};
  expect_refused(config.dump(), "layer_types: expected 2 entries");
  config["layer_types"] = {"linear_attention", "sliding_attention"};
  expect_refused(config.dump(), "\"sliding_attention\"");
  config["layer_types"] = {1, 2};
  expect_refused(config.dump(), "layer_types: expected a list of strings");
  config["layer_types"] = {"linear_attention", "full_attention"};
  expect_refused(config.dump(), "linear_attn_config.head_dim: missing (or linear_head_dim)");
}

TEST(BrokenConfig, SpellingsThatDisagreeAreRefused) {
  const std::tuple<const char*, json, const char*> pairs[] = {
      {"num_local_experts", 4, "num_experts: is 2, but num_local_experts is 4"},
      {"n_routed_experts", 4, "num_experts: is 2, but n_routed_experts is 4"},
      {"num_experts_per_tok", 2, "num_experts_per_token: is 1, but num_experts_per_tok is 2"},
      {"n_shared_experts", 2, "num_shared_experts: is 1, but n_shared_experts is 2"},
      {"n_group", 2, "num_expert_group: is 1, but n_group is 2"},
      {"norm_topk_prob", false, "moe_renormalize: is true, but norm_topk_prob is false"},
      {"max_position_embeddings", 5, "model_max_length: is 1048576, but max_position_embeddings is 5"},
      {"torch_dtype", "bfloat16", "dtype: is \"float32\", but torch_dtype is \"bfloat16\""},
      {"linear_head_dim", 8, "linear_attn_config.head_dim: is 4, but linear_head_dim is 8"},
      {"layer_types", {"full_attention", "linear_attention"}, "kda_layers: disagrees with layer_types"},
      {"mlp_layer_types", {"sparse", "sparse"}, "mlp_layer_types: layer 1 is sparse"},
      {"mlp_layer_types", {"sparse"}, "mlp_layer_types: expected 2 entries"},
      {"mlp_layer_types", {"dense", "moe"}, "\"moe\""},
  };
  for (const auto& [key, value, message] : pairs) {
    json config = sound();
    config[key] = value;
    expect_refused(config.dump(), message);
  }
}

TEST(BrokenConfig, ImpossibleCombinationsAreRefused) {
  const std::tuple<json, const char*> patches[] = {
      {{{"num_experts_per_token", 3}}, "num_experts_per_token: expected at most the 2 experts"},
      {{{"num_experts", 6}, {"num_expert_group", 4}}, "num_expert_group: expected a divisor of num_experts 6"},
      {{{"num_experts", 4}, {"num_expert_group", 4}}, "num_expert_group: expected at least 2 experts a group"},
      {{{"num_experts", 4}, {"num_expert_group", 2}, {"topk_group", 3}},
       "topk_group: expected at most num_expert_group 2"},
      {{{"num_experts", 8}, {"num_expert_group", 4}, {"topk_group", 2}, {"num_experts_per_token", 5}},
       "at most the 4 experts"},
      {{{"num_attention_heads", 65536}, {"v_head_dim", 1048576}}, "num_attention_heads x v_head_dim: expected at most"},
      {{{"num_attention_heads", 65536}, {"qk_nope_head_dim", 1048576}}, "qk_nope_head_dim + qk_rope_head_dim"},
      {{{"num_shared_experts", 4096}, {"moe_intermediate_size", 1048576}},
       "num_shared_experts x moe_intermediate_size"},
      {{{"num_experts", 4096}, {"hidden_size", 1048576}, {"moe_intermediate_size", 1048576}}, "parameters in all"},
      {{{"num_hidden_layers", 4096}, {"linear_attn_config", nullptr}, {"num_experts", 4096}},
       "expected at most 500000 tensors and heads in all"},
      {{{"num_hidden_layers", 4096}, {"linear_attn_config", nullptr}, {"num_attention_heads", 65536}},
       "expected at most 500000 tensors and heads in all"},
      {{{"eos_token_id", std::vector<int>(1025, 1)}}, "eos_token_id: expected at most 1024 ids, got 1025"},
  };
  for (const auto& [patch, message] : patches) {
    json config = sound();
    config.update(patch);
    expect_refused(config.dump(), message);
  }
}

TEST(BrokenConfig, FieldsThatChangeTheMathematicsAreRefusedWithTheModelTheySuggest) {
  const std::tuple<const char*, json, const char*> fields[] = {
      {"/linear_attn_config/gate_lower_bound", -5.0, "Kimi-K3"},
      {"/linear_attn_config/lower_bound", -5.0, "flash-linear-attention"},
      {"/linear_attn_config/safe_gate", true, "flash-linear-attention"},
      {"/linear_attn_config/use_full_rank_gate", true, "Kimi-K3"},
      {"/linear_attn_config/allow_neg_eigval", true, "flash-linear-attention"},
      {"/linear_attn_config/num_v_heads", 4, "flash-linear-attention"},
      {"/gate_lower_bound", -5, "Kimi-K3"},
      {"/linear_lower_bound", -5, "glm5_next"},
      {"/use_full_rank_gate", true, "Kimi-K3"},
      {"/mla_use_output_gate", true, "Kimi-K3"},
      {"/attn_res_block_size", 12, "Kimi-K3"},
      {"/routed_expert_hidden_size", 3584, "Kimi-K3"},
      {"/latent_moe_use_norm", true, "Kimi-K3"},
      {"/hidden_act", "situ", "Kimi-K3"},
      {"/hidden_act", "gelu", "silu"},
      {"/hidden_act", 3, "silu"},
      {"/swiglu_limit", 10.0, "glm5_next"},
      {"/q_lora_rank", 1536, "DeepSeek-V3"},
      {"/mla_use_nope", false, "DeepSeek-V3"},
      {"/rope_scaling", {{"type", "yarn"}, {"factor", 4}}, "DeepSeek-V3"},
      {"/rope_parameters", {{"rope_type", "yarn"}}, "DeepSeek-V3"},
      {"/attention_bias", true, "MLA"},
      {"/sliding_window", 4096, "hybrid"},
      {"/topk_method", "greedy", "DeepSeek-V2"},
      {"/index_topk", 2048, "DeepSeek-V3.2"},
      {"/hc_mult", 4, "glm5_next"},
      {"/quantization_config", {{"quant_method", "gptq"}}, "quant_method"},
      {"/vision_config", {{"depth", 24}}, "multimodal"},
      {"/model_type", "kimi_k3", "Kimi-K3"},
      {"/model_type", "llama", "\"llama\""},
      {"/model_type", 7, "model_type"},
  };
  for (const auto& [pointer, value, suggestion] : fields) {
    json config = sound();
    config[json::json_pointer(pointer)] = value;
    expect_refused(config.dump(), spelled(pointer), ErrorCode::kUnsupported);
    EXPECT_TRUE(load(config.dump()).mentions(suggestion)) << load(config.dump()).message;
  }
}

TEST(BrokenConfig, HarmlessValuesOfTheSameFieldsAreTaken) {
  json config = sound();
  config["linear_attn_config"].update({{"gate_lower_bound", nullptr}, {"safe_gate", false}});
  config.update({{"use_full_rank_gate", false},
                 {"attn_res_block_size", nullptr},
                 {"sliding_window", nullptr},
                 {"topk_method", "noaux_tc"},
                 {"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 10000.0}}},
                 {"quantization_config", nullptr}});
  EXPECT_FALSE(load(config.dump()).thrown) << load(config.dump()).message;
  EXPECT_TRUE(ModelArgs::parse(config.dump(), "x").unknown_keys.empty());
}

TEST(BrokenConfig, TextThatIsNoConfigIsRefused) {
  for (const char* text :
       {"", " ", "null", "[]", "3", "\"x\"", "{", "{}x", "{\"a\" 1}", "{\"vocab_size\": NaN}", "{'vocab_size': 1}",
        "{\"vocab_size\": 8, \"vocab_size\": 8}", "{}", "{\"model_type\": null}", "\xff\xfe{}", "{\"a\": \"\xff\"}"}) {
    expect_refused(text, "", ErrorCode::kCorrupt);
  }
  expect_refused(std::string(100'000, '['), "nested", ErrorCode::kCorrupt);
  expect_refused("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n", "git lfs pull",
                 ErrorCode::kCorrupt);
}

TEST(BrokenConfig, NoFieldBringsControlCharactersIntoAMessage) {
  for (const char* field : {"moe_router_activation_func", "layer_types", "mlp_layer_types", "model_type", "hidden_act",
                            "topk_method", "vocab_size", "dtype"}) {
    for (const char* value : {"\x1b[31m", "\u009b31m", "\u202e"}) {
      json config = sound();
      config[field] = value;
      if (std::string_view(field).ends_with("types")) config[field] = {value, value};
      if (std::string_view(field) == "dtype") config["torch_dtype"] = "float16";  // the two must agree
      const ErrorSeen seen = load(config.dump());
      EXPECT_TRUE(seen.mentions(field)) << seen.message;
      for (const char* raw : {"\x1b", "\u009b", "\u202e"}) EXPECT_FALSE(seen.mentions(raw)) << seen.message;
    }
  }
}

TEST(BrokenConfig, CutShortAnywhereIsRefused) {
  const std::string text = sound().dump();
  for (std::size_t length = 0; length < text.size(); length += 7) expect_refused(text.substr(0, length), "");
}

TEST(BrokenConfig, AllProblemsComeInOneMessage) {
  json config = sound();
  config["vocab_size"] = -1;
  config.erase("hidden_size");
  config["linear_attn_config"]["kda_layers"] = {9};
  config["q_lora_rank"] = 1536;
  const ErrorSeen seen = load(config.dump());
  EXPECT_EQ(seen.code, ErrorCode::kCorrupt);
  for (const char* part :
       {"config.json: 4 problems", "vocab_size: expected an integer from 1", "hidden_size: missing",
        "linear_attn_config.kda_layers: expected layers from 1 to 2, got 9", "q_lora_rank: 1536 splits"}) {
    EXPECT_TRUE(seen.mentions(part)) << part << " is not in: " << seen.message;
  }
}

}  // namespace
}  // namespace kl
