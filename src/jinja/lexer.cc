#include "jinja/lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/printable.h"
#include "base/utf8.h"
#include "jinja/characters.h"
#include "jinja/string_literal.h"
#include "kl/error.h"

namespace kl::jinja {
namespace {

using Kind = Token::Kind;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

/// One kind of newline, and none at the end.
std::string normalise(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
    text += source[i] == '\r' ? '\n' : source[i];
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

class Lexer {
 public:
  Lexer(std::string_view source, const std::string& name) : name_(name), source_(normalise(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      const std::size_t begin = next_tag();
      if (begin == std::string::npos) {
        emit(Kind::kText, source_.substr(at_));
        break;
      }
      read_tag(begin);
    }
    line_at(source_.size());
    tokens_.push_back({Kind::kEnd, "", line_});
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(std::size_t position, const std::string& what) {
    throw Error(ErrorCode::kUnsupported, fmt::format("{}:{}: {}", name_, line_at(position), what));
  }

  /// Positions must not go back.
  int line_at(std::size_t position) {
    for (; counted_ < position; ++counted_) line_ += source_[counted_] == '\n';
    return line_;
  }

  void emit(Kind kind, std::string text) {
    if (kind == Kind::kText && text.empty()) return;
    tokens_.push_back({kind, std::move(text), line_at(at_)});
  }

  std::size_t next_tag() const {
    for (std::size_t i = source_.find('{', at_); i != std::string::npos; i = source_.find('{', i + 1)) {
      if (i + 1 < source_.size() && (source_[i + 1] == '{' || source_[i + 1] == '%' || source_[i + 1] == '#')) return i;
    }
    return std::string::npos;
  }

  std::size_t skip_spaces(std::size_t position) const {
    while (position < source_.size()) {
      const std::size_t bytes = space_length(std::string_view(source_).substr(position));
      if (bytes == 0) break;
      position += bytes;
    }
    return position;
  }

  /// The text before a tag, as the tag's sign and lstrip_blocks leave it.
  std::string before_tag(std::size_t begin, char sign, bool is_variable) const {
    std::string text = source_.substr(at_, begin - at_);
    if (sign == '-') return std::string(rstrip(text));
    if (sign == '+' || is_variable) return text;
    const std::size_t newline = text.rfind('\n');
    const std::size_t line = newline == std::string::npos ? 0 : newline + 1;
    if ((line > 0 || line_starting_) && rstrip(std::string_view(text).substr(line)).empty()) text.resize(line);
    return text;
  }

  char sign_at(std::size_t position) const {
    const char c = position < source_.size() ? source_[position] : '\0';
    return c == '-' || c == '+' ? c : '\0';
  }

  void read_tag(std::size_t begin) {
    const char type = source_[begin + 1];
    const char sign = sign_at(begin + 2);
    const std::size_t inside = begin + (sign != '\0' ? 3 : 2);
    emit(Kind::kText, before_tag(begin, sign, type == '{'));
    at_ = begin;
    if (type == '#') return skip_comment(inside);
    if (type == '%') {
      if (const auto raw = raw_begin(inside)) return read_raw(*raw);
    }
    emit(type == '{' ? Kind::kVariableBegin : Kind::kBlockBegin, "");
    at_ = inside;
    read_expression(type == '%');
  }

  /// Behind the closing "X}" at `position`: what its sign, the character before it, says about whitespace.
  void close(std::size_t position, std::size_t tag_inside, bool trims_newline) {
    const char sign = position > tag_inside ? sign_at(position - 1) : '\0';
    at_ = position + 2;
    if (sign == '-') {
      at_ = skip_spaces(at_);
    } else if (sign == '\0' && trims_newline && at_ < source_.size() && source_[at_] == '\n') {
      ++at_;
    }
    line_starting_ = source_[at_ - 1] == '\n';
  }

  void skip_comment(std::size_t inside) {
    const std::size_t end = source_.find("#}", inside);
    if (end == std::string::npos) fail(at_, "expected #} after {#, got the end of the template");
    close(end, inside, true);
  }

  /// {% raw %}: where what it protects begins.
  std::optional<std::size_t> raw_begin(std::size_t inside) const {
    std::size_t p = skip_spaces(inside);
    if (source_.compare(p, 3, "raw") != 0) return std::nullopt;
    p = skip_spaces(p + 3);
    if (source_.compare(p, 3, "-%}") == 0) return skip_spaces(p + 3);
    if (source_.compare(p, 2, "%}") == 0) return p + 2;
    return std::nullopt;
  }

  void read_raw(std::size_t inside) {
    const std::size_t tag = at_;
    at_ = inside;
    line_starting_ = source_[inside - 1] == '\n';
    for (std::size_t i = source_.find("{%", inside); i != std::string::npos; i = source_.find("{%", i + 1)) {
      const char sign = sign_at(i + 2);
      std::size_t p = skip_spaces(i + (sign != '\0' ? 3 : 2));
      if (source_.compare(p, 6, "endraw") != 0) continue;
      p = skip_spaces(p + 6);
      const std::size_t end = sign_at(p) != '\0' ? p + 1 : p;
      if (source_.compare(end, 2, "%}") != 0) continue;
      emit(Kind::kText, before_tag(i, sign, false));
      return close(end, p, true);
    }
    at_ = tag;
    fail(at_, "expected {% endraw %} after {% raw %}, got the end of the template");
  }

  void read_expression(bool is_block) {
    const std::string_view end = is_block ? "%}" : "}}";
    const std::size_t inside = at_;
    std::string open;  // brackets
    while (true) {
      at_ = skip_spaces(at_);
      if (at_ >= source_.size()) fail(at_, fmt::format("expected {}, got the end of the template", end));
      if (open.empty()) {
        const bool has_sign = source_[at_] == '-' || (is_block && source_[at_] == '+');
        const std::size_t p = at_ + (has_sign ? 1 : 0);
        if (source_.compare(p, 2, end) == 0) {
          emit(is_block ? Kind::kBlockEnd : Kind::kVariableEnd, "");
          return close(p, inside, is_block);
        }
      }
      read_token(open);
    }
  }

  void read_token(std::string& open) {
    const char c = source_[at_];
    if (is_digit(c)) return read_number();
    if (is_name_start(c)) {
      std::size_t end = at_;
      while (end < source_.size() && (is_name_start(source_[end]) || is_digit(source_[end]))) ++end;
      return take(Kind::kName, end);
    }
    if (c == '\'' || c == '"') return read_string(c);
    static constexpr std::array<std::string_view, 6> kPairs = {"//", "**", "==", "!=", "<=", ">="};
    for (const std::string_view pair : kPairs) {
      if (source_.compare(at_, 2, pair) == 0) return take(Kind::kOperator, at_ + 2);
    }
    if (std::string_view("+-*/%~[](){}<>=.:|,").find(c) == std::string_view::npos) {
      fail(at_, fmt::format("expected an expression, got \"{}\"", printable(source_.substr(at_, 1))));
    }
    if (c == '(' || c == '[' || c == '{') open += c == '(' ? ')' : c == '[' ? ']' : '}';
    if (c == ')' || c == ']' || c == '}') {
      if (open.empty() || open.back() != c) fail(at_, fmt::format("expected an expression, got \"{}\"", c));
      open.pop_back();
    }
    take(Kind::kOperator, at_ + 1);
  }

  void take(Kind kind, std::size_t end) {
    std::string text = source_.substr(at_, end - at_);
    if (kind == Kind::kInteger || kind == Kind::kFloat)
      text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
    emit(kind, std::move(text));
    at_ = end;
  }

  /// Digits with single underscores between them.
  std::size_t digits_end(std::size_t p) const {
    while (p < source_.size() &&
           (is_digit(source_[p]) || (source_[p] == '_' && p + 1 < source_.size() && is_digit(source_[p + 1])))) {
      ++p;
    }
    return p;
  }

  void read_number() {
    const char letter = at_ + 1 < source_.size() ? static_cast<char>(source_[at_ + 1] | 0x20) : '\0';
    if (source_[at_] == '0' && (letter == 'x' || letter == 'o' || letter == 'b')) {
      std::size_t end = at_ + 2;
      while (end < source_.size() && (is_name_start(source_[end]) || is_digit(source_[end]))) ++end;
      return take(Kind::kInteger, end);
    }
    const std::size_t whole = digits_end(at_);
    const bool after_dot = at_ > 0 && source_[at_ - 1] == '.';
    std::size_t end = whole;
    if (!after_dot) {
      if (end + 1 < source_.size() && source_[end] == '.' && is_digit(source_[end + 1])) end = digits_end(end + 1);
      std::size_t e = end;
      if (e < source_.size() && (source_[e] | 0x20) == 'e') {
        ++e;
        if (e < source_.size() && (source_[e] == '+' || source_[e] == '-')) ++e;
        if (e < source_.size() && is_digit(source_[e])) end = digits_end(e);
      }
    }
    if (end == whole && source_[at_] == '0' && source_.find_first_not_of("0_", at_) < whole) {
      fail(at_, "expected a number without leading zeros");
    }
    take(end > whole ? Kind::kFloat : Kind::kInteger, end);
  }

  void read_string(char quote) {
    std::size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) fail(at_, fmt::format("expected {} at the end of a string", quote));
    const auto text = unescape(std::string_view(source_).substr(at_ + 1, end - at_ - 1));
    if (!text) fail(at_, "expected a string with escapes that name characters");
    emit(Kind::kString, *text);
    at_ = end + 1;
  }

  const std::string& name_;
  const std::string source_;
  std::size_t at_ = 0;
  std::size_t counted_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::string Token::describe() const {
  switch (kind) {
    case Kind::kText:
      return "text";
    case Kind::kVariableBegin:
      return "{{";
    case Kind::kVariableEnd:
      return "}}";
    case Kind::kBlockBegin:
      return "{%";
    case Kind::kBlockEnd:
      return "%}";
    case Kind::kString:
      return "the string \"" + printable(text, 40) + '"';
    case Kind::kEnd:
      return "the end of the template";
    default:
      return '"' + printable(text, 40) + '"';
  }
}

std::vector<Token> lex(std::string_view source, const std::string& name) {
  if (source.size() > kMaxSourceBytes) {
    throw Error(ErrorCode::kUnsupported, fmt::format("{}: expected a template of at most {} bytes, got {}", name,
                                                     kMaxSourceBytes, source.size()));
  }
  if (const std::size_t sound = well_formed_prefix(source); sound < source.size()) {
    throw Error(ErrorCode::kCorrupt, fmt::format("{}: expected UTF-8, got other bytes at byte {}", name, sound));
  }
  return Lexer(source, name).run();
}

}  // namespace kl::jinja
