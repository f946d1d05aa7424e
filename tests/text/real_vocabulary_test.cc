// The tokenizer against results of tiktoken itself on the real vocabulary.  Neither is ours to commit, so these tests
// are skipped where there is no $KL_SHARED and no ../shared.
#include <gtest/gtest.h>

#include <memory>
#include <unordered_map>

#include "kl/tokenizer.h"
#include "tests/text/goldens.h"
#include "tests/text/sha256.h"
#include "text/pretokenizer.h"
#include "text/text_segments.h"
#include "text/unicode.h"

namespace kl {
namespace {

using test::first_difference;
using test::json;
using test::read_lines;
using Ids = std::vector<Token>;

class RealVocabulary : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = test::shared_tokenizer();
    if (dir_) tokenizer_ = std::make_unique<Tokenizer>(Tokenizer::open(*dir_));
  }
  static void TearDownTestSuite() { tokenizer_.reset(); }
  void SetUp() override {
    if (!dir_) GTEST_SKIP() << "the real vocabulary is not ours to ship: none in $KL_SHARED or ../shared";
  }

  static inline std::optional<std::filesystem::path> dir_;
  static inline std::unique_ptr<Tokenizer> tokenizer_;
};

std::string sha256_of(const Ids& ids) {
  std::string bytes;
  for (const Token id : ids) {
    for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(static_cast<std::uint32_t>(id) >> shift);
  }
  return test::sha256(bytes);
}

std::vector<std::size_t> pieces_of(std::string_view text) {
  std::vector<std::size_t> pieces;
  while (!text.empty()) {
    pieces.push_back(first_piece(text));
    text.remove_prefix(pieces.back());
  }
  return pieces;
}

TEST(Sha256, AgreesWithThePublishedExample) {
  EXPECT_EQ(test::sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_F(RealVocabulary, EncodesEveryGoldenString) {
  for (const json& golden : read_lines(*dir_ / "goldens.jsonl.gz")) {
    const auto text = golden["text"].get<std::string>();
    SCOPED_TRACE(golden["n"].dump() + " " + golden["cat"].dump());
    const auto ids = golden["ids"].get<Ids>();
    EXPECT_EQ(first_difference(golden["pieces"].get<std::vector<std::size_t>>(), pieces_of(text)), "");
    EXPECT_EQ(first_difference(ids, tokenizer_->encode(text)), "");
    EXPECT_EQ(first_difference(ids, tokenizer_->encode_bytes(text)), "");
    EXPECT_EQ(first_difference(golden.value("ids_special", ids), tokenizer_->encode(text, SpecialText::kControl)), "");
    EXPECT_EQ(tokenizer_->decode(ids), text);
  }
}

TEST_F(RealVocabulary, EncodesTheTextOfEveryRank) {
  const json golden = json::parse(test::read_text(*dir_ / "vocabulary.json.gz"));
  std::vector<bool> is_text(static_cast<std::size_t>(tokenizer_->num_ranks()), true);
  for (const std::size_t id : golden["not_utf8"]) is_text[id] = false;
  for (Token id = 0; id < tokenizer_->num_ranks(); ++id) {
    if (!is_text[static_cast<std::size_t>(id)]) continue;
    EXPECT_EQ(tokenizer_->encode(tokenizer_->bytes_of(id)), golden["other"].value(std::to_string(id), Ids{id}));
  }
}

TEST_F(RealVocabulary, CutsLongTextsWhereTheReferenceDoes) {
  for (const json& golden : read_lines(*dir_ / "limits.jsonl")) {
    SCOPED_TRACE(golden["name"].get<std::string>());
    std::string text;
    for (const json& part : golden["repeat"]) {
      for (int i = 0; i < part[1].get<int>(); ++i) text += part[0].get<std::string>();
    }
    std::vector<std::size_t> segments;
    TextSegments cutter(text);
    for (std::string_view s = cutter.next(); !s.empty(); s = cutter.next()) {
      segments.push_back(
          static_cast<std::size_t>(std::count_if(s.begin(), s.end(), [](char c) { return (c & 0xC0) != 0x80; })));
    }
    EXPECT_EQ(first_difference(golden["segments"].get<std::vector<std::size_t>>(), segments), "");
    const auto check = [&](const json& expected, const Ids& ids) {
      EXPECT_EQ(ids.size(), expected["count"].get<std::size_t>());
      EXPECT_EQ(sha256_of(ids), expected["sha256"].get<std::string>());
    };
    check(golden["ids"], tokenizer_->encode(text));
    check(golden["ids_special"], tokenizer_->encode(text, SpecialText::kControl));
  }
}

TEST_F(RealVocabulary, EncodesIllFormedBytesReplacedAndLossless) {
  for (const json& golden : read_lines(*dir_ / "bytes.jsonl")) {
    const std::string bytes = test::bytes_of_hex(golden["hex"]);
    SCOPED_TRACE(golden["hex"].get<std::string>());
    const auto lossless = golden["lossless_ids"].get<Ids>();
    EXPECT_EQ(tokenizer_->encode(bytes), golden["replace_ids"].get<Ids>());
    EXPECT_EQ(tokenizer_->encode_bytes(bytes), lossless);
    EXPECT_EQ(tokenizer_->decode(lossless), golden["replace_text"].get<std::string>());
    std::string back;
    for (const Token id : lossless) back += tokenizer_->bytes_of(id);
    EXPECT_EQ(back, bytes);
  }
}

TEST_F(RealVocabulary, StreamsEveryGoldenList) {
  for (const json& golden : read_lines(*dir_ / "streaming.jsonl.gz")) {
    const auto ids = golden["ids"].get<Ids>();
    const auto check = [&](bool skip_special, const char* chunks_key, const char* final_key) {
      StreamDecoder decoder(*tokenizer_, skip_special);
      std::vector<std::string> chunks;
      std::string all;
      for (const Token id : ids) all += chunks.emplace_back(decoder.push(id));
      const std::string last = decoder.finish();
      EXPECT_EQ(chunks, golden[chunks_key].get<std::vector<std::string>>());
      EXPECT_EQ(last, golden[final_key].get<std::string>());
      EXPECT_EQ(all + last, tokenizer_->decode(ids, skip_special));
    };
    check(false, "chunks", "final");
    if (golden.contains("chunks_skip_special")) check(true, "chunks_skip_special", "final_skip_special");
  }
}

TEST_F(RealVocabulary, GivesThePublishedIds) {
  for (const json& golden : read_lines(*dir_ / "published.jsonl")) {
    EXPECT_EQ(tokenizer_->encode(golden["text"].get<std::string>(), SpecialText::kControl), golden["ids"].get<Ids>());
  }
}

TEST_F(RealVocabulary, NamesTheFamilysControlTokens) {
  const json golden = json::parse(test::read_text(*dir_ / "special_tokens.json"));
  EXPECT_EQ(tokenizer_->vocab_size(), golden["last"].get<int>() + 1);
  EXPECT_EQ(tokenizer_->num_ranks(), golden["first"].get<int>());
  std::unordered_map<Token, json> named;
  for (const json& token : golden["tokens"]) named[token["id"].get<Token>()] = token;
  for (Token id = tokenizer_->num_ranks(); id < tokenizer_->vocab_size(); ++id) {
    const std::string reserved = "<|reserved_token_" + std::to_string(id) + "|>";
    const auto found = named.find(id);
    EXPECT_EQ(tokenizer_->bytes_of(id), found == named.end() ? reserved : found->second["text"].get<std::string>());
    EXPECT_EQ(tokenizer_->is_skipped(id), found != named.end() && found->second["special"].get<bool>());
    EXPECT_EQ(tokenizer_->special_id(tokenizer_->bytes_of(id)), id);
  }
  const std::span<const Token> stop = tokenizer_->stop_tokens();
  EXPECT_EQ(Ids(stop.begin(), stop.end()), golden["stop"].get<Ids>());
}

TEST_F(RealVocabulary, HasTheCharacterClassesOfTheReferenceEngine) {
  const json golden = json::parse(test::read_text(*dir_ / "unicode_classes.json"));
  std::vector<std::uint32_t> expected(0x110000);
  const auto add = [&](const json& range, std::uint32_t bits) {
    for (std::size_t c = range[0]; c <= range[1].get<std::size_t>(); ++c) expected[c] |= bits;
  };
  for (const json& range : golden["flags"]) add(range, range[2].get<std::uint32_t>());
  for (const json& range : golden["python_isspace"]) add(range, kPythonSpace);
  int num_different = 0;
  for (std::uint32_t c = 0; c < expected.size(); ++c)
    num_different += (unicode_classes(c) & ~kPrintable) != expected[c];
  EXPECT_EQ(num_different, 0);
}

}  // namespace
}  // namespace kl
