#pragma once
#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "kl/tokenizer.h"

namespace kl {

/// One slot behind the ranks.
struct ControlToken {
  std::string name;  ///< how text spells it, such as "<|im_end|>"
  bool is_skipped;   ///< left out when special tokens are skipped in decoding
};

/// A control token by its id, as a file or the family's table gives it.
struct NamedControlToken {
  Token id;
  ControlToken token;
};

/// The control tokens of a vocabulary: ids first() .. first() + size() - 1, all with different names.
class ControlTokens {
 public:
  /// Names are neither empty nor longer than this.
  static constexpr std::size_t kMaxNameBytes = 256;

  /// REQUIRES: the names keep the rules above.
  ControlTokens(Token first, std::vector<ControlToken> tokens);

  Token first() const noexcept { return first_; }
  std::size_t size() const noexcept { return tokens_.size(); }
  bool contains(Token id) const noexcept { return id >= first_ && static_cast<std::size_t>(id - first_) < size(); }

  /// REQUIRES: contains(id).
  const ControlToken& operator[](Token id) const noexcept { return tokens_[static_cast<std::size_t>(id - first_)]; }

  /// The id of this name, or -1.
  Token find(std::string_view name) const noexcept;

  /// A place in a text that spells a control token.
  struct Match {
    std::size_t position;
    std::size_t bytes;  ///< 0: there is none, and position is the end of the text
    Token id;
  };

  /// The leftmost place at or after `from`; of several names that fit there, the longest.
  Match find_in(std::string_view text, std::size_t from) const noexcept;

 private:
  Match match_at(std::string_view text, std::size_t position) const noexcept;

  Token first_;
  std::vector<ControlToken> tokens_;
  std::vector<Token> by_name_;           // ids in the order of their names
  std::array<bool, 256> begins_name_{};  // whether some name starts with this byte
};

/// The name of a slot that no file and no table names.
std::string reserved_token_name(Token id);

/// The number of ranks of the vocabulary that all Kimi models share.
constexpr int kFamilyRanks = 163'584;

/// The slots behind those ranks.
constexpr int kFamilySlots = 256;

/// The family's control tokens that the Kimi Linear models use.  Their ids hold for the family's vocabulary only.
/// The tool markers are not skipped in decoding: whoever reads the text finds the calls by them.
const std::vector<NamedControlToken>& family_control_tokens();

/// The ids that end a text, each once: those a file names, then those of the family, <|im_end|>, [EOS] and [EOT].
std::vector<Token> stop_tokens(const std::vector<Token>& in_file, const ControlTokens& control);

}  // namespace kl
