#include "grammar/json_grammar.h"

#include <algorithm>

namespace kl::grammar {
namespace {

class JsonState final : public GrammarState {
 public:
  explicit JsonState(const std::shared_ptr<const CompiledSchema>& schema)
      : vocabulary_(schema->vocabulary), matcher_(schema) {}

  void allowed(std::span<std::uint64_t> mask) override {
    std::fill(mask.begin(), mask.end(), 0);
    if (finished()) return;
    matcher_.add_allowed(mask);
    if (!matcher_.may_end()) return;
    for (const Token stop : vocabulary_->tokenizer->stop_tokens()) set_bit(mask, stop);
  }

  void accept(Token token) override {
    const std::span<const Token> stops = vocabulary_->tokenizer->stop_tokens();
    if (std::count(stops.begin(), stops.end(), token) > 0) {
      ended_ = true;
    } else {
      matcher_.read(vocabulary_->tokenizer->bytes_of(token));
    }
  }

  bool finished() const override { return ended_ || !matcher_.may_continue(); }
  std::unique_ptr<GrammarState> clone() const override { return std::make_unique<JsonState>(*this); }

 private:
  std::shared_ptr<const Vocabulary> vocabulary_;
  SchemaMatcher matcher_;
  bool ended_ = false;
};

}  // namespace

std::unique_ptr<GrammarState> JsonGrammar::start() const { return std::make_unique<JsonState>(schema_); }

}  // namespace kl::grammar
