#pragma once
#include <cstdint>
#include <memory>
#include <span>

#include "kl/tokenizer.h"

namespace kl {

/// Which tokens may come next in one text.  Made by Grammar::start(), advanced token by token.
///
/// Copyable through clone(), as a text that branches needs.  Thread safety: none for one object.
class GrammarState {
 public:
  virtual ~GrammarState() = default;

  /// Sets bit `id % 64` of mask[id / 64] for every token that may come next and clears all others; end tokens are
  /// allowed exactly where the text may end.  At least one bit is set unless finished().
  /// Shapes    mask: ceil(Tokenizer::vocab_size() / 64) words.
  virtual void allowed(std::span<std::uint64_t> mask) = 0;

  /// Takes the token that was drawn.  REQUIRES: allowed() names it.
  virtual void accept(Token token) = 0;

  /// An end token was accepted, or nothing can follow: the text is over.
  virtual bool finished() const = 0;

  /// A text that goes on from here on its own.
  virtual std::unique_ptr<GrammarState> clone() const = 0;
};

/// What a text must look like, compiled for one tokenizer.  Immutable: any number of texts may follow it at once, in
/// any thread.
class Grammar {
 public:
  virtual ~Grammar() = default;
  /// An empty text.
  virtual std::unique_ptr<GrammarState> start() const = 0;
};

}  // namespace kl
