// Blocks against tests/golden/gguf: random blocks and their numbers by tests/cli/gguf_blocks.py, which was written
// from the descriptions of the formats.
#include "gguf/ggml_blocks.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/numbers.h"
#include "gguf/ggml_type.h"
#include "kl/safetensors.h"

namespace kl {
namespace {

TEST(GgmlBlocks, GivesTheBitsOfAnIndependentDecoder) {
  const SafetensorsFile file(std::string(KL_SOURCE_DIR) + "/tests/golden/gguf/blocks.safetensors");
  int types = 0;
  for (const auto& [name, blocks] : file.tensors()) {
    if (!name.ends_with(".blocks")) continue;
    const std::string type = name.substr(0, name.find('.'));
    SCOPED_TRACE(type);
    ++types;
    const GgmlBlocks* decoded = find_ggml_blocks(type);
    const GgmlType* layout = find_ggml_type(type);
    ASSERT_TRUE(decoded != nullptr || layout->values == 1);
    ASSERT_EQ(blocks.shape[1], layout->bytes);
    const auto n = blocks.shape[0] * layout->values;
    std::vector<float> got(static_cast<std::size_t>(n)), expected(got.size());
    if (decoded != nullptr) {
      decode_blocks(*decoded, blocks.data, n, got.data());
    } else {
      read_numbers(*parse_number_type(type), blocks.data, got.size(), got.data());
    }
    const FileTensor& numbers = file.at(type + ".numbers");
    ASSERT_EQ(numbers.bytes, 4 * expected.size());
    std::memcpy(expected.data(), numbers.data, numbers.bytes);
    for (std::size_t i = 0; i < got.size(); ++i) {
      ASSERT_EQ(std::bit_cast<std::uint32_t>(got[i]), std::bit_cast<std::uint32_t>(expected[i])) << "value " << i;
    }
  }
  EXPECT_EQ(types, 16);
}

/// Blocks may lie anywhere: what stands behind them is not read, what stands before the output is not written.
TEST(GgmlBlocks, ReadsExactlyItsBlocks) {
  for (const char* type :
       {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4"}) {
    SCOPED_TRACE(type);
    const GgmlType* layout = find_ggml_type(type);
    const std::vector<std::byte> blocks(2 * layout->bytes + 1, std::byte{0x11});  // the sanitizer guards their end
    std::vector<float> out(2 * layout->values + 1, 7.0f);
    decode_blocks(*find_ggml_blocks(type), blocks.data() + 1, 2 * layout->values, out.data());
    EXPECT_EQ(out.back(), 7.0f);
  }
}

TEST(GgmlBlocks, KnowsWhatItCannotRead) {
  EXPECT_EQ(find_ggml_blocks("IQ2_XXS"), nullptr);
  EXPECT_EQ(find_ggml_blocks("Q4_X"), nullptr);
  EXPECT_EQ(find_ggml_type("Q4_X"), nullptr);
  EXPECT_EQ(find_ggml_type(4u), nullptr);
  EXPECT_EQ(find_ggml_type(39u)->name, "MXFP4");
}

}  // namespace
}  // namespace kl
