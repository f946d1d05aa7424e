#pragma once
#include <cstddef>
#include <string_view>

namespace kl {

/// The length in bytes of the first piece that the Kimi pre-tokeniser cuts from `text`.  Pieces are what BPE works on:
/// no token of a text reaches over two pieces.
///
/// This is one match of the family's pattern at the start of `text`, found by a scanner written for this pattern alone:
///
///     1  [\p{Han}]+
///     2  [^\r\n\p{L}\p{N}]? U* D+ (?i:'s|'t|'re|'ve|'m|'ll|'d)?
///     3  [^\r\n\p{L}\p{N}]? U+ D* (?i:'s|'t|'re|'ve|'m|'ll|'d)?
///     4  \p{N}{1,3}
///     5  [ ]?[^\s\p{L}\p{N}]+[\r\n]*
///     6  \s*[\r\n]+
///     7  \s+(?!\S)
///     8  \s+
///
/// with U = [Lu Lt Lm Lo M] without Han and D = [Ll Lm Lo M] without Han (kUpper and kLower), Unicode 16.0.0.
///
/// REQUIRES: `text` is well-formed UTF-8, is not empty, and reaches to the end of its segment: alternative 7 looks one
/// character ahead.  Cutting a whole text takes linear time: no character is read more than a few times.
std::size_t first_piece(std::string_view text) noexcept;

}  // namespace kl
