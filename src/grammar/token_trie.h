#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "kl/tokenizer.h"

namespace kl::grammar {

/// Texts of tokens as a tree of bytes, in flat arrays.
///
/// Nodes stand in depth-first order: the first child of node n is n + 1, its next sibling end(n), and all that begins
/// like n lies in [n, end(n)).  So a walk reads forwards, and leaving out a subtree is one assignment.
///
///     texts a, ab, b      node    0 (root)   1: a   2: b   3: b
///                         end     4          3      3      4
///                         token   -          a      ab     b
class TokenTrie {
 public:
  struct Text {
    std::string_view bytes;  ///< not empty
    Token token = 0;
    std::uint32_t ticks = 0;  ///< kept beside the token; masks count characters with it
  };

  TokenTrie() = default;
  explicit TokenTrie(std::vector<Text> texts);

  std::uint32_t size() const { return static_cast<std::uint32_t>(bytes_.size()); }
  std::uint8_t byte(std::uint32_t node) const { return bytes_[node]; }
  std::uint32_t end(std::uint32_t node) const { return ends_[node]; }

  /// The texts that end at a node are first_text(n) to first_text(n + 1) - 1 of tokens() and ticks().
  std::uint32_t first_text(std::uint32_t node) const { return first_texts_[node]; }
  Token token(std::uint32_t text) const { return tokens_[text]; }
  std::uint32_t ticks(std::uint32_t text) const { return ticks_[text]; }

  std::size_t memory() const;

 private:
  std::vector<std::uint8_t> bytes_;
  std::vector<std::uint32_t> ends_;
  std::vector<std::uint32_t> first_texts_;  // one more than nodes
  std::vector<Token> tokens_;
  std::vector<std::uint32_t> ticks_;
};

}  // namespace kl::grammar
