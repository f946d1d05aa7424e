// Properties of masks, on random schemas and several vocabularies.
#include <gtest/gtest.h>

#include "grammar/matcher.h"
#include "grammar/schema_compiler.h"
#include "kl/structured.h"
#include "tests/grammar/random_schema.h"
#include "tests/grammar/validator.h"
#include "tests/text/small_vocabulary.h"

namespace kl {
namespace {

using test::OrderedJson;
using test::Random;
using test::RandomSchema;
using test::Validator;
using Mask = std::vector<std::uint64_t>;

/// Schemas for one run; $KL_GRAMMAR_SCHEMAS asks for more.
int num_schemas() {
  const char* wanted = std::getenv("KL_GRAMMAR_SCHEMAS");
  return wanted == nullptr ? 60 : std::atoi(wanted);
}

class Masks : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    tokenizer_ = std::make_unique<Tokenizer>(Tokenizer::open(test::small_model_dir()));
    compiler_ = std::make_unique<GrammarCompiler>(*tokenizer_);
  }
  static void TearDownTestSuite() {
    compiler_.reset();
    tokenizer_.reset();
  }

  static Mask empty_mask() { return Mask((static_cast<std::size_t>(tokenizer_->vocab_size()) + 63) / 64); }
  static bool is_stop(Token token) {
    const auto stops = tokenizer_->stop_tokens();
    return std::count(stops.begin(), stops.end(), token) > 0;
  }

  /// Draws an allowed token.  What may end strings and lists is preferred, the more so the longer the text.
  static Token draw(const Mask& mask, Random& random, std::size_t length) {
    std::vector<Token> allowed, ending;
    for (Token id = 0; id < tokenizer_->vocab_size(); ++id) {
      if (!grammar::has_bit(mask, id)) continue;
      allowed.push_back(id);
      const std::string_view bytes = tokenizer_->bytes_of(id);
      if (is_stop(id) || std::string_view("\"}]xac").find(bytes) != std::string_view::npos) ending.push_back(id);
    }
    if (allowed.empty()) return -1;
    const bool end = !ending.empty() && (length > 150 || random.below(3) == 0);
    const std::vector<Token>& from = end ? ending : allowed;
    return from[static_cast<std::size_t>(random.below(static_cast<std::ptrdiff_t>(from.size())))];
  }

  static inline std::unique_ptr<Tokenizer> tokenizer_;
  static inline std::unique_ptr<GrammarCompiler> compiler_;
};

TEST_F(Masks, EveryWalkThroughAllowedTokensEndsInAValidText) {
  Random random(1);
  int walks = 0;
  for (int n = 0; n < num_schemas(); ++n) {
    const OrderedJson schema = RandomSchema(static_cast<std::uint64_t>(n)).schema();
    SCOPED_TRACE(schema.dump());
    const auto grammar = compiler_->json_schema(schema.dump());
    for (int walk = 0; walk < 4; ++walk, ++walks) {
      const auto state = grammar->start();
      Mask mask = empty_mask();
      std::vector<Token> ids;
      while (!state->finished() && ids.size() < 3000) {
        state->allowed(mask);
        const Token id = draw(mask, random, ids.size());
        ASSERT_GE(id, 0) << "a dead end after " << tokenizer_->decode(ids);
        state->accept(id);
        if (!is_stop(id)) ids.push_back(id);
      }
      ASSERT_TRUE(state->finished());
      std::string text;
      for (const Token id : ids) text += tokenizer_->bytes_of(id);
      const OrderedJson value = OrderedJson::parse(text, nullptr, /*allow_exceptions=*/false);
      ASSERT_FALSE(value.is_discarded()) << text;
      ASSERT_TRUE(Validator(schema).valid(value)) << text;
    }
  }
  EXPECT_GE(walks, 4);
}

TEST_F(Masks, EveryTokenOfAValidTextIsAllowed) {
  for (int n = 0; n < 4 * num_schemas(); ++n) {
    RandomSchema random(static_cast<std::uint64_t>(n) + 1000);
    const OrderedJson schema = random.schema();
    const OrderedJson value = random.value(schema, schema);
    ASSERT_TRUE(Validator(schema).valid(value)) << schema << value;
    const auto grammar = compiler_->json_schema(schema.dump());
    for (const std::string& text : {value.dump(), value.dump(2), value.dump(1, '\t')}) {
      const auto state = grammar->start();
      Mask mask = empty_mask();
      std::string read;
      for (const Token id : tokenizer_->encode(text)) {
        state->allowed(mask);
        ASSERT_TRUE(grammar::has_bit(mask, id)) << schema << "\n" << text << "\nafter " << read;
        state->accept(id);
        read += tokenizer_->bytes_of(id);
      }
      if (state->finished()) continue;
      state->allowed(mask);
      ASSERT_TRUE(grammar::has_bit(mask, tokenizer_->stop_tokens()[0])) << schema << "\n" << text;
    }
  }
}

/// Every mask of a walk against reading the bytes of every token on its own.
void expect_brute_force(const Tokenizer& tokenizer, const OrderedJson& schema, std::uint64_t seed) {
  const grammar::Vocabulary vocabulary(tokenizer);
  const grammar::Automaton automaton = grammar::compile_schema(schema.dump(), false, {});
  grammar::MaskCache masks(automaton, vocabulary,
                           std::make_shared<grammar::StateMask>(automaton, grammar::kInString, vocabulary));
  Random random(seed);
  grammar::Matcher matcher(automaton);
  std::string text;
  for (int step = 0; step < 40 && matcher.may_continue(); ++step) {
    Mask mask(vocabulary.mask_words);
    matcher.add_allowed(masks, mask);
    std::vector<Token> fitting;
    for (Token id = 0; id < tokenizer.num_ranks(); ++id) {
      grammar::Matcher copy = matcher;
      const bool fits = copy.read(tokenizer.bytes_of(id));
      if (fits) fitting.push_back(id);
      ASSERT_EQ(grammar::has_bit(mask, id), fits) << schema << " step " << step << " token " << tokenizer.bytes_of(id);
    }
    ASSERT_FALSE(fitting.empty()) << "a dead end after " << text << " of " << schema;
    const auto chosen = static_cast<std::size_t>(random.below(static_cast<std::ptrdiff_t>(fitting.size())));
    ASSERT_TRUE(matcher.read(tokenizer.bytes_of(fitting[chosen])));
    text += tokenizer.bytes_of(fitting[chosen]);
  }
}

TEST_F(Masks, EqualBruteForce) {
  for (int n = 0; n < num_schemas(); ++n) {
    const OrderedJson schema = RandomSchema(static_cast<std::uint64_t>(n) + 5000).schema();
    expect_brute_force(*tokenizer_, schema, static_cast<std::uint64_t>(n));
    if (HasFatalFailure()) return;
  }
}

TEST_F(Masks, EqualBruteForceOnAVocabularyOfBytesAndOddPieces) {
  const test::TemporaryFolder folder;
  std::string model = test::bytes_only_model();
  int rank = 256;
  for (const std::string piece :
       {"\",",   "\",\"",   "\": ",     "\":",        "\"}",   "\"}]",     "}}",         "},", "[[",  "\\\"", "\\u",
        "\\u00", "\\ud83d", "\xC3\xA9", "\xC3\xA9\"", "a\"",   "ab\":",    "0.",         "1,", "12]", "tr",   "null",
        "null,", "\n  ",    " \"",      "\"na",       "me\":", "\xF0\x9F", "\x98\x80\"", "e+", "-1"}) {
    model += test::base64_of(piece) + " " + std::to_string(rank++) + "\n";
  }
  folder.write("tiktoken.model", model);
  const Tokenizer tokenizer = Tokenizer::open(folder.path());
  for (int n = 0; n < 2 * num_schemas(); ++n) {
    const OrderedJson schema = RandomSchema(static_cast<std::uint64_t>(n) + 9000).schema();
    expect_brute_force(tokenizer, schema, static_cast<std::uint64_t>(n));
    if (HasFatalFailure()) return;
  }
}

TEST_F(Masks, ACloneGoesItsOwnWay) {
  const auto grammar =
      compiler_->json_schema(R"({"type":"array","items":{"type":"string","maxLength":3},"maxItems":2})");
  const auto state = grammar->start();
  Mask before = empty_mask(), after = empty_mask(), other = empty_mask();
  for (const Token id : tokenizer_->encode("[\"a")) state->accept(id);
  state->allowed(before);
  const auto copy = state->clone();
  for (const Token id : tokenizer_->encode("\"]")) copy->accept(id);
  EXPECT_TRUE(copy->finished());
  EXPECT_FALSE(state->finished());
  state->allowed(after);
  EXPECT_EQ(before, after);
  const auto second = state->clone();
  for (const Token id : tokenizer_->encode("bc")) state->accept(id);
  second->allowed(other);
  EXPECT_EQ(before, other);
}

}  // namespace
}  // namespace kl
