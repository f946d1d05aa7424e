// Quantised folders of other programs, broken: every rule has a file that breaks it and is refused by name.
#include <fmt/format.h>

#include "base/dtype.h"
#include "config/quantization_config.h"
#include "tests/weights/broken_folder.h"

namespace kl {
namespace {

const std::string kOracle = std::string(KL_SOURCE_DIR) + "/tests/golden/oracle/";
const std::string kModule = "model.layers.0.self_attn.q_proj";  // [64, 64]

class BrokenEncoding : public testing::Test {
 protected:
  void SetUp() override {
    config_ = json::parse(get_bytes(kOracle + folder_ + "/config.json"));
    tensors_ = read_tensors(kOracle + folder_ + "/model.safetensors");
  }

  ErrorSeen load() const {
    put_bytes(dir_ / "config.json", config_.dump());
    write_tensors(dir_ / "model.safetensors", tensors_);
    return error_of([&] {
      const ModelArgs args = ModelArgs::load(dir_.path());
      bind_weights(args, Checkpoint::open(dir_.path()), load_encoding(dir_.path()).get());
    });
  }

  void expect_refused(const std::string& part, ErrorCode code = ErrorCode::kCorrupt) const {
    const ErrorSeen seen = load();
    EXPECT_TRUE(seen.thrown);
    EXPECT_EQ(seen.code, code) << seen.message;
    EXPECT_TRUE(seen.mentions(part)) << part << " is not in: " << seen.message;
  }

  void set(const std::string& pointer, const json& value) {
    for (const char* block : {"/quantization", "/quantization_config"})
      if (config_.contains(std::string(block).substr(1))) config_[json::json_pointer(block + pointer)] = value;
  }

  static TestTensor zeros(const std::string& dtype, std::vector<std::int64_t> shape) {
    std::size_t bits = static_cast<std::size_t>(safetensors_dtype_bits(dtype));
    for (const std::int64_t dim : shape) bits *= static_cast<std::size_t>(dim);
    return {dtype, std::move(shape), std::string(bits / 8, '\0')};
  }

  std::string folder_ = "tiny-mlx-4bit-g32";
  json config_;
  TestTensors tensors_;
  const TempDir dir_;
};

// --- MLX -------------------------------------------------------------------------------------------------------------

using BrokenMlx = BrokenEncoding;

TEST_F(BrokenMlx, TheFolderItselfIsSound) { EXPECT_FALSE(load().thrown) << load().message; }

TEST_F(BrokenMlx, SettingsThatMlxDoesNotHaveAreUnsupported) {
  struct Bad {
    const char* pointer;
    json value;
    const char* message;
  };
  for (const auto& [pointer, value, message] :
       std::vector<Bad>{{"/bits", 7, "quantization.bits: expected 2, 3, 4, 5, 6, 8 for mode affine, got 7"},
                        {"/bits", "4", "quantization.bits: expected 2, 3, 4, 5, 6, 8 for mode affine, got \"4\""},
                        {"/bits", 0, "quantization.bits: expected"},
                        {"/group_size", 48, "quantization.group_size: expected 32, 64, 128 for mode affine, got 48"},
                        {"/mode", "nf4", "quantization.mode: expected affine, mxfp4, mxfp8 or nvfp4, got \"nf4\""},
                        {"/mode", 3, "quantization.mode: expected"},
                        {"/model.layers.1.mlp.gate/bits", 7, "quantization.model.layers.1.mlp.gate.bits: expected"},
                        {"/model.layers.1.mlp.gate/mode", "mxfp4",
                         "quantization.model.layers.1.mlp.gate.bits: expected 4 for mode mxfp4, got 8"}}) {
    SetUp();
    set(pointer, value);
    expect_refused(message, ErrorCode::kUnsupported);
  }
}

TEST_F(BrokenMlx, SettingsOfAnotherKindAreRefused) {
  set("/model.layers.1.mlp.gate", 3);
  expect_refused("quantization.model.layers.1.mlp.gate: expected settings or false, got 3");
  SetUp();
  config_["quantization"] = 4;
  expect_refused("quantization: expected an object, got 4");
}

TEST_F(BrokenMlx, SettingsOfAModuleThatDoesNotExistAreRefused) {
  for (const char* module :
       {"model.layers.9.mlp.gate", "model.layers.0.self_attn.q_norm", "lm_heed", "model.layers.0.mlp.gate"}) {
    SetUp();
    set(std::string("/") + module, {{"bits", 8}, {"group_size", 64}});
    expect_refused(std::string(module) +
                   ": expected a module of the model, as config.json has settings for it, got none");
  }
  SetUp();  // other namings of the same modules, and prediction heads, are taken
  set("/model.layers.3.self_attn.kv_b_proj", {{"bits", 8}, {"group_size", 64}});
  set("/model.layers.1.block_sparse_moe.experts.7.w1", false);
  set("/model.mtp.layers.0.mlp", false);
  EXPECT_FALSE(load().thrown) << load().message;
}

TEST_F(BrokenMlx, EveryTensorOfAMatrixIsChecked) {
  const std::string why = " (MLX affine, 4 bits, groups of 32)";
  struct Bad {
    const char* suffix;
    TestTensor tensor;
    std::string message;
  };
  for (const auto& [suffix, tensor, message] : std::vector<Bad>{
           {".weight", zeros("U32", {64, 16}), ".weight: expected U32 [64, 8]" + why + ", got U32 [64, 16]"},
           {".weight", zeros("U8", {64, 8}), ".weight: expected U32 [64, 8]" + why + ", got U8 [64, 8]"},
           {".weight", zeros("U32", {64}), ".weight: expected U32 [64, 8]" + why + ", got U32 [64]"},
           {".scales", zeros("F32", {64, 4}), ".scales: expected F32, F16 or BF16 [64, 2]" + why + ", got F32 [64, 4]"},
           {".scales", zeros("U8", {64, 2}), ".scales: expected F32, F16 or BF16 [64, 2]" + why + ", got U8 [64, 2]"},
           {".biases", zeros("F32", {64, 1}), ".biases: expected F32 [64, 2]" + why + ", got F32 [64, 1]"},
           {".biases", zeros("BF16", {64, 2}), ".biases: expected F32 [64, 2]" + why + ", got BF16 [64, 2]"}}) {
    SetUp();
    tensors_[kModule + suffix] = tensor;
    expect_refused(kModule + message);
  }
  for (const char* suffix : {".weight", ".scales", ".biases"}) {
    SetUp();
    tensors_.erase(kModule + suffix);
    expect_refused(kModule + suffix + ": missing, expected ");
  }
}

TEST_F(BrokenMlx, StackedMatricesAreChecked) {
  const std::string experts = "model.layers.1.mlp.switch_mlp.gate_proj";
  tensors_[experts + ".scales"] = zeros("F32", {7, 32, 2});
  expect_refused(experts + ".scales: expected F32, F16 or BF16 [8, 32, 2]");
}

TEST_F(BrokenMlx, AllProblemsComeInOneMessage) {
  tensors_.erase(kModule + ".scales");
  tensors_.erase("lm_head.biases");
  tensors_["model.embed_tokens.weight"].shape = {320, 4, 2};
  const ErrorSeen seen = load();
  for (const char* part : {"3 problems", "q_proj.scales: missing", "lm_head.biases: missing",
                           "embed_tokens.weight: expected U32 [320, 8]"})
    EXPECT_TRUE(seen.mentions(part)) << seen.message;
}

TEST_F(BrokenMlx, SettingsAndFilesMustAgree) {
  set("/bits", 8);
  expect_refused("q_proj.weight: expected U32 [64, 16] (MLX affine, 8 bits, groups of 32), got U32 [64, 8]");
  SetUp();
  set("/group_size", 64);
  expect_refused(
      "q_proj.scales: expected F32, F16 or BF16 [64, 1] (MLX affine, 4 bits, groups of 64), got F32 [64, 2]");
  SetUp();
  set("/group_size", 128);
  expect_refused("q_proj.scales: expected none: rows of 64 do not divide into groups of 128");
  SetUp();
  set("/" + kModule, false);
  expect_refused("q_proj.scales: expected none, as config.json says the module is not quantised");
  SetUp();
  set("/mode", "mxfp4");
  expect_refused("q_proj.scales: expected U8 [64, 2] (MLX mxfp4), got F32 [64, 2]");
}

TEST_F(BrokenMlx, AFolderThatDoesNotSayHowItIsQuantisedIsUnsupported) {
  config_.erase("quantization");
  config_.erase("quantization_config");
  expect_refused("q_proj.weight: expected F32, F16 or BF16 as config.json says nothing of quantised weights, got U32",
                 ErrorCode::kUnsupported);
}

TEST_F(BrokenMlx, QuantizationConfigAloneWillDo) {
  config_.erase("quantization");
  EXPECT_FALSE(load().thrown) << load().message;
}

TEST_F(BrokenMlx, ScalesThatAreNoNumbersAreRefused) {
  for (const char* suffix : {".scales", ".biases"}) {
    for (const std::uint32_t bits : {0x7fc00000u, 0x7f800000u}) {
      SetUp();
      std::memcpy(tensors_[kModule + suffix].bytes.data() + 4 * 77, &bits, 4);
      expect_refused(kModule + ".weight: expected finite weights, got others");
    }
  }
}

TEST_F(BrokenMlx, AFileCutShortIsRefused) {
  load();
  const std::string whole = get_bytes(dir_ / "model.safetensors");
  put_bytes(dir_ / "model.safetensors", whole.substr(0, whole.size() - 4));
  const ErrorSeen seen = error_of([&] { Checkpoint::open(dir_.path()); });
  EXPECT_EQ(seen.code, ErrorCode::kCorrupt);
  EXPECT_TRUE(seen.mentions("model.safetensors")) << seen.message;
}

// --- compressed-tensors ----------------------------------------------------------------------------------------------

/// The plain tiny model with one compressed module.
class BrokenCompressed : public BrokenEncoding {
 public:
  BrokenCompressed() { folder_ = "tiny"; }

  void compress(const std::string& format, const json& weights) {
    SetUp();
    config_["quantization_config"] = {
        {"quant_method", "compressed-tensors"},
        {"format", format},
        {"quantization_status", "compressed"},
        {"config_groups", {{"group_0", {{"targets", {"Linear"}}, {"weights", weights}}}}}};
  }
  void as_int() {
    compress("pack-quantized",
             {{"num_bits", 4}, {"type", "int"}, {"strategy", "group"}, {"group_size", 32}, {"symmetric", true}});
    tensors_.erase(kModule + ".weight");
    tensors_[kModule + ".weight_packed"] = zeros("I32", {64, 8});
    tensors_[kModule + ".weight_scale"] = zeros("BF16", {64, 2});
    tensors_[kModule + ".weight_shape"] = zeros("I64", {2});
    tensors_[kModule + ".weight_shape"].bytes[0] = tensors_[kModule + ".weight_shape"].bytes[8] = 64;
  }
  void as_fp8() {
    compress("float-quantized", {{"num_bits", 8}, {"type", "float"}, {"strategy", "channel"}});
    tensors_[kModule + ".weight"] = zeros("F8_E4M3", {64, 64});
    tensors_[kModule + ".weight_scale"] = zeros("F32", {64, 1});
  }
  void as_nvfp4() {
    compress("nvfp4-pack-quantized",
             {{"num_bits", 4}, {"type", "float"}, {"strategy", "tensor_group"}, {"group_size", 16}});
    tensors_.erase(kModule + ".weight");
    tensors_[kModule + ".weight_packed"] = zeros("U8", {64, 32});
    tensors_[kModule + ".weight_scale"] = zeros("F8_E4M3", {64, 4});
    tensors_[kModule + ".weight_global_scale"] = zeros("F32", {1});
    tensors_[kModule + ".weight_global_scale"].bytes.replace(2, 2, "\x80\x3f");
    tensors_[kModule + ".input_global_scale"] = zeros("F32", {1});
  }
};

TEST_F(BrokenCompressed, TheFoldersThemselvesAreSound) {
  as_int();
  EXPECT_FALSE(load().thrown) << load().message;
  as_fp8();
  EXPECT_FALSE(load().thrown) << load().message;
  as_nvfp4();
  EXPECT_FALSE(load().thrown) << load().message;
}

TEST_F(BrokenCompressed, SettingsThatKlDoesNotReadAreUnsupported) {
  const std::string group = "/config_groups/group_0/weights/",
                    name = "quantization_config.config_groups.group_0.weights.";
  struct Bad {
    std::string pointer;
    json value;
    std::string message;
  };
  for (const auto& [pointer, value, message] : std::vector<Bad>{
           {group + "num_bits", 3, name + "num_bits: expected 4, 8, got 3"},
           {group + "type", "float", name + "type: expected int, got \"float\""},
           {group + "strategy", "block", name + "strategy: expected group or channel, got \"block\""},
           {group + "group_size", 48, name + "group_size: expected 32, 64, 128, 256, 512, 1024, got 48"},
           {group + "group_size", nullptr, name + "group_size: expected 32, 64, 128, 256, 512, 1024, got null"},
           {group + "actorder", "group", name + "actorder: expected null, static or weight, got \"group\""},
           {"/format", "marlin-24",
            "group_0.format: expected pack-quantized, float-quantized or nvfp4-pack-quantized, got \"marlin-24\""},
           {"/config_groups/group_0/format", "mxfp4-pack-quantized", "group_0.format: expected pack-quantized"},
           {"/quantization_status", "frozen", "quantization_status: expected \"compressed\", got \"frozen\""},
           {"/transform_config", {{"config_groups", {{"R1", 1}}}}, "transform_config: expected none"},
           {"/sparsity_config", {{"format", "sparse-bitmask"}}, "sparsity_config: expected none"},
           {"/quant_method", "gptq",
            "quantization_config.quant_method: expected kl or compressed-tensors, got \"gptq\""}}) {
    as_int();
    set(pointer, value);
    expect_refused(message, ErrorCode::kUnsupported);
  }
  as_fp8();
  set(group + "symmetric", false);
  expect_refused(name + "symmetric: expected true, got false", ErrorCode::kUnsupported);
}

TEST_F(BrokenCompressed, GroupsMustBeThere) {
  as_int();
  set("/config_groups", json::object());
  expect_refused("config_groups: expected an object with groups, got an object");
  as_int();
  set("/config_groups/group_0", {{"weights", nullptr}});
  expect_refused("config_groups.group_0.weights: expected an object, got null");
}

TEST_F(BrokenCompressed, EveryTensorOfAMatrixIsChecked) {
  struct Bad {
    void (BrokenCompressed::*make)();
    const char* suffix;
    TestTensor tensor;
    std::string message;
  };
  const auto as_int = &BrokenCompressed::as_int, as_fp8 = &BrokenCompressed::as_fp8,
             as_nvfp4 = &BrokenCompressed::as_nvfp4;
  for (const auto& [make, suffix, tensor, message] : std::vector<Bad>{
           {as_int, ".weight_packed", zeros("I32", {64, 16}),
            "expected I32 [64, 8] (compressed-tensors int, 4 bits, groups of 32), got I32 [64, 16]"},
           {as_int, ".weight_scale", zeros("BF16", {64, 1}),
            "expected F32, F16 or BF16 [64, 2] (compressed-tensors int, 4 bits, groups of 32), got BF16 [64, 1]"},
           {as_int, ".weight_scale", zeros("I32", {64, 2}), "got I32 [64, 2]"},
           {as_int, ".weight_shape", zeros("I64", {2}), "expected [64, 64], got [0, 0]"},
           {as_int, ".weight_shape", zeros("I32", {2}), "expected I64 [2]"},
           {as_int, ".weight_packed", zeros("U8", {64, 32}),
            "expected one of the formats that config.json lists, got U8"},
           {as_int, ".weight_zero_point", zeros("I32", {8, 2}),
            "expected none, as config.json says that the integers are symmetric"},
           {as_fp8, ".weight", zeros("F8_E4M3", {64, 32}),
            "expected F8_E4M3 [64, 64] (compressed-tensors fp8, a scale a row), got F8_E4M3 [64, 32]"},
           {as_fp8, ".weight", zeros("F8_E5M2", {64, 64}), "expected F8_E4M3 [64, 64]"},
           {as_fp8, ".weight_scale", zeros("F32", {1}),
            "expected F32, F16 or BF16 [64, 1] (compressed-tensors fp8, a scale a row), got F32 [1]"},
           {as_nvfp4, ".weight_packed", zeros("U8", {64, 64}),
            "expected U8 [64, 32] (compressed-tensors nvfp4), got U8 [64, 64]"},
           {as_nvfp4, ".weight_scale", zeros("U8", {64, 4}),
            "expected F8_E4M3 [64, 4] (compressed-tensors nvfp4), got U8 [64, 4]"},
           {as_nvfp4, ".weight_global_scale", zeros("F32", {2}),
            "expected F32 [1] (compressed-tensors nvfp4), got F32 [2]"}}) {
    (this->*make)();
    tensors_[kModule + suffix] = tensor;
    expect_refused(kModule + suffix + ": ");
    expect_refused(message);
  }
}

TEST_F(BrokenCompressed, EveryTensorOfAMatrixMustBeThere) {
  for (const char* suffix : {".weight_packed", ".weight_scale", ".weight_shape"}) {
    as_int();
    tensors_.erase(kModule + suffix);
    expect_refused(kModule + suffix + ": missing, expected ");
  }
  as_int();
  set("/config_groups/group_0/weights/symmetric", false);
  expect_refused(kModule + ".weight_zero_point: missing, expected I32 [8, 2]");
  for (const char* suffix : {".weight", ".weight_scale"}) {
    as_fp8();
    tensors_.erase(kModule + suffix);
    expect_refused(kModule + suffix + ": missing, expected ");
  }
  for (const char* suffix : {".weight_scale", ".weight_global_scale"}) {
    as_nvfp4();
    tensors_.erase(kModule + suffix);
    expect_refused(kModule + suffix + ": missing, expected ");
  }
}

TEST_F(BrokenCompressed, WeightsThatAreNoNumbersAreRefused) {
  as_int();
  tensors_[kModule + ".weight_scale"].bytes.replace(6, 2, "\x80\x7f");
  expect_refused(kModule + ".weight: expected finite weights, got others");
  as_fp8();
  tensors_[kModule + ".weight"].bytes[1000] = 0x7f;
  expect_refused(kModule + ".weight: expected finite weights, got others");
  as_nvfp4();
  tensors_[kModule + ".weight_global_scale"] = zeros("F32", {1});
  expect_refused(kModule + ".weight: expected finite weights, got others");
}

}  // namespace
}  // namespace kl
