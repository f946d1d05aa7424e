#include "jinja/token_stream.h"

#include <fmt/format.h>

#include "jinja/ast.h"
#include "kl/error.h"

namespace kl::jinja {

TokenStream::TokenStream(std::string_view source, const std::string& name) : name_(name), tokens_(lex(source, name)) {}

Token TokenStream::take() {
  Token token = std::move(tokens_[at_]);
  tokens_[at_].line = token.line;
  if (at_ + 1 < tokens_.size()) ++at_;
  return token;
}

bool TokenStream::skip_operator(std::string_view text) {
  if (!now().is_operator(text)) return false;
  take();
  return true;
}

bool TokenStream::skip_name(std::string_view text) {
  if (!now().is_name(text)) return false;
  take();
  return true;
}

void TokenStream::expect_operator(std::string_view text) {
  if (!skip_operator(text)) fail_expected(fmt::format("\"{}\"", text));
}

void TokenStream::expect(Token::Kind kind, std::string_view what) {
  if (now().kind != kind) fail_expected(what);
  take();
}

std::string TokenStream::expect_name(std::string_view what) {
  if (now().kind != Token::Kind::kName) fail_expected(what);
  return take().text;
}

void TokenStream::fail_at(int line, const std::string& what) const {
  throw Error(ErrorCode::kUnsupported, fmt::format("{}:{}: {}", name_, line, what));
}

void TokenStream::fail_expected(std::string_view what) const {
  fail(fmt::format("expected {}, got {}", what, now().describe()));
}

Nesting::Nesting(int& depth, const TokenStream& tokens) : depth_(depth) {
  if (depth_ >= kMaxNesting) tokens.fail(fmt::format("expected at most {} nested levels", kMaxNesting));
  ++depth_;
}

}  // namespace kl::jinja
