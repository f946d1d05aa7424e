#include "kl/inspect.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/support/mini_model.h"

namespace kl {
namespace {

std::string oracle(const std::string& name) { return std::string(KL_SOURCE_DIR) + "/tests/golden/oracle/" + name; }

TEST(Inspect, Computes48BFromItsConfigurationAlone) {
  const TempDir dir;
  put_bytes(dir / "config.json", ModelArgs::like("48b").to_json());
  const ModelReport report = inspect(dir / "config.json");
  EXPECT_TRUE(report.problems.empty());
  EXPECT_FALSE(report.has_weights);
  EXPECT_EQ(report.config_parameters, 49'122'681'728);
  EXPECT_EQ(report.config_tensors, 20'493);
  EXPECT_NEAR(static_cast<double>(report.active_parameters), 3.107e9, 0.0005e9);
  EXPECT_EQ(report.layers.size(), 27u);
  EXPECT_EQ(report.layers[1].parameters, 39'514'272 + 1'819'607'296 + 2 * 2304);
  EXPECT_EQ(report.layers[26].attention, LayerKind::kMla);
  EXPECT_EQ(report.layers[0].feed_forward, FeedForwardKind::kDense);
  EXPECT_EQ(report.state_fixed, 41'943'040 + 2'949'120);
  EXPECT_EQ(report.state_per_token, 16'128);
  EXPECT_EQ(report.state_bytes(131'072), 44'892'160 + 131'072LL * 16'128);
}

TEST(Inspect, DescribesEveryOracleFolder) {
  const std::pair<const char*, const char*> folders[] = {{"tiny", "Hugging Face"},
                                                         {"headdims", "Hugging Face"},
                                                         {"grouped", "Hugging Face"},
                                                         {"softmax", "Hugging Face"},
                                                         {"stress", "Hugging Face"},
                                                         {"tiny-mlx-bf16", "mlx-lm"},
                                                         {"tiny-transformers", "transformers"}};
  for (const auto& [name, naming] : folders) {
    SCOPED_TRACE(name);
    const ModelReport report = inspect(oracle(name));
    EXPECT_TRUE(report.problems.empty()) << report.problems.front();
    EXPECT_TRUE(report.notes.empty()) << report.notes.front();
    EXPECT_EQ(report.naming, naming);
    EXPECT_EQ(report.file_parameters, report.config_parameters);
    EXPECT_EQ(report.files.size(), std::string(name) == "stress" ? 2u : 1u);
    EXPECT_GT(report.weights_mapped, report.weights_copied);
    std::int64_t bytes = 0;
    for (const TensorReport& tensor : report.tensors) bytes += tensor.bytes;
    EXPECT_EQ(bytes, report.tensor_bytes);
  }
}

TEST(Inspect, ReportsProblemsInsteadOfThrowing) {
  const TempDir dir;
  EXPECT_EQ(inspect(dir / "nowhere").problem_code, ErrorCode::kNotFound);
  EXPECT_EQ(inspect(dir.path()).problems.size(), 2u) << "neither configuration nor weights";

  write_mini_model(dir.path());
  EXPECT_TRUE(inspect(dir.path()).problems.empty());
  TestTensors tensors = mini_tensors();
  tensors.erase("model.norm.weight");
  tensors["extra"] = {"F32", {1}, "1234"};
  write_tensors(dir / "model.safetensors", tensors);
  const ModelReport report = inspect(dir.path());
  EXPECT_EQ(report.problems.size(), 2u);
  EXPECT_EQ(report.problem_code, ErrorCode::kCorrupt);
  EXPECT_TRUE(report.args.has_value());
  EXPECT_EQ(report.tensors.size(), tensors.size()) << "what could be read is described";

  put_bytes(dir / "config.json", "{");
  EXPECT_EQ(inspect(dir.path()).tensors.size(), tensors.size());
}

TEST(Inspect, MemoryBeyondAllNumbersIsTheLargest) {
  ModelReport report;
  report.state_fixed = 5;
  report.state_per_token = std::int64_t{1} << 35;
  EXPECT_EQ(report.state_bytes(3), 5 + (std::int64_t{3} << 35));
  EXPECT_EQ(report.state_bytes(1'000'000'000'000), std::numeric_limits<std::int64_t>::max());
}

TEST(Inspect, NotesHarmlessOddities) {
  const TempDir dir;
  ModelArgs args = mini_args();
  args.eos_token_ids = {163586};
  std::string config = args.to_json();
  config.insert(1, "\"favourite_colour\": \"blue\",");
  put_bytes(dir / "config.json", config);
  TestTensors tensors = mini_tensors();
  tensors["model.mtp.x"] = {"F32", {1}, "1234"};
  write_tensors(dir / "model.safetensors", tensors);
  const ModelReport report = inspect(dir.path());
  EXPECT_TRUE(report.problems.empty());
  ASSERT_EQ(report.notes.size(), 3u);
  EXPECT_EQ(report.notes[0], "config.json: favourite_colour is unknown and ignored");
  EXPECT_EQ(report.notes[1], "config.json: eos_token_id 163586 lies beyond the vocabulary");
  EXPECT_NE(report.notes[2].find("tables): 1"), std::string::npos);
}

}  // namespace
}  // namespace kl
