#pragma once
#include <compare>
#include <cstdint>

#include "kl/options.h"
#include "kl/tokenizer.h"

namespace kl {

/// A token and the form of MLA it is read in.  Two texts are the same to a model, bit for bit, where both are the same.
class ReadToken {
 public:
  ReadToken() = default;
  /// `form`: kAbsorbed or kExpanded.
  ReadToken(Token token, MlaForm form)
      : bits_(static_cast<std::uint32_t>(token) << 1 | (form == MlaForm::kExpanded ? 1u : 0u)) {}

  Token token() const { return static_cast<Token>(bits_ >> 1); }  ///< its id
  /// The form it is read in: kAbsorbed or kExpanded.
  MlaForm form() const { return (bits_ & 1) != 0 ? MlaForm::kExpanded : MlaForm::kAbsorbed; }
  auto operator<=>(const ReadToken&) const = default;

 private:
  std::uint32_t bits_ = 0;  // both in four bytes: an engine remembers many texts
};

}  // namespace kl
