#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "jinja/lexer.h"

namespace kl::jinja {

/// The tokens of a template as its parsers read them: one after the other, with a look at the next.
class TokenStream {
 public:
  TokenStream(std::string_view source, const std::string& name);

  const Token& now() const { return tokens_[at_]; }
  const Token& next() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  Token take();
  bool skip_operator(std::string_view text);
  bool skip_name(std::string_view text);
  void expect_operator(std::string_view text);
  void expect(Token::Kind kind, std::string_view what);
  std::string expect_name(std::string_view what);

  /// Throws Error(kUnsupported) reading `NAME:LINE: ...`.
  [[noreturn]] void fail(const std::string& what) const { fail_at(now().line, what); }
  [[noreturn]] void fail_at(int line, const std::string& what) const;
  [[noreturn]] void fail_expected(std::string_view what) const;

 private:
  const std::string& name_;
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
};

/// Counts how deep a parser is in itself.
class Nesting {
 public:
  Nesting(int& depth, const TokenStream& tokens);
  ~Nesting() { --depth_; }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;

 private:
  int& depth_;
};

}  // namespace kl::jinja
