#include "generation/continuation.h"

#include <gtest/gtest.h>

#include <limits>

#include "kl/error.h"

namespace kl {
namespace {

const Tokenizer& demo_tokenizer() {
  static const Tokenizer tokenizer = Tokenizer::open(KL_SOURCE_DIR "/models/demo");
  return tokenizer;
}

/// Logits a model would give that is sure of `token`.
std::vector<float> certain(Token token, std::size_t vocab_size = 1024) {
  std::vector<float> logits(vocab_size, 0.0f);
  logits[static_cast<std::size_t>(token)] = 50.0f;
  return logits;
}

GenerateOptions greedy() {
  GenerateOptions options;
  options.sampling.temperature = 0;
  return options;
}

/// Feeds the tokens of `text` until the continuation ends, and returns what it handed out, piece by piece.
std::vector<std::string> pieces_of(Continuation& continuation, std::string_view text) {
  std::vector<std::string> pieces;
  for (const Token token : demo_tokenizer().encode(text)) {
    if (continuation.finished()) break;
    pieces.push_back(continuation.accept(certain(token)));
  }
  pieces.push_back(continuation.finish(FinishReason::kLength));
  return pieces;
}

std::string joined(const std::vector<std::string>& pieces) {
  std::string text;
  for (const std::string& piece : pieces) text += piece;
  return text;
}

TEST(Continuation, HandsOutTheWholeText) {
  const std::string text = "To be, or not to be: that is the question";
  Continuation continuation(demo_tokenizer(), greedy(), {}, {});
  EXPECT_EQ(joined(pieces_of(continuation, text)), text);
  EXPECT_EQ(continuation.text(), text);
  EXPECT_EQ(continuation.ids(), demo_tokenizer().encode(text));
  EXPECT_EQ(continuation.finish_reason(), FinishReason::kLength);
}

TEST(Continuation, NeverHandsOutHalfACharacter) {
  const std::string text = "naïve €5 🎭";
  Continuation continuation(demo_tokenizer(), greedy(), {}, {});
  const std::vector<std::string> pieces = pieces_of(continuation, text);
  ASSERT_GT(continuation.ids().size(), text.size() - 9) << "this vocabulary spells these characters byte by byte";
  EXPECT_EQ(joined(pieces), text);
  for (const std::string& piece : pieces) {
    EXPECT_TRUE(piece.empty() || (static_cast<unsigned char>(piece[0]) & 0xc0) != 0x80) << "starts inside a character";
  }
}

TEST(Continuation, EndsBeforeAStopStringAndShowsNoPartOfIt) {
  const std::string text = "ROMEO: aab aaab JULIET: and more";
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"JULIET:"}, "ROMEO: aab aaab "}, {{"aaab"}, "ROMEO: aab "},           {{"ab a"}, "ROMEO: a"}, {{"R"}, ""},
      {{"x", "more", "EO"}, "ROM"},      {{" and more"}, text.substr(0, 23)}, {{"nowhere"}, text},    {{"more "}, text},
  };
  for (const auto& [stops, expected] : cases) {
    GenerateOptions options = greedy();
    options.stop = stops;
    Continuation continuation(demo_tokenizer(), options, {}, {});
    std::string shown;
    for (const std::string& piece : pieces_of(continuation, text)) {
      shown += piece;
      EXPECT_EQ(expected.compare(0, shown.size(), shown), 0) << "showed \"" << shown << '"';
    }
    EXPECT_EQ(shown, expected);
    EXPECT_EQ(continuation.finish_reason(), expected == text ? FinishReason::kLength : FinishReason::kStop);
    EXPECT_EQ(continuation.stop_string().empty(), expected == text);
  }
}

TEST(Continuation, EndsAtAStopTokenUnlessToldNotTo) {
  const Token end = demo_tokenizer().special_id("<|im_end|>");
  Continuation continuation(demo_tokenizer(), greedy(), {}, {});
  EXPECT_EQ(continuation.accept(certain(end)), "");
  ASSERT_TRUE(continuation.finished());
  EXPECT_EQ(continuation.finish_reason(), FinishReason::kStop);
  EXPECT_EQ(continuation.ids(), std::vector<Token>{end});

  GenerateOptions going_on = greedy();
  going_on.ignore_stop_tokens = true;
  Continuation endless(demo_tokenizer(), going_on, {}, {});
  EXPECT_EQ(endless.accept(certain(end)), "");
  EXPECT_FALSE(endless.finished());
}

TEST(Continuation, DrawsNoMoreThanMaxTokens) {
  GenerateOptions options = greedy();
  options.max_tokens = 3;
  Continuation continuation(demo_tokenizer(), options, {}, {});
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(continuation.finished());
    continuation.accept(certain(70));
  }
  EXPECT_TRUE(continuation.finished());
}

TEST(Continuation, NeverDrawsIdsTheTokenizerDoesNotKnow) {
  const std::size_t padded = static_cast<std::size_t>(demo_tokenizer().vocab_size()) + 64;
  std::vector<float> logits = certain(static_cast<Token>(padded - 1), padded);
  logits[70] = 1.0f;
  Continuation continuation(demo_tokenizer(), greedy(), {}, {});
  continuation.accept(logits);
  EXPECT_EQ(continuation.ids(), std::vector<Token>{70});
}

TEST(Continuation, CountsThePromptAsAlreadySaid) {
  GenerateOptions options = greedy();
  options.sampling.presence_penalty = 100;
  const std::vector<Token> prompt = {70};
  Continuation continuation(demo_tokenizer(), options, prompt, {});
  std::vector<float> logits = certain(70);
  logits[71] = 40.0f;
  continuation.accept(logits);
  EXPECT_EQ(continuation.ids(), std::vector<Token>{71});
}

TEST(Continuation, KeepsOneLogprobPerTokenIfAsked) {
  GenerateOptions options = greedy();
  options.sampling.logprobs = 2;
  Continuation continuation(demo_tokenizer(), options, {}, {});
  continuation.accept(certain(70));
  continuation.accept(certain(71));
  ASSERT_EQ(continuation.logprobs().size(), 2u);
  EXPECT_EQ(continuation.logprobs()[1].token, 71);
  EXPECT_EQ(continuation.logprobs()[1].top.size(), 2u);
  EXPECT_NEAR(continuation.logprobs()[1].logprob, 0, 1e-6);
}

TEST(Continuation, RefusesImpossibleOptions) {
  const auto message = [](const GenerateOptions& options) -> std::string {
    try {
      Continuation continuation(demo_tokenizer(), options, {}, {});
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      return error.what();
    }
    return "no error";
  };
  GenerateOptions options;
  options.stop = {"fine", ""};
  EXPECT_EQ(message(options), "stop: expected a text, got an empty one");
  options = {};
  options.max_tokens = -1;
  EXPECT_EQ(message(options), "max_tokens: expected a count of at least 0, got -1");
  options = {};
  options.sampling.top_p = 2;
  EXPECT_EQ(message(options), "top_p: expected a number from 0 to 1, got 2");
}

}  // namespace
}  // namespace kl
