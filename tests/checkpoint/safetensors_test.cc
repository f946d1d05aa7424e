#include "kl/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>

#include "tests/support/error_of.h"
#include "tests/support/tensor_file.h"

namespace kl {
namespace {

namespace fs = std::filesystem;

TEST(Safetensors, ReadsBackWhatItWrites) {
  const TempDir dir;
  const std::vector<float> a{1, -2, 3.5f, 0, 5, 6};
  const std::vector<std::int64_t> b{-1, 1LL << 40};
  SafetensorsWriter writer(
      dir / "x.safetensors",
      {{"a", "F32", {2, 3}}, {"empty", "BF16", {0, 7}}, {"b\"\\é", "I64", {2}}, {"scalar", "U8", {}}},
      {{"format", "pt"}});
  writer.write(a.data(), 4);  // in pieces, across tensors
  writer.write(a.data() + 1, 20);
  std::string rest(reinterpret_cast<const char*>(b.data()), 16);
  rest += '\x07';
  writer.write(rest.data(), rest.size());
  EXPECT_FALSE(fs::exists(dir / "x.safetensors"));
  writer.finish();

  const SafetensorsFile file(dir / "x.safetensors");
  EXPECT_EQ(file.tensors().size(), 4u);
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(file.at("a").shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(file.numbers("a"), std::vector<double>(a.begin(), a.end()));
  EXPECT_EQ(file.integers("b\"\\é"), b);
  EXPECT_EQ(file.at("empty").bytes, 0u);
  EXPECT_TRUE(file.at("scalar").shape.empty());
  EXPECT_EQ(file.integers("scalar"), std::vector<std::int64_t>{7});
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(file.at("a").data) % 64, 0u) << "the writer aligns the data";
}

TEST(Safetensors, WidensEveryFloatTypeExactly) {
  const TempDir dir;
  const double f64 = 0.1;
  const std::uint16_t bf16 = 0x4049, f16 = 0x3555;  // 3.140625, 0.33325195...
  std::string bytes(reinterpret_cast<const char*>(&f64), 8);
  bytes.append(reinterpret_cast<const char*>(&bf16), 2).append(reinterpret_cast<const char*>(&f16), 2);
  SafetensorsWriter writer(dir / "x", {{"a", "F64", {1}}, {"b", "BF16", {1}}, {"c", "F16", {1}}});
  writer.write(bytes.data(), bytes.size());
  writer.finish();
  const SafetensorsFile file(dir / "x");
  EXPECT_EQ(file.numbers("a"), std::vector<double>{0.1});
  EXPECT_EQ(file.numbers("b"), std::vector<double>{3.140625});
  EXPECT_EQ(file.numbers("c"), std::vector<double>{0.333251953125});
  EXPECT_EQ(error_of([&] { file.integers("a"); }).code, ErrorCode::kUnsupported);
  EXPECT_EQ(error_of([&] { file.at("d"); }).message, (dir / "x").string() + ": tensor d: missing");
}

TEST(Safetensors, ReadsFilesOtherProgramsWrote) {
  const SafetensorsFile golden(std::string(KL_SOURCE_DIR) + "/tests/golden/oracle/tiny/golden.safetensors");
  EXPECT_EQ(golden.at("logits_f64").dtype, "F64");
  EXPECT_EQ(golden.at("logits_f64").shape, (std::vector<std::int64_t>{48, 320}));
  EXPECT_EQ(golden.integers("tokens").size(), 48u);
}

TEST(SafetensorsWriter, RefusesImpossibleTensorsBeforeWritingAnything) {
  const TempDir dir;
  const std::pair<TensorSpec, const char*> bad[] = {
      {{"a", "F33", {1}}, "unknown dtype"},
      {{"a", "F32", {-1}}, "impossible shape"},
      {{"a", "F32", {1LL << 62, 1LL << 62}}, "impossible shape"},
      {{"a", "F4", {3}}, "no whole number of bytes"},
      {{"a", "F32", {1, 1, 1, 1, 1, 1, 1, 1, 1}}, "at most 8 dimensions"},
      {{"", "F32", {1}}, "empty"},
      {{"a\nb", "F32", {1}}, "control characters"},
      {{"\xff", "F32", {1}}, "UTF-8"},
      {{"__metadata__", "F32", {1}}, "no name for a tensor"},
      {{"first", "F32", {1}}, "declared twice"},
  };
  for (const auto& [spec, message] : bad) {
    const ErrorSeen seen = error_of([&, &spec = spec] { SafetensorsWriter(dir / "x", {{"first", "F32", {1}}, spec}); });
    EXPECT_EQ(seen.code, ErrorCode::kInvalidArgument);
    EXPECT_TRUE(seen.mentions(message)) << seen.message;
  }
  EXPECT_TRUE(fs::is_empty(dir.path()));
}

TEST(SafetensorsWriter, HoldsTheCallerToWhatWasDeclared) {
  const TempDir dir;
  const float data[4] = {};
  {
    SafetensorsWriter writer(dir / "x", {{"a", "F32", {1}}, {"b", "F32", {2}}});
    EXPECT_EQ(error_of([&] { writer.write(data, 16); }).code, ErrorCode::kInvalidArgument);
    writer.write(data, 4);
    const ErrorSeen seen = error_of([&] { writer.finish(); });
    EXPECT_EQ(seen.code, ErrorCode::kInvalidArgument);
    EXPECT_TRUE(seen.mentions("tensor b: incomplete")) << seen.message;
  }
  EXPECT_TRUE(fs::is_empty(dir.path()));
}

TEST(SafetensorsWriter, ReplacesAFileThatIsMappedWithoutDisturbingTheMapping) {
  const TempDir dir;
  write_tensors(dir / "x", {{"a", {"U8", {1}, "1"}}});
  const SafetensorsFile old(dir / "x");
  write_tensors(dir / "x", {{"a", {"U8", {1}, "2"}}});
  EXPECT_EQ(old.integers("a"), std::vector<std::int64_t>{'1'});
  EXPECT_EQ(SafetensorsFile(dir / "x").integers("a"), std::vector<std::int64_t>{'2'});
}

}  // namespace
}  // namespace kl
