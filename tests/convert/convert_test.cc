// What kl convert is made of: rows to bytes and back, containers, vocabularies.  The formats themselves are compared
// with other programs' files in tests/cli/test_convert.py.
#include <gtest/gtest.h>

#include <numeric>

#include "base/base64.h"
#include "convert/row_encoder.h"
#include "encodings/bit_rows.h"
#include "gguf/gguf_file.h"
#include "gguf/gguf_writer.h"
#include "kl/error.h"
#include "packing/pack.h"
#include "packing/packed_name.h"
#include "tests/support/random.h"
#include "tests/support/temp_dir.h"
#include "text/gpt2_bytes.h"
#include "text/tokenizer_export.h"

namespace kl {
namespace {

TEST(BitRows, PackingIsTheInverseOfUnpacking) {
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    std::vector<std::uint8_t> q(64), back(64);
    for (std::size_t i = 0; i < q.size(); ++i) q[i] = static_cast<std::uint8_t>((i * 37 + 11) & ((1u << bits) - 1));
    std::vector<std::byte> row(64 * static_cast<std::size_t>(bits) / 8);
    pack_bits(q.data(), bits, 64, row.data());
    unpack_bits(row.data(), bits, 64, back.data());
    EXPECT_EQ(back, q) << bits;
  }
}

TEST(PackedRows, AreReadAsTheyWereWritten) {
  constexpr std::ptrdiff_t kCols = 96;
  for (const char* name : {"q4_g32_f16", "q8_g32_f16", "q4_g64m_bf16", "q8_g64m_f32", "q4_g32m_f16", "q4_g16_f32",
                           "q4_g16m_f32", "q6_g16_f32"}) {
    const PackedFormat f = *parse_packed_suffix(name);
    std::vector<std::byte> block(static_cast<std::size_t>(f.block_bytes(kCols)));
    std::vector<std::uint8_t> q(kCols + 64), q2(q.size());
    std::vector<float> scale(q.size()), minimum(q.size()), scale2(q.size()), minimum2(q.size());
    for (std::size_t i = 0; i < q.size(); ++i) {
      q[i] = static_cast<std::uint8_t>((i * 29 + 5) & ((1u << f.bits) - 1));
      scale[i] = 0.5f + static_cast<float>(i % 8) / 16;
      minimum[i] = -static_cast<float>(i % 4);
    }
    for (const std::ptrdiff_t r : {0, 7, 15}) {
      put_packed_row({q.data(), scale.data(), minimum.data()}, kCols, f, r, block.data());
      get_packed_row(block.data(), kCols, f, r, {q2.data(), scale2.data(), minimum2.data()});
      EXPECT_TRUE(std::equal(q.begin(), q.begin() + kCols, q2.begin())) << name;
      const std::ptrdiff_t groups = (kCols + f.group - 1) / f.group;
      EXPECT_TRUE(std::equal(scale.begin(), scale.begin() + groups, scale2.begin())) << name;
      if (!f.has_minimum) continue;
      EXPECT_TRUE(std::equal(minimum.begin(), minimum.begin() + groups, minimum2.begin())) << name;
    }
  }
}

TEST(PackedNames, AreThoseOfTheFormatsThatExist) {
  for (const char* name :
       {"q4_g64_f32", "q8_g64_f16", "q6_g32_f32", "q6_g16m_f32", "q8_g16_f32", "q4_g16_f16", "q4_g32"})
    EXPECT_FALSE(parse_packed_suffix(name)) << name;
  const auto q6_k = parse_packed_suffix("q6_g16_f32");
  ASSERT_TRUE(q6_k);
  EXPECT_EQ(*q6_k, (PackedFormat{6, 16, false, DType::kF32}));
  EXPECT_EQ(packed_suffix(*q6_k), "q6_g16_f32");
}

TEST(Encoders, NameTheTensorsTheyMake) {
  const auto mlx = mlx_encoder({MlxMode::kAffine, 3, 32}, DType::kBF16)->tensors("a.b.weight", {7, 5, 64});
  ASSERT_EQ(mlx.size(), 3u);
  EXPECT_EQ(mlx[0].spec.shape, (std::vector<std::int64_t>{7, 5, 6}));
  EXPECT_EQ(mlx[2].spec.name, "a.b.biases");
  EXPECT_EQ(mlx[2].spec.dtype, "BF16");
  EXPECT_EQ(mlx_encoder({MlxMode::kMxfp4, 4, 32}, DType::kF32)->tensors("a.weight", {5, 64}).size(), 2u);
  EXPECT_EQ(ggml_keeper(*parse_packed_suffix("q4_g64m_f16"))->tensors("a.weight", {2, 64})[0].spec.dtype, "Q4_1");
  EXPECT_EQ(ggml_keeper(*parse_packed_suffix("q8_g64m_f16")), nullptr);
}

TEST(GgufWriter, WritesWhatTheReaderReads) {
  const TempDir dir;
  GgufMetadata metadata;
  metadata.add_u32("a.number", 7);
  metadata.add_f32("a.float", 0.25f);
  metadata.add_bool("a.flag", true);
  metadata.add_text("a.text", "x");
  const std::vector<std::int32_t> numbers{0, -1, 2};
  metadata.add_i32s("a.list", numbers);
  const std::vector<std::string> texts{"", "two"};
  metadata.add_texts("a.texts", texts);
  const GgmlType* f32 = find_ggml_type(std::string_view("F32"));
  GgufWriter writer(dir.path() / "m.gguf", metadata, {{"first", f32, {3}}, {"second", f32, {2, 2}}}, true);
  std::vector<float> values(7);
  std::iota(values.begin(), values.end(), 1.0f);
  writer.write(values.data(), 2);  // a tensor may come in any pieces
  writer.write(reinterpret_cast<const std::byte*>(values.data()) + 2, 26);
  writer.finish();
  EXPECT_EQ(writer.sha256().size(), 64u);
  const auto file = GgufFile::open(dir.path() / "m.gguf");
  EXPECT_EQ(file->find("a.number")->integer(), 7);
  EXPECT_EQ(file->find("a.float")->number(), 0.25);
  EXPECT_EQ(file->find("a.flag")->boolean(), true);
  EXPECT_EQ(file->find("a.list")->integers(), (std::vector<std::int64_t>{0, -1, 2}));
  EXPECT_EQ((*file->find("a.texts")->texts())[1], "two");
  EXPECT_EQ(file->tensors().at("second").shape, (std::vector<std::int64_t>{2, 2}));
  EXPECT_EQ(reinterpret_cast<const float*>(file->tensors().at("second").data)[3], 7.0f);
}

TEST(GgufWriter, RefusesRowsThatAreNoWholeBlocksAndMissingData) {
  const TempDir dir;
  const GgmlType* q4 = find_ggml_type(std::string_view("Q4_0"));
  EXPECT_THROW(GgufWriter(dir.path() / "m.gguf", {}, {{"a", q4, {2, 48}}}), Error);
  EXPECT_THROW(GgufWriter(dir.path() / "m.gguf", {}, {{std::string(64, 'a'), q4, {2, 32}}}), Error);
  GgufWriter writer(dir.path() / "m.gguf", {}, {{"a", q4, {2, 32}}});
  EXPECT_THROW(writer.finish(), Error);
}

TEST(TokenizerExport, RebuildsMergesFromRanks) {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  for (const char* token : {"ab", "abc", "bcd", "  "}) tokens.emplace_back(token);
  std::vector<ControlToken> control{{"[BOS]", true}, {reserved_token_name(261), false}, {"<|tool|>", false}};
  const TokenizerFiles files{Vocabulary::from_tokens(tokens, "test"), ControlTokens(260, control), {}};
  const GgufVocabulary v = gguf_vocabulary(files, 264);
  // "bcd" is never made: "bc" is no token, and "cd" neither.
  EXPECT_EQ(v.merges, (std::vector<std::string>{"a b", "ab c", "\u0120 \u0120"}));
  EXPECT_EQ(v.tokens[261], "[PAD261]");
  EXPECT_EQ((std::vector<std::int32_t>(v.types.begin() + 259, v.types.end())),
            (std::vector<std::int32_t>{1, 3, 5, 4, 5}));
  EXPECT_EQ(tiktoken_text(files).substr(0, 14), "AA== 0\nAQ== 1\n");
}

TEST(TokenizerExport, BytesSurviveBothAlphabets) {
  std::string all, base64, gpt2, back;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  for (std::size_t n : {0u, 1u, 2u, 3u, 256u}) {
    back.clear();
    EXPECT_TRUE(append_base64(to_base64(all.substr(0, n)), back));
    EXPECT_EQ(back, all.substr(0, n));
  }
  append_gpt2_text(all, gpt2);
  back.clear();
  EXPECT_TRUE(append_gpt2_bytes(gpt2, back));
  EXPECT_EQ(back, all);
}

}  // namespace
}  // namespace kl
