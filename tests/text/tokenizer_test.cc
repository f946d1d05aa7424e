#include "kl/tokenizer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "kl/error.h"
#include "tests/text/sha256.h"
#include "tests/text/small_vocabulary.h"
#include "text/text_segments.h"

namespace kl {
namespace {

using test::json;
using test::read_lines;
using test::small_model_dir;
using test::TemporaryFolder;
using Ids = std::vector<Token>;

std::string joined_bytes(const Tokenizer& tokenizer, const Ids& ids) {
  std::string bytes;
  for (const Token id : ids) bytes += tokenizer.bytes_of(id);
  return bytes;
}

std::string sha256_of(const Ids& ids) {
  std::string bytes;
  for (const Token id : ids) {
    for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(static_cast<std::uint32_t>(id) >> shift);
  }
  return test::sha256(bytes);
}

std::string repeated(std::string_view part, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += part;
  return text;
}

/// Opening fails as corrupt, and the message holds each part.
void expect_corrupt(const std::filesystem::path& dir, const std::vector<std::string>& parts) {
  try {
    Tokenizer::open(dir);
    ADD_FAILURE() << "expected an error that says " << parts.front();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
    for (const std::string& part : parts)
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

// --- against tiktoken, on the small vocabulary -----------------------------------------------------------------------

TEST(Tokenizer, EncodesDifficultTextsAsTiktokenDoes) {
  const Tokenizer tokenizer = Tokenizer::open(small_model_dir());
  for (const json& golden : read_lines(small_model_dir() / "encode.jsonl")) {
    const auto text = golden["text"].get<std::string>();
    const auto ids = golden["ids"].get<Ids>();
    EXPECT_EQ(tokenizer.encode(text), ids) << text;
    EXPECT_EQ(tokenizer.encode(text, SpecialText::kControl), golden.value("control_ids", ids)) << text;
    EXPECT_EQ(tokenizer.encode_bytes(text), ids) << text;
    EXPECT_EQ(tokenizer.decode(ids), text);
  }
}

TEST(Tokenizer, CutsLongTextsAsTheReferenceDoes) {
  const Tokenizer tokenizer = Tokenizer::open(small_model_dir());
  for (const json& golden : read_lines(small_model_dir() / "limits.jsonl")) {
    SCOPED_TRACE(golden["repeat"].dump());
    std::string text;
    for (const json& part : golden["repeat"]) text += repeated(part[0].get<std::string>(), part[1]);
    std::vector<std::size_t> segments;
    TextSegments cutter(text);
    for (std::string_view s = cutter.next(); !s.empty(); s = cutter.next()) {
      std::size_t count = 0;
      for (const char c : s) count += (c & 0xC0) != 0x80;
      segments.push_back(count);
    }
    EXPECT_EQ(segments, golden["segments"].get<std::vector<std::size_t>>());
    EXPECT_EQ(sha256_of(tokenizer.encode(text)), golden["ids"]["sha256"].get<std::string>());
    EXPECT_EQ(sha256_of(tokenizer.encode(text, SpecialText::kControl)),
              golden["control_ids"]["sha256"].get<std::string>());
  }
}

TEST(Tokenizer, ReplacesIllFormedBytesOrKeepsThem) {
  const Tokenizer tokenizer = Tokenizer::open(small_model_dir());
  for (const json& golden : read_lines(small_model_dir() / "bytes.jsonl")) {
    const std::string bytes = test::bytes_of_hex(golden["hex"]);
    EXPECT_EQ(tokenizer.encode(bytes), golden["replace_ids"].get<Ids>());
    const Ids lossless = tokenizer.encode_bytes(bytes);
    EXPECT_EQ(joined_bytes(tokenizer, lossless), bytes);
    EXPECT_EQ(tokenizer.decode(lossless), golden["text"].get<std::string>());
  }
}

TEST(StreamDecoder, EmitsWhatPythonsIncrementalDecoderDoes) {
  const Tokenizer tokenizer = Tokenizer::open(small_model_dir());
  for (const json& golden : read_lines(small_model_dir() / "stream.jsonl")) {
    const auto ids = golden["ids"].get<Ids>();
    for (const bool skip_special : {false, true}) {
      StreamDecoder decoder(tokenizer, skip_special);
      std::vector<std::string> chunks;
      std::string all;
      for (const Token id : ids) all += chunks.emplace_back(decoder.push(id));
      all += chunks.emplace_back(decoder.finish());
      EXPECT_EQ(chunks, golden[skip_special ? "skipped" : "shown"].get<std::vector<std::string>>());
      EXPECT_EQ(all, tokenizer.decode(ids, skip_special));
    }
  }
}

TEST(StreamDecoder, StartsAfreshAfterFinish) {
  const Tokenizer tokenizer = Tokenizer::open(small_model_dir());
  StreamDecoder decoder(tokenizer);
  EXPECT_EQ(decoder.push(0xE4), "");
  EXPECT_EQ(decoder.finish(), "\uFFFD");
  EXPECT_EQ(decoder.push(0xB8), "\uFFFD");
  EXPECT_EQ(decoder.push('a'), "a");
  EXPECT_THROW(decoder.push(100'000), Error);
}

// --- properties ------------------------------------------------------------------------------------------------------

TEST(Tokenizer, RoundTripsAnyBytesWithTheBundledVocabulary) {
  const Tokenizer tokenizer = Tokenizer::open(std::filesystem::path(KL_SOURCE_DIR) / "models" / "demo");
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    std::string bytes;
    for (std::size_t k = random() % 60; k > 0; --k) bytes += static_cast<char>(random() % (i % 2 ? 256 : 128));
    EXPECT_EQ(joined_bytes(tokenizer, tokenizer.encode_bytes(bytes)), bytes);
  }
}

// Quadratic time would be hours; bench/tokenizer_bench.cc tells the true speed (tenths of a second).
TEST(Tokenizer, EncodesAMillionEqualCharactersInLinearTime) {
#ifdef NDEBUG
  constexpr double kMostSeconds = 5;
#else
  constexpr double kMostSeconds = 60;  // sanitizers
#endif
  const Tokenizer tokenizer = Tokenizer::open(small_model_dir());
  for (const char* character : {"a", "A", " ", "\n", "1", "!", "'", "é", "中", "あ", "\u0301", "😀", "\xFF", "<"}) {
    const std::string text = repeated(character, 1'000'000);
    const auto start = std::chrono::steady_clock::now();
    const Ids ids = tokenizer.encode(text, SpecialText::kControl);
    const Ids lossless = tokenizer.encode_bytes(text);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    EXPECT_LT(seconds.count(), kMostSeconds) << character;
    EXPECT_EQ(joined_bytes(tokenizer, lossless), text);
  }
}

TEST(Tokenizer, MayBeUsedByManyThreads) {
  const Tokenizer tokenizer = Tokenizer::open(small_model_dir());
  const std::string text = repeated("The weather, HelloWorld, 我们读书 123 ", 50);
  const Ids expected = tokenizer.encode(text);
  std::vector<Ids> results(4);
  {
    std::vector<std::jthread> threads;
    for (Ids& result : results) threads.emplace_back([&] { result = tokenizer.encode(text); });
  }
  for (const Ids& result : results) EXPECT_EQ(result, expected);
}

TEST(Tokenizer, RefusesIdsOutsideTheVocabulary) {
  const Tokenizer tokenizer = Tokenizer::open(small_model_dir());
  for (const Token id : {-1, tokenizer.vocab_size(), INT32_MAX}) {
    try {
      tokenizer.decode(Ids{id});
      ADD_FAILURE() << "expected an error for " << id;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_EQ(std::string(error.what()), "token id: expected 0 to 667, got " + std::to_string(id));
    }
  }
}

// --- what the files say ----------------------------------------------------------------------------------------------

TEST(TokenizerFiles, TakeTheSmallVocabularysSlotsFromTheConfigs) {
  const Tokenizer tokenizer = Tokenizer::open(small_model_dir());
  EXPECT_EQ(tokenizer.num_ranks(), 656);
  EXPECT_EQ(tokenizer.vocab_size(), 668);
  EXPECT_EQ(tokenizer.special_id("<|im_end|>"), 658);
  EXPECT_EQ(tokenizer.bytes_of(661), "<|reserved_token_661|>");  // a slot without a name
  EXPECT_EQ(tokenizer.special_id("<|reserved_token_661|>"), 661);
  EXPECT_EQ(tokenizer.special_id("<|im_en"), -1);
  EXPECT_EQ(tokenizer.special_id(""), -1);
  EXPECT_TRUE(tokenizer.is_special(656) && !tokenizer.is_special(655) && !tokenizer.is_special(668));
  EXPECT_TRUE(tokenizer.is_skipped(658));
  EXPECT_FALSE(tokenizer.is_skipped(663));  // "special": false
  EXPECT_FALSE(tokenizer.is_skipped(661));  // reserved
  // config.json's 657 is [EOS]; <|im_end|> joins it from the family's end tokens.
  EXPECT_EQ(Ids(tokenizer.stop_tokens().begin(), tokenizer.stop_tokens().end()), (Ids{657, 658}));
}

TEST(TokenizerFiles, AreOptionalButForTheRanks) {
  const TemporaryFolder folder;
  EXPECT_THROW(Tokenizer::open(folder.path()), Error);
  folder.write("tiktoken.model", test::bytes_only_model());
  const Tokenizer tokenizer = Tokenizer::open(folder.path());
  EXPECT_EQ(tokenizer.vocab_size(), 512);
  EXPECT_EQ(tokenizer.bytes_of(300), "<|reserved_token_300|>");
  EXPECT_TRUE(tokenizer.stop_tokens().empty());

  folder.write("tokenizer_config.json", "no JSON");
  EXPECT_THROW(Tokenizer::open(folder.path()), Error);
  EXPECT_EQ(Tokenizer::open(folder.path() / "tiktoken.model").num_ranks(), 256) << "the file alone";
}

TEST(TokenizerFiles, ReachToTheHighestNameWithoutAVocabularySize) {
  const TemporaryFolder folder;
  folder.write("tiktoken.model", test::bytes_only_model());
  folder.write("tokenizer_config.json", R"({"added_tokens_decoder": {"260": {"content": "<end>", "special": true}}})");
  const Tokenizer tokenizer = Tokenizer::open(folder.path());
  EXPECT_EQ(tokenizer.vocab_size(), 261);
  EXPECT_EQ(tokenizer.special_id("<end>"), 260);
}

TEST(TokenizerFiles, MatchTheLongestOfNamesThatBeginAlike) {
  const TemporaryFolder folder;
  folder.write("tiktoken.model", test::bytes_only_model());
  folder.write(
      "tokenizer_config.json",
      R"({"added_tokens_decoder": {"256": {"content": "<a"}, "257": {"content": "<ab>"}, "258": {"content": "<abc"}}})");
  const Tokenizer tokenizer = Tokenizer::open(folder.path());
  EXPECT_EQ(tokenizer.encode("<ab><abd<abc<", SpecialText::kControl), (Ids{257, 256, 'b', 'd', 258, '<'}));
}

TEST(TokenizerFiles, PreferTheEndTokensOfTheGenerationConfig) {
  const TemporaryFolder folder;
  folder.write("tiktoken.model", test::bytes_only_model());
  folder.write("tokenizer_config.json",
               R"({"added_tokens_decoder": {"256": {"content": "<|im_end|>"}, "257": {"content": "[EOT]"}}})");
  folder.write("config.json", R"({"eos_token_id": 10})");
  const auto stop_tokens = [&] {
    const Tokenizer tokenizer = Tokenizer::open(folder.path());
    return Ids(tokenizer.stop_tokens().begin(), tokenizer.stop_tokens().end());
  };
  EXPECT_EQ(stop_tokens(), (Ids{10, 256, 257}));
  folder.write("generation_config.json", R"({"eos_token_id": [257, 11]})");
  EXPECT_EQ(stop_tokens(), (Ids{257, 11, 256}));
  folder.write("generation_config.json", R"({"eos_token_id": null})");
  EXPECT_EQ(stop_tokens(), (Ids{10, 256, 257}));
}

TEST(TokenizerFiles, ReportEveryProblemAtOnce) {
  const TemporaryFolder folder;
  folder.write("tiktoken.model", test::bytes_only_model());
  folder.write("config.json", R"({"vocab_size": 260})");
  folder.write("tokenizer_config.json", R"({"added_tokens_decoder": {
      "12": {"content": "<low>"}, "0256": {"content": "<zero>"}, "256": {"content": ""}, "257": {}, "258": {"content": "<x>", "special": 1},
      "259": {"content": "<x>"}, "300": {"content": "<high>"}, "301": {"content": "<|reserved_token_301|>"}}})");
  expect_corrupt(folder.path(),
                 {"7 problems", "added_tokens_decoder[\"12\"]: expected an id behind the 256 ranks", "[\"0256\"]",
                  "[\"256\"].content: expected a text of 1 to 256 bytes", "[\"257\"].content", "[\"258\"].special",
                  "\"<x>\" for 258 and 259", "[\"300\"]: expected an id below 260"});
}

TEST(TokenizerFiles, RefuseALinkToNowhereInsteadOfDoingWithoutTheFile) {
  for (const char* file : {"tokenizer_config.json", "config.json", "generation_config.json"}) {
    const TemporaryFolder folder;
    folder.write("tiktoken.model", test::bytes_only_model());
    std::filesystem::create_symlink("nowhere", folder.path() / file);
    try {
      Tokenizer::open(folder.path());
      ADD_FAILURE() << file;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kNotFound);
      EXPECT_NE(std::string(error.what()).find(file), std::string::npos) << error.what();
    }
  }
}

TEST(TokenizerFiles, RefuseMoreEndTokensThanAnyModelHas) {
  std::string ids = "0";
  for (int i = 1; i <= 1024; ++i) ids += "," + std::to_string(i % 256);
  const TemporaryFolder folder;
  folder.write("tiktoken.model", test::bytes_only_model());
  folder.write("generation_config.json", "{\"eos_token_id\": [" + ids + "]}");
  try {
    Tokenizer::open(folder.path());
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("expected at most 1024 ids, got 1025"), std::string::npos) << error.what();
  }
}

TEST(TokenizerFiles, RefuseConfigsThatContradictTheRanks) {
  const TemporaryFolder folder;
  folder.write("tiktoken.model", test::bytes_only_model());
  for (const char* size : {"255", "-1", "1e3", "\"256\"", "99999999999"}) {
    folder.write("config.json", std::string(R"({"vocab_size": )") + size + "}");
    expect_corrupt(folder.path(), {"config.json: vocab_size: expected 256 "});
  }
  for (const char* id : {"512", "-1", "1.5", "[1, 512]", "\"1\"", "{}"}) {
    folder.write("config.json", std::string(R"({"eos_token_id": )") + id + "}");
    expect_corrupt(folder.path(), {"config.json: eos_token_id: expected ids from 0 to 511"});
  }
  for (const char* text : {"", "[]", "{", "nul"}) {
    folder.write("config.json", text);
    expect_corrupt(folder.path(), {"config.json"});
  }
}

}  // namespace
}  // namespace kl
