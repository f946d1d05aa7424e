#pragma once
#include <memory>

#include "grammar/automaton.h"
#include "grammar/mask_cache.h"
#include "grammar/matcher.h"
#include "kl/grammar.h"

namespace kl::grammar {

/// A schema ready to be followed: its automaton, and the masks that its texts have needed so far.
struct CompiledSchema {
  CompiledSchema(Automaton compiled, const std::shared_ptr<const Vocabulary>& words,
                 std::shared_ptr<const StateMask> in_string)
      : automaton(std::move(compiled)), vocabulary(words), masks(automaton, *words, std::move(in_string)) {}

  std::size_t memory() const { return automaton.bytes() + masks.memory(); }

  const Automaton automaton;
  const std::shared_ptr<const Vocabulary> vocabulary;
  mutable MaskCache masks;
};

/// A place in a text of one schema.
class SchemaMatcher {
 public:
  explicit SchemaMatcher(std::shared_ptr<const CompiledSchema> schema)
      : schema_(std::move(schema)), matcher_(schema_->automaton) {}

  void add_allowed(std::span<std::uint64_t> mask) { matcher_.add_allowed(schema_->masks, mask); }
  bool read(std::string_view bytes) { return matcher_.read(bytes); }
  bool may_end() const { return matcher_.may_end(); }
  bool may_continue() const { return matcher_.may_continue(); }

 private:
  std::shared_ptr<const CompiledSchema> schema_;
  Matcher matcher_;
};

/// One JSON text, then an end token.
class JsonGrammar final : public Grammar {
 public:
  explicit JsonGrammar(std::shared_ptr<const CompiledSchema> schema) : schema_(std::move(schema)) {}
  std::unique_ptr<GrammarState> start() const override;

 private:
  std::shared_ptr<const CompiledSchema> schema_;
};

}  // namespace kl::grammar
