// Every encoding: what its numbers are, and that the form in memory holds exactly those.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "encodings/bit_rows.h"
#include "encodings/compressed_tensors.h"
#include "encodings/mlx.h"
#include "kernels/select.h"
#include "packing/packed_name.h"
#include "packing/repack.h"
#include "tests/support/encoded.h"

namespace kl::test {
namespace {

using Stored = std::shared_ptr<const StoredMatrix>;

std::vector<float> row_of(const Stored& stored, std::int64_t row) {
  std::vector<float> w(static_cast<std::size_t>(stored->cols()));
  stored->decode_row(row, w.data());
  return w;
}

/// The matrix in memory is the stored one, bit for bit, to every kernel table; also upside down and in part.
void expect_held_exactly(const Stored& stored) {
  Repacking repacking(false);
  const std::int64_t N = stored->rows(), K = stored->cols(), half = N / 2;
  const WeightMatrix whole = repacking.add(stored, {0, N, false}, "w");
  const WeightMatrix part = repacking.add(stored, {half, N - half, false}, "w");
  const WeightMatrix turned = repacking.add(stored, {0, N, true}, "w");
  ASSERT_TRUE(repacking.run().empty());
  ASSERT_NE(turned.type, DType::kPacked);
  const auto bits = [](float x) { return std::bit_cast<std::uint32_t>(x); };
  for (const Kernels* kernels : available_kernels()) {
    std::vector<float> held(static_cast<std::size_t>(K)), column(static_cast<std::size_t>(N));
    for (std::int64_t n = 0; n < N; ++n) {
      const std::vector<float> w = row_of(stored, n);
      kernels->weight_row(whole, n, held.data());
      for (std::size_t k = 0; k < w.size(); ++k) ASSERT_EQ(bits(held[k]), bits(w[k])) << n << ", " << k;
      if (n >= half) kernels->weight_row(part, n - half, held.data());
      ASSERT_EQ(held, w) << n;
    }
    for (std::int64_t k = 0; k < K; ++k) {
      kernels->weight_row(turned, k, column.data());
      for (std::int64_t n = 0; n < N; ++n)
        ASSERT_EQ(column[static_cast<std::size_t>(n)], row_of(stored, n)[static_cast<std::size_t>(k)]);
    }
  }
}

Stored find(const std::unique_ptr<const Encoding>& encoding, MemoryTensors& tensors, std::int64_t rows,
            std::int64_t cols) {
  const StoredModule found = encoding->find("m", {rows, cols}, tensors);
  EXPECT_TRUE(found.is_encoded && found.matrix) << (tensors.complaints.empty() ? "" : tensors.complaints.front());
  return found.matrix;
}

// --- MLX -------------------------------------------------------------------------------------------------------------

std::unique_ptr<const Encoding> mlx(const std::string& settings) {
  Problems problems;
  auto encoding = std::make_unique<MlxEncoding>(Json::parse(settings, "x"), "quantization", problems);
  EXPECT_TRUE(problems.empty()) << problems.lines().front();
  return encoding;
}

struct AffineCase {
  int bits, group;
  std::string dtype;
};

class MlxAffine : public testing::TestWithParam<AffineCase> {};

TEST_P(MlxAffine, IsHeldExactly) {
  const auto& [bits, group, dtype] = GetParam();
  Random random(static_cast<std::uint64_t>(bits * 1000 + group));
  const std::int64_t rows = 37, cols = group == 32 ? 96 : 2 * group, groups = cols / group;
  MemoryTensors tensors;
  tensors.put(
      "m.weight",
      {"U32", {rows, cols * bits / 32}, random_bytes(static_cast<std::size_t>(rows * cols * bits / 8), random)});
  for (const char* name : {"m.scales", "m.biases"})
    tensors.put(name, {dtype, {rows, groups}, random_floats(dtype, static_cast<std::size_t>(rows * groups), random)});
  const auto encoding = mlx(fmt::format(R"({{"bits": {}, "group_size": {}}})", bits, group));
  const Stored stored = find(encoding, tensors, rows, cols);
  expect_held_exactly(stored);
  EXPECT_EQ(held_text(stored->held_as()), fmt::format("q{}_g{}m_{}", bits <= 4 ? 4 : 8, group == 32 ? 32 : 64,
                                                      dtype == "F32"   ? "f32"
                                                      : dtype == "F16" ? "f16"
                                                                       : "bf16"));
}

std::vector<AffineCase> affine_cases() {
  std::vector<AffineCase> all;
  for (const int bits : {2, 3, 4, 5, 6, 8})
    for (const int group : {32, 64, 128})
      for (const char* dtype : {"F32", "F16", "BF16"}) all.push_back({bits, group, dtype});
  return all;
}
INSTANTIATE_TEST_SUITE_P(All, MlxAffine, testing::ValuesIn(affine_cases()), [](const auto& instance) {
  return fmt::format("{}bit_g{}_{}", instance.param.bits, instance.param.group, instance.param.dtype);
});

/// Numbers 0, 1, 2, ... of `bits` bits written into a stream one bit at a time.
std::string counting_stream(int bits, int n) {
  std::string bytes(static_cast<std::size_t>(n * bits / 8), '\0');
  for (int j = 0; j < n; ++j)
    for (int b = 0; b < bits; ++b)
      if ((j % (1 << bits) >> b & 1) != 0)
        bytes[static_cast<std::size_t>((j * bits + b) / 8)] |= static_cast<char>(1 << (j * bits + b) % 8);
  return bytes;
}

TEST(MlxAffine, NumbersCrossTheBordersOfBytesAndWords) {
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    SCOPED_TRACE(bits);
    MemoryTensors tensors;
    const float scale = 2, bias = -3;
    tensors.put("m.weight", {"U32", {1, bits}, counting_stream(bits, 32)});
    tensors.put("m.scales", {"F32", {1, 1}, std::string(reinterpret_cast<const char*>(&scale), 4)});
    tensors.put("m.biases", {"F32", {1, 1}, std::string(reinterpret_cast<const char*>(&bias), 4)});
    const auto encoding = mlx(fmt::format(R"({{"bits": {}, "group_size": 32}})", bits));
    const std::vector<float> w = row_of(find(encoding, tensors, 1, 32), 0);
    for (int j = 0; j < 32; ++j)
      EXPECT_EQ(w[static_cast<std::size_t>(j)], static_cast<float>(2 * (j % (1 << bits)) - 3)) << j;
  }
}

TEST(BitRows, FastAndPlainUnpackingAgree) {
  Random random(7);
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    const std::string bytes = random_bytes(static_cast<std::size_t>(16 * bits), random);
    const auto* row = reinterpret_cast<const std::byte*>(bytes.data());
    std::uint8_t q[128];
    unpack_bits(row, bits, 128, q);
    for (int j = 0; j < 128; ++j) ASSERT_EQ(q[j], bits_at(row, bits, j)) << bits << ", " << j;
  }
}

/// Bytes in [low, high] that are no NaN of E4M3.
std::string bytes_between(int low, int high, std::size_t n, Random& random) {
  std::string bytes;
  while (bytes.size() < n) {
    const auto byte = static_cast<char>(low + static_cast<int>(random.below(high - low + 1)));
    if ((byte & 0x7f) != 0x7f) bytes += byte;
  }
  return bytes;
}

TEST(MlxFloats, AreHeldExactly) {
  struct Mode {
    const char* name;
    int bits, group, low, high;  // of scale bytes
    const char* held;
  };
  for (const Mode& mode : {Mode{"mxfp4", 4, 32, 0, 248, "q8_g32_bf16"}, Mode{"mxfp8", 8, 32, 3, 245, "BF16"},
                           Mode{"mxfp8", 8, 32, 0, 100, "F32"}, Mode{"nvfp4", 4, 16, 0, 126, "BF16"}}) {
    SCOPED_TRACE(mode.name);
    Random random(5);
    const std::int64_t rows = 19, cols = 160;
    MemoryTensors tensors;
    const auto words = static_cast<std::size_t>(rows * cols * mode.bits / 8);
    tensors.put("m.weight", {"U32", {rows, cols * mode.bits / 32}, bytes_between(0, 255, words, random)});
    const std::int64_t groups = cols / mode.group;
    tensors.put(
        "m.scales",
        {"U8", {rows, groups}, bytes_between(mode.low, mode.high, static_cast<std::size_t>(rows * groups), random)});
    const auto encoding = mlx(fmt::format(R"({{"mode": "{}"}})", mode.name));
    const Stored stored = find(encoding, tensors, rows, cols);
    EXPECT_EQ(held_text(stored->held_as()), mode.held);
    expect_held_exactly(stored);
  }
}

TEST(MlxFloats, ValuesByHand) {
  MemoryTensors tensors;
  std::string codes(16, '\0');
  codes[0] = static_cast<char>(0xf1);  // 0.5, -6
  codes[15] = 0x7a;                    // -1, 6
  tensors.put("m.weight", {"U32", {1, 4}, codes});
  tensors.put("m.scales", {"U8", {1, 1}, std::string(1, static_cast<char>(129))});  // 4
  const std::vector<float> w = row_of(find(mlx(R"({"mode": "mxfp4"})"), tensors, 1, 32), 0);
  EXPECT_EQ(w[0], 2);
  EXPECT_EQ(w[1], -24);
  EXPECT_EQ(w[2], 0);
  EXPECT_EQ(w[30], -4);
  EXPECT_EQ(w[31], 24);
}

TEST(MlxFloats, GroupsOfZerosMayHaveTheLeastScale) {
  MemoryTensors tensors;
  tensors.put("m.weight", {"U32", {1, 16}, std::string(32, '\0') + std::string(32, '\x44')});
  tensors.put("m.scales", {"U8", {1, 2}, std::string("\0\x70", 2)});
  EXPECT_EQ(held_text(find(mlx(R"({"mode": "mxfp8"})"), tensors, 1, 64)->held_as()), "BF16");
}

TEST(MlxSettings, OfAPathWinAndAreAffineWithoutAMode) {
  const auto encoding = mlx(R"({"mode": "mxfp4", "m": {"bits": 8, "group_size": 64}, "plain": false})");
  MemoryTensors tensors;
  tensors.put("m.weight", {"U32", {1, 16}, std::string(64, 'x')});
  tensors.put("m.scales", {"BF16", {1, 1}, std::string(2, 'x')});
  tensors.put("m.biases", {"BF16", {1, 1}, std::string(2, 'x')});
  tensors.put("plain.weight", {"F32", {1, 64}, std::string(256, 'x')});
  EXPECT_EQ(find(encoding, tensors, 1, 64)->encoding(), "MLX affine, 8 bits, groups of 64");
  EXPECT_FALSE(encoding->find("plain", {1, 64}, tensors).is_encoded);
  EXPECT_FALSE(encoding->find("absent", {1, 64}, tensors).is_encoded);
  EXPECT_TRUE(tensors.complaints.empty());
}

// --- compressed-tensors ----------------------------------------------------------------------------------------------

std::unique_ptr<const Encoding> compressed(const std::string& format, const std::string& weights) {
  Problems problems;
  auto encoding = std::make_unique<CompressedTensorsEncoding>(
      Json::parse(
          fmt::format(R"({{"format": "{}", "config_groups": {{"group_0": {{"weights": {}}}}}}})", format, weights),
          "x"),
      problems);
  EXPECT_TRUE(problems.empty()) << problems.lines().front();
  return encoding;
}

std::string shape_bytes(std::int64_t rows, std::int64_t cols) {
  const std::int64_t shape[] = {rows, cols};
  return {reinterpret_cast<const char*>(shape), sizeof shape};
}

TEST(CompressedInt, IsHeldExactly) {
  for (const int bits : {4, 8})
    for (const int group : {0, 32, 128})
      for (const bool symmetric : {true, false})
        for (const std::string dtype : {"BF16", "F16", "F32"}) {
          SCOPED_TRACE(fmt::format("{} bits, group {}, {} {}", bits, group, symmetric, dtype));
          Random random(11);
          const std::int64_t rows = 19, cols = group == 0 ? 72 : 256, groups = group == 0 ? 1 : cols / group;
          const std::int64_t words = cols * bits / 32, zero_rows = (rows * bits + 31) / 32;
          MemoryTensors tensors;
          tensors.put("m.weight_packed",
                      {"I32", {rows, words}, random_bytes(static_cast<std::size_t>(4 * rows * words), random)});
          tensors.put("m.weight_scale",
                      {dtype, {rows, groups}, random_floats(dtype, static_cast<std::size_t>(rows * groups), random)});
          tensors.put("m.weight_shape", {"I64", {2}, shape_bytes(rows, cols)});
          if (!symmetric)
            tensors.put(
                "m.weight_zero_point",
                {"I32", {zero_rows, groups}, random_bytes(static_cast<std::size_t>(4 * zero_rows * groups), random)});
          const auto encoding = compressed(
              "pack-quantized",
              fmt::format(R"({{"num_bits": {}, "type": "int", "strategy": "{}", "group_size": {}, "symmetric": {}}})",
                          bits, group == 0 ? "channel" : "group", group == 0 ? "null" : std::to_string(group),
                          symmetric));
          const Stored stored = find(encoding, tensors, rows, cols);
          expect_held_exactly(stored);
          const std::string held = symmetric        ? fmt::format("q{}_g32_{}", bits,
                                                           dtype == "F32"   ? "f32"
                                                                  : dtype == "F16" ? "f16"
                                                                                   : "bf16")
                                   : dtype == "F32" ? "F32"
                                                    : fmt::format("q{}_g32m_f32", bits);
          EXPECT_EQ(held_text(stored->held_as()), held);
        }
}

TEST(CompressedInt, ValuesByHand) {
  MemoryTensors tensors;
  const float scale = 0.5f;
  std::string packed(2 * 16, '\x88'), zero_points(4, '\0');
  packed[0] = static_cast<char>(0xf0);       // row 0: 0, 15
  packed[31] = 0x3a;                         // row 1, last two: 10, 3
  zero_points[0] = static_cast<char>(0x9a);  // rows 0 and 1: 10, 9
  tensors.put("m.weight_packed", {"I32", {2, 4}, packed});
  tensors.put("m.weight_scale", {"F32",
                                 {2, 1},
                                 std::string(reinterpret_cast<const char*>(&scale), 4) +
                                     std::string(reinterpret_cast<const char*>(&scale), 4)});
  tensors.put("m.weight_shape", {"I64", {2}, shape_bytes(2, 32)});
  const std::string settings = R"({"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32, "symmetric": )";
  const Stored symmetric = find(compressed("pack-quantized", settings + "true}"), tensors, 2, 32);
  EXPECT_EQ(row_of(symmetric, 0)[0], -4);
  EXPECT_EQ(row_of(symmetric, 0)[1], 3.5);
  EXPECT_EQ(row_of(symmetric, 0)[2], 0);
  EXPECT_EQ(row_of(symmetric, 1)[30], 1);
  EXPECT_EQ(row_of(symmetric, 1)[31], -2.5);
  tensors.put("m.weight_zero_point", {"I32", {1, 1}, zero_points});
  const Stored zeroed = find(compressed("pack-quantized", settings + "false}"), tensors, 2, 32);
  EXPECT_EQ(row_of(zeroed, 0)[0], -5);
  EXPECT_EQ(row_of(zeroed, 1)[31], -3);
}

TEST(CompressedFloats, AreHeldExactlyAndAreTheirProducts) {
  Random random(3);
  const std::int64_t rows = 5, cols = 48;
  MemoryTensors tensors;
  tensors.put("m.weight",
              {"F8_E4M3", {rows, cols}, bytes_between(0, 255, static_cast<std::size_t>(rows * cols), random)});
  tensors.put("m.weight_scale", {"BF16", {rows, 1}, random_floats("BF16", static_cast<std::size_t>(rows), random)});
  const Stored fp8 = find(compressed("float-quantized", R"({"num_bits": 8, "type": "float", "strategy": "channel"})"),
                          tensors, rows, cols);
  EXPECT_EQ(held_text(fp8->held_as()), "F32");
  expect_held_exactly(fp8);

  MemoryTensors packed;
  const float global = 0.75f;
  packed.put("m.weight_packed",
             {"U8", {rows, cols / 2}, std::string(static_cast<std::size_t>(rows * cols / 2), '\x2f')});  // -6, 1
  packed.put("m.weight_scale",
             {"F8_E4M3", {rows, cols / 16}, std::string(static_cast<std::size_t>(rows * cols / 16), '\x3c')});  // 1.5
  packed.put("m.weight_global_scale", {"F32", {1}, std::string(reinterpret_cast<const char*>(&global), 4)});
  packed.put("m.input_global_scale", {"F32", {1}, std::string(4, 'x')});
  const Stored nvfp4 =
      find(compressed("nvfp4-pack-quantized",
                      R"({"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16})"),
           packed, rows, cols);
  expect_held_exactly(nvfp4);
  EXPECT_EQ(row_of(nvfp4, 4)[46], -12);
  EXPECT_EQ(row_of(nvfp4, 4)[47], 2);
}

TEST(Repacking, NamesTensorsWithWeightsThatAreNoNumbers) {
  MemoryTensors tensors;
  tensors.put("m.weight", {"U32", {1, 4}, std::string(16, '\0')});
  for (const int scale : {249, 255}) {  // -128 times the one, held as the minimum, is beyond f32
    tensors.put("m.scales", {"U8", {1, 1}, std::string(1, static_cast<char>(scale))});
    Repacking repacking(false);
    repacking.add(find(mlx(R"({"mode": "mxfp4"})"), tensors, 1, 32), {0, 1, false}, "m.weight");
    EXPECT_EQ(repacking.run(), std::vector<std::string>{"m.weight"});
  }
}

TEST(Repacking, CountsWithoutConvertingIfAsked) {
  MemoryTensors tensors;
  tensors.put("m.weight", {"U32", {16, 8}, std::string(16 * 32, '\0')});
  tensors.put("m.scales", {"U8", {16, 2}, std::string(32, '\x70')});
  Repacking repacking(true);
  const WeightMatrix m = repacking.add(find(mlx(R"({"mode": "mxfp4"})"), tensors, 16, 64), {0, 16, false}, "m.weight");
  EXPECT_EQ(m.data, nullptr);
  EXPECT_EQ(repacking.bytes(), static_cast<std::size_t>(m.format.matrix_bytes(16, 64)));
  EXPECT_TRUE(repacking.run().empty());
}

}  // namespace
}  // namespace kl::test
