// The grammar of texts with tool calls, and the cache of schemas.
#include <gtest/gtest.h>

#include "grammar/mask_cache.h"
#include "kl/structured.h"
#include "tests/support/error_of.h"
#include "tests/support/random.h"
#include "tests/text/small_vocabulary.h"

namespace kl {
namespace {

using Mask = std::vector<std::uint64_t>;
using grammar::has_bit;

class ToolCalls : public testing::Test {
 protected:
  ToolCalls() : tokenizer_(open()), compiler_(tokenizer_) {}

  /// Single bytes, a few pieces, and the family's markers.
  static Tokenizer open() {
    const test::TemporaryFolder folder;
    std::string model = test::bytes_only_model();
    int rank = 256;
    for (const char* piece : {"func", "functions", ".we", "weather", "_map", ":0", "{\"", "city", "\":", "\"}"}) {
      model += test::base64_of(piece) + " " + std::to_string(rank++) + "\n";
    }
    folder.write("tiktoken.model", model);
    std::string names;
    for (const char* name : {"<|im_end|>", "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>",
                             "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"}) {
      names += std::string(names.empty() ? "" : ",") + "\"" + std::to_string(rank++) + R"(":{"content":")" + name +
               R"(","special":true})";
    }
    folder.write("tokenizer_config.json", R"({"added_tokens_decoder":{)" + names + "}}");
    return Tokenizer::open(folder.path());
  }

  Token marker(const std::string& name) const { return tokenizer_.special_id("<|tool_" + name + "|>"); }

  Mask mask_of(GrammarState& state) const {
    Mask mask((static_cast<std::size_t>(tokenizer_.vocab_size()) + 63) / 64);
    state.allowed(mask);
    return mask;
  }
  int count(const Mask& mask) const {
    int n = 0;
    for (const std::uint64_t word : mask) n += __builtin_popcountll(word);
    return n;
  }

  /// Takes tokens as long as they are allowed; true if all were.
  bool takes(GrammarState& state, std::span<const Token> ids) const {
    for (const Token id : ids) {
      if (!has_bit(mask_of(state), id)) return false;
      state.accept(id);
    }
    return true;
  }
  bool takes(GrammarState& state, Token id) const { return takes(state, std::span(&id, 1)); }
  bool takes(GrammarState& state, const std::string& text) const { return takes(state, tokenizer_.encode(text)); }

  bool takes_call(GrammarState& state, const std::string& id, const std::string& arguments) const {
    return takes(state, marker("call_begin")) && takes(state, id) && takes(state, marker("call_argument_begin")) &&
           takes(state, arguments) && takes(state, marker("call_end"));
  }

  Tokenizer tokenizer_;
  GrammarCompiler compiler_;
  const std::vector<ToolDeclaration> tools_ = {
      {"weather",
       R"({"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false})"},
      {"weather_map", ""}};
};

TEST_F(ToolCalls, AutoAllowsAnyTextAndCallsThatFollowTheirSchemas) {
  const auto state = compiler_.tool_calls(tools_, ToolChoice::kAuto, true)->start();
  EXPECT_EQ(count(mask_of(*state)), tokenizer_.vocab_size() - 4);
  EXPECT_TRUE(takes(*state, "Let me see. <|tool_call_begin|> {\"x\":"));
  for (const char* name : {"call_begin", "call_argument_begin", "call_end", "calls_section_end"}) {
    EXPECT_FALSE(has_bit(mask_of(*state), marker(name))) << name;
  }
  ASSERT_TRUE(takes(*state, marker("calls_section_begin")));
  EXPECT_EQ(count(mask_of(*state)), 1);
  ASSERT_TRUE(takes_call(*state, "functions.weather:0", R"({"city": "Verona"})"));
  ASSERT_TRUE(takes_call(*state, "functions.weather_map:1", R"({"any":[1]})"));
  EXPECT_FALSE(takes(*state->clone(), "text"));
  ASSERT_TRUE(takes(*state, marker("calls_section_end")));
  EXPECT_TRUE(state->finished());
}

TEST_F(ToolCalls, AutoMayEndWithoutACall) {
  const auto state = compiler_.tool_calls(tools_, ToolChoice::kAuto, true)->start();
  EXPECT_TRUE(takes(*state, "No."));
  EXPECT_TRUE(takes(*state, tokenizer_.stop_tokens()[0]));
  EXPECT_TRUE(state->finished());
}

TEST_F(ToolCalls, RequiredBeginsAtOnceAndNeedsACall) {
  const auto state = compiler_.tool_calls(tools_, ToolChoice::kRequired, false)->start();
  EXPECT_EQ(count(mask_of(*state)), 1);
  ASSERT_TRUE(takes(*state, marker("calls_section_begin")));
  EXPECT_FALSE(takes(*state->clone(), marker("calls_section_end")));
  ASSERT_TRUE(takes_call(*state, "functions.weather:0", R"({"city":""})"));
  EXPECT_EQ(count(mask_of(*state)), 1) << "one call only, if not parallel";
  EXPECT_TRUE(takes(*state, marker("calls_section_end")));
  EXPECT_TRUE(state->finished());
}

TEST_F(ToolCalls, WrongIdsAndArgumentsAreImpossible) {
  const auto state = compiler_.tool_calls(tools_, ToolChoice::kRequired, true)->start();
  ASSERT_TRUE(takes(*state, marker("calls_section_begin")));
  for (const char* id : {"functions.weather:1", "functions.other:0", "weather:0", " functions.weather:0"}) {
    EXPECT_FALSE(takes_call(*state->clone(), id, R"({"city":"x"})")) << id;
  }
  for (const char* arguments : {"{}", R"({"city":3})", R"({"city":"x"} )", R"(["x"])", R"({"city":"x","more":1})"}) {
    EXPECT_FALSE(takes_call(*state->clone(), "functions.weather:0", arguments)) << arguments;
  }
  EXPECT_FALSE(takes_call(*state->clone(), "functions.weather_map:0", "[]"));
  const auto other = state->clone();
  ASSERT_TRUE(takes(*other, marker("call_begin")));
  EXPECT_FALSE(takes(*other, marker("call_argument_begin")));
}

TEST_F(ToolCalls, RandomWalksEndInCallsThatCountFromZero) {
  test::Random random(7);
  const std::vector<ToolDeclaration> tools = {
      {"a", R"({"type":"object","properties":{"n":{"type":"integer","maximum":9,"minimum":0}},"required":["n"]})"},
      {"ab", R"({"type":"object","properties":{"s":{"enum":["x","y"]}}})"}};
  const auto grammar = compiler_.tool_calls(tools, ToolChoice::kRequired, true);
  for (int walk = 0; walk < 50; ++walk) {
    const auto state = grammar->start();
    std::vector<Token> ids;
    while (!state->finished() && ids.size() < 2000) {
      const Mask mask = mask_of(*state);
      std::vector<Token> allowed;
      for (Token id = 0; id < tokenizer_.vocab_size(); ++id) {
        if (has_bit(mask, id)) allowed.push_back(id);
      }
      ASSERT_FALSE(allowed.empty()) << tokenizer_.decode(ids);
      ids.push_back(allowed[static_cast<std::size_t>(random.below(static_cast<std::ptrdiff_t>(allowed.size())))]);
      state->accept(ids.back());
    }
    ASSERT_TRUE(state->finished());
    const std::string text = tokenizer_.decode(ids);
    for (int call = 0; text.find("<|tool_call_begin|>functions.", 0) != text.npos && call < 3; ++call) {
      const bool named = text.find(":" + std::to_string(call) + "<|tool_call_argument_begin|>") != text.npos;
      const bool later = text.find(":" + std::to_string(call + 1) + "<|tool_call_argument_begin|>") != text.npos;
      EXPECT_TRUE(named || !later) << text;
    }
  }
}

TEST_F(ToolCalls, BadDeclarationsAreRefusedByName) {
  const auto refused = [&](std::vector<ToolDeclaration> tools) {
    return error_of([&] { compiler_.tool_calls(tools, ToolChoice::kAuto, true); });
  };
  EXPECT_TRUE(refused({}).thrown);
  EXPECT_TRUE(refused({{"a b", ""}}).mentions("a b"));
  EXPECT_TRUE(refused({{"", ""}}).thrown);
  EXPECT_TRUE(refused({{"a", ""}, {"a", ""}}).mentions("twice"));
  EXPECT_TRUE(refused({{"a", R"({"not":{}})"}}).mentions("tool a"));
  EXPECT_TRUE(refused({{"a", R"({"type":"array"})"}}).mentions("satisfies it"));
}

TEST(ToolMarkers, AVocabularyWithoutThemIsRefused) {
  const test::TemporaryFolder folder;
  folder.write("tiktoken.model", test::bytes_only_model());
  const Tokenizer tokenizer = Tokenizer::open(folder.path());
  GrammarCompiler compiler(tokenizer);
  const std::vector<ToolDeclaration> tools = {{"a", ""}};
  const ErrorSeen error = error_of([&] { compiler.tool_calls(tools, ToolChoice::kAuto, true); });
  EXPECT_EQ(error.code, ErrorCode::kUnsupported);
}

TEST(SchemaCache, ForgetsTheOldestAndStillAnswers) {
  const Tokenizer tokenizer = Tokenizer::open(test::small_model_dir());
  GrammarLimits limits;
  limits.cache_bytes = 100'000;
  GrammarCompiler compiler(tokenizer, limits);
  const auto schema = [](int i) { return R"({"type":"array","items":{"const":)" + std::to_string(i) + "}}"; };
  const auto first = compiler.json_schema(schema(0));
  for (int i = 0; i < 500; ++i) compiler.json_schema(schema(i));
  Mask mask((static_cast<std::size_t>(tokenizer.vocab_size()) + 63) / 64);
  const auto state = first->start();
  for (const Token id : tokenizer.encode("[0,0")) {
    state->allowed(mask);
    ASSERT_TRUE(has_bit(mask, id));
    state->accept(id);
  }
  EXPECT_NE(compiler.json_schema(schema(0)), nullptr);
}

}  // namespace
}  // namespace kl
