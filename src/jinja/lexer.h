#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace kl::jinja {

/// A piece of a template.
struct Token {
  enum class Kind : std::uint8_t {
    kText,           ///< between tags, after whitespace control
    kVariableBegin,  ///< {{
    kVariableEnd,
    kBlockBegin,  ///< {%
    kBlockEnd,
    kName,
    kString,   ///< text: what the literal means
    kInteger,  ///< text: as written, without underscores
    kFloat,
    kOperator,
    kEnd,
  };
  Kind kind = Kind::kEnd;
  std::string text;
  int line = 0;

  bool is(Kind k, std::string_view t) const { return kind == k && text == t; }
  bool is_operator(std::string_view t) const { return is(Kind::kOperator, t); }
  bool is_name(std::string_view t) const { return is(Kind::kName, t); }
  /// For messages: what stands there.
  std::string describe() const;
};

/// The most a template's source may have.
constexpr std::size_t kMaxSourceBytes = 1u << 20;

/// Cuts a template into tokens, with trim_blocks and lstrip_blocks as transformers sets them: one newline after a block
/// or comment is dropped, and so are blanks before one that begins its line; a dash strips all whitespace on its side, a
/// plus strips none.  One newline at the end is dropped, and \r\n counts as \n.
/// Throws Error(kUnsupported | kCorrupt) reading `NAME:LINE: ...`.
std::vector<Token> lex(std::string_view source, const std::string& name);

}  // namespace kl::jinja
