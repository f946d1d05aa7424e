// Tokenizers from GGUF metadata: what they are, and what is refused.
#include "text/gguf_tokenizer.h"

#include <gtest/gtest.h>

#include <functional>

#include "tests/support/error_of.h"
#include "tests/support/gguf_model.h"
#include "text/gpt2_bytes.h"

namespace kl {
namespace {

using namespace test;

/// Bytes, then "ab" and "abc", control tokens, and an unused id.
struct Tokens {
  std::vector<std::string> tokens;
  std::vector<std::int32_t> types;
  std::vector<std::string> merges = {"a b", "ab c"};

  Tokens() {
    GgufBytes bytes_only;
    add_gguf_vocabulary(bytes_only);
    const std::string bytes = bytes_only.bytes();
    const auto file = GgufFile::parse(bytes, "x");
    const auto values = file->find("tokenizer.ggml.tokens")->texts();
    tokens.assign(values->begin(), values->begin() + 256);
    types.assign(258, 1);
    for (const char* name : {"ab", "abc", "<|im_end|>", "[BOS]", "<tool>", "[PAD261]"}) tokens.emplace_back(name);
    for (const std::int32_t type : {3, 3, 4, 5}) types.push_back(type);
  }

  GgufBytes file() const {
    GgufBytes f;
    f.set("tokenizer.ggml.model", text("gpt2")).set("tokenizer.ggml.pre", text("kimi-k2"));
    f.set("tokenizer.ggml.tokens", texts(tokens)).set("tokenizer.ggml.token_type", i32s(types));
    f.set("tokenizer.ggml.merges", texts(merges)).set("tokenizer.ggml.eos_token_id", u32(258));
    return f;
  }
};

Tokenizer open(const GgufBytes& file) {
  const std::string bytes = file.bytes();
  return Tokenizer(gguf_tokenizer_files(*GgufFile::parse(bytes, "x.gguf")));
}

TEST(GgufTokenizer, RanksAreTheNormalTokens) {
  const Tokenizer tokenizer = open(Tokens().file());
  EXPECT_EQ(tokenizer.num_ranks(), 258);
  EXPECT_EQ(tokenizer.vocab_size(), 262);
  EXPECT_EQ(tokenizer.encode("abcab\n"), (std::vector<Token>{257, 256, 10}));
  EXPECT_EQ(tokenizer.bytes_of(257), "abc");
  for (int b = 0; b < 256; ++b) EXPECT_EQ(tokenizer.bytes_of(b), std::string(1, static_cast<char>(b)));
}

TEST(GgufTokenizer, SlotsKeepTheirKind) {
  const Tokenizer tokenizer = open(Tokens().file());
  EXPECT_EQ(tokenizer.special_id("<|im_end|>"), 258);
  EXPECT_TRUE(tokenizer.is_skipped(259));
  EXPECT_FALSE(tokenizer.is_skipped(260));
  EXPECT_EQ(tokenizer.bytes_of(261), "<|reserved_token_261|>");
  EXPECT_EQ(std::vector<Token>(tokenizer.stop_tokens().begin(), tokenizer.stop_tokens().end()),
            std::vector<Token>{258});
  EXPECT_FALSE(tokenizer.has_chat_template());
  EXPECT_TRUE(open(Tokens().file().set("tokenizer.chat_template", text("{{ x }}"))).has_chat_template());
}

struct BrokenCase {
  const char* name;
  std::function<void(Tokens&)> breaks;
  std::vector<std::string> parts;  // of the message
};

TEST(GgufTokenizer, BrokenVocabulariesAreRefusedByKeyAndEntry) {
  const std::vector<BrokenCase> cases = {
      {"a byte missing", [](Tokens& t) { t.tokens[65] = "zz"; }, {"tokenizer.ggml.tokens", "0x41"}},
      {"a token twice", [](Tokens& t) { t.tokens[257] = "ab"; }, {"tokenizer.ggml.tokens:258", "rank 256 again"}},
      {"an empty token", [](Tokens& t) { t.tokens[256] = ""; }, {"tokenizer.ggml.tokens:257", "at least one byte"}},
      {"a token of another alphabet",
       [](Tokens& t) { t.tokens[256] = "\xe4\xb8\xad"; },
       {"tokenizer.ggml.tokens[256]", "GPT-2's alphabet"}},
      {"a blank in a token", [](Tokens& t) { t.tokens[256] = "a b"; }, {"tokenizer.ggml.tokens[256]", "\"a b\""}},
      {"a token cut off", [](Tokens& t) { t.tokens[256] = "\xc4"; }, {"tokenizer.ggml.tokens[256]"}},
      {"a long token", [](Tokens& t) { t.tokens[257] = std::string(5000, 'a'); }, {"at most 4096 bytes"}},
      {"types too few",
       [](Tokens& t) { t.types.pop_back(); },
       {"token_type: expected 262 entries, one a token, got 261"}},
      {"type 2", [](Tokens& t) { t.types[260] = 2; }, {"token_type[260]: expected 3 (control)", "got 2"}},
      {"type 6", [](Tokens& t) { t.types[260] = 6; }, {"token_type[260]", "got 6"}},
      {"normal behind control", [](Tokens& t) { t.types[259] = 1; }, {"token_type[259]", "got 1"}},
      {"no normal token",
       [](Tokens& t) { t.types.assign(262, 3); },
       {"tokenizer.ggml.tokens", "expected tokens, got none"}},
      {"a name twice",
       [](Tokens& t) { t.tokens[259] = "<|im_end|>"; },
       {"tokenizer.ggml.tokens[259]: expected a name of its own"}},
      {"an empty name",
       [](Tokens& t) { t.tokens[259] = ""; },
       {"tokenizer.ggml.tokens[259]: expected a name of 1 to 256 bytes"}},
      {"a long name",
       [](Tokens& t) { t.tokens[259] = std::string(257, 'n'); },
       {"tokenizer.ggml.tokens[259]", "got 257"}},
      {"a merge without a space", [](Tokens& t) { t.merges[0] = "ab"; }, {"merges[0]: expected two parts of a token"}},
      {"a merge of nothing", [](Tokens& t) { t.merges[0] = " ab"; }, {"merges[0]"}},
      {"a merge of no token", [](Tokens& t) { t.merges[1] = "b ab"; }, {"merges[1]", "\"b ab\""}},
      {"merges out of order",
       [](Tokens& t) { std::swap(t.merges[0], t.merges[1]); },
       {"merges[1]: expected merges in the order", "that of 256 late"}},
      {"a merge twice", [](Tokens& t) { t.merges.push_back("ab c"); }, {"merges[2]", "that of 257 late"}},
  };
  for (const BrokenCase& broken : cases) {
    SCOPED_TRACE(broken.name);
    Tokens tokens;
    broken.breaks(tokens);
    const ErrorSeen seen = error_of([&] { open(tokens.file()); });
    EXPECT_EQ(seen.code, ErrorCode::kCorrupt) << seen.message;
    EXPECT_TRUE(seen.mentions("x.gguf: ")) << seen.message;
    for (const std::string& part : broken.parts)
      EXPECT_TRUE(seen.mentions(part)) << part << " is not in: " << seen.message;
  }
}

TEST(GgufTokenizer, OtherTokenizersAndWrongKeysAreRefused) {
  const auto code_of = [](const GgufBytes& file, const std::string& part) {
    const ErrorSeen seen = error_of([&] { open(file); });
    EXPECT_TRUE(seen.mentions(part)) << part << " is not in: " << seen.message;
    return seen.code;
  };
  const GgufBytes sound = Tokens().file();
  const auto with = [&](const char* key, const std::string& value) {
    return GgufBytes(sound).set(std::string("tokenizer.") + key, value);
  };
  for (const char* key : {"ggml.model", "ggml.pre", "ggml.tokens", "ggml.token_type", "ggml.merges"}) {
    EXPECT_EQ(code_of(GgufBytes(sound).drop(std::string("tokenizer.") + key), std::string(key) + ": missing"),
              ErrorCode::kCorrupt);
    EXPECT_EQ(code_of(with(key, u32(1)), key), ErrorCode::kCorrupt);
  }
  EXPECT_EQ(code_of(with("ggml.model", text("llama")), "got \"llama\""), ErrorCode::kUnsupported);
  EXPECT_EQ(code_of(with("ggml.pre", text("llama-bpe")), "got \"llama-bpe\""), ErrorCode::kUnsupported);
  EXPECT_EQ(code_of(with("ggml.eos_token_id", u32(262)), "expected an id from 0 to 261, got 262"), ErrorCode::kCorrupt);
  EXPECT_EQ(code_of(with("ggml.eot_token_id", i32(-1)), "got -1"), ErrorCode::kCorrupt);
  EXPECT_EQ(code_of(with("chat_template", u32(1)), "expected a string"), ErrorCode::kCorrupt);
  EXPECT_EQ(code_of(GgufBytes(sound).set("kimi-linear.vocab_size", u32(300)), "expected 300 tokens"),
            ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace kl
