#include "grammar/regex_parser.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "grammar/regex.h"

namespace kl::grammar {
namespace {

using Kind = RegexNode::Kind;

CharSet digits() { return {{'0', '9'}}; }
CharSet word_characters() { return {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}; }
CharSet spaces() {
  return {{0x09, 0x0D},     {0x20, 0x20},     {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
          {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
}
CharSet line_ends() { return {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}; }

class RegexParser {
 public:
  explicit RegexParser(std::string_view pattern) : rest_(pattern) {}

  std::vector<RegexNode> run() {
    levels_.emplace_back();
    while (!rest_.empty()) step();
    if (levels_.size() > 1) throw PatternError("a closing )");
    close_level();
    return std::move(nodes_);
  }

 private:
  /// An open group: finished alternatives, and the items of the current one.
  struct Level {
    std::vector<std::uint32_t> alternatives, items;
    bool quantifiable = false;  // the last item may be repeated
  };

  void step() {
    Level& level = levels_.back();
    const std::uint32_t c = take_code_point(rest_);
    switch (c) {
      case '(':
        open_group();
        return;
      case ')':
        if (levels_.size() == 1) throw PatternError("an opening ( before )");
        item(close_level());
        return;
      case '|':
        end_alternative(level);
        return;
      case '^':
      case '$':
        level.items.push_back(add({c == '^' ? Kind::kBegin : Kind::kEnd, {}, {}}));
        level.quantifiable = false;
        return;
      case '*':
        repeat(0, kUnlimited);
        return;
      case '+':
        repeat(1, kUnlimited);
        return;
      case '?':
        repeat(0, 1);
        return;
      case '{':
        if (const auto bounds = take_bounds()) {
          repeat(bounds->first, bounds->second);
          return;
        }
        break;  // an ordinary {
      case '[':
        characters(take_class());
        return;
      case '.':
        characters(complement(line_ends()));
        return;
      case '\\':
        characters(take_escape(/*in_class=*/false));
        return;
      default:
        break;
    }
    characters({{c, c}});
  }

  std::uint32_t add(RegexNode node) {
    nodes_.push_back(std::move(node));
    return static_cast<std::uint32_t>(nodes_.size() - 1);
  }
  void item(std::uint32_t node) {
    levels_.back().items.push_back(node);
    levels_.back().quantifiable = true;
  }
  void characters(CharSet set) { item(add({Kind::kChars, {}, normalised(std::move(set))})); }

  void end_alternative(Level& level) {
    level.alternatives.push_back(add({Kind::kSequence, std::exchange(level.items, {}), {}}));
    level.quantifiable = false;
  }
  std::uint32_t close_level() {
    Level level = std::move(levels_.back());
    levels_.pop_back();
    end_alternative(level);
    return add({Kind::kChoice, std::move(level.alternatives), {}});
  }

  void open_group() {
    if (take("?:")) {
      // a plain group
    } else if (rest_.starts_with("?<") && !rest_.starts_with("?<=") && !rest_.starts_with("?<!")) {
      const std::size_t end = rest_.find('>');  // a name means nothing here
      if (end == rest_.npos) throw PatternError("a closing >");
      rest_.remove_prefix(end + 1);
    } else if (starts_with('?')) {
      throw PatternError("no look-around and no flags of groups");
    }
    levels_.emplace_back();
  }

  void repeat(std::uint32_t least, std::uint32_t most) {
    Level& level = levels_.back();
    if (!level.quantifiable) throw PatternError("something to repeat before a quantifier");
    take("?");  // lazy: the same language
    RegexNode node{Kind::kRepeat, {level.items.back()}, {}};
    node.least = least;
    node.most = most;
    level.items.back() = add(std::move(node));
    level.quantifiable = false;
  }

  bool starts_with(char c) const { return !rest_.empty() && rest_.front() == c; }
  bool take(std::string_view text) {
    if (!rest_.starts_with(text)) return false;
    rest_.remove_prefix(text.size());
    return true;
  }

  /// {n}, {n,} or {n,m} behind its brace; nothing, and nothing taken, if it is none.
  std::optional<std::pair<std::uint32_t, std::uint32_t>> take_bounds() {
    std::string_view text = rest_;
    const auto number = [&text]() -> std::optional<std::uint32_t> {
      std::optional<std::uint32_t> n;
      for (; !text.empty() && text.front() >= '0' && text.front() <= '9'; text.remove_prefix(1)) {
        n = n.value_or(0) * 10 + static_cast<std::uint32_t>(text.front() - '0');
        if (*n > kMostRepeats) throw PatternError(fmt::format("at most {} repetitions", kMostRepeats));
      }
      return n;
    };
    const auto least = number();
    if (!least) return {};
    std::uint32_t most = *least;
    if (!text.empty() && text.front() == ',') {
      text.remove_prefix(1);
      most = number().value_or(kUnlimited);
    }
    if (text.empty() || text.front() != '}') return {};
    rest_ = text.substr(1);
    if (most < *least) throw PatternError("bounds of a repetition in order");
    return std::pair(*least, most);
  }

  std::uint32_t take_hex(std::size_t digits) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < digits; ++i) {
      const char c = i < rest_.size() ? rest_[i] : ' ';
      const int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
      if (digit < 0) throw PatternError(fmt::format("{} hexadecimal digits", digits));
      value = value << 4 | static_cast<std::uint32_t>(digit);
    }
    rest_.remove_prefix(digits);
    return value;
  }

  /// What stands behind a backslash.
  CharSet take_escape(bool in_class) {
    if (rest_.empty()) throw PatternError("a character after \\");
    const std::uint32_t c = take_code_point(rest_);
    const auto one = [](std::uint32_t x) { return CharSet{{x, x}}; };
    switch (c) {
      case 'd':
        return digits();
      case 'D':
        return complement(digits());
      case 'w':
        return word_characters();
      case 'W':
        return complement(word_characters());
      case 's':
        return spaces();
      case 'S':
        return complement(spaces());
      case 'n':
        return one('\n');
      case 'r':
        return one('\r');
      case 't':
        return one('\t');
      case 'f':
        return one('\f');
      case 'v':
        return one('\v');
      case 'x':
        return one(take_hex(2));
      case 'u':
        return one(take_u());
      case '0':
        if (rest_.empty() || rest_.front() < '0' || rest_.front() > '9') return one(0);
        break;
      case 'b':
        if (in_class) return one('\b');
        break;
      default:
        break;
    }
    const bool letter_or_digit = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z' && c < 0x80);
    if (letter_or_digit) throw PatternError(fmt::format("no \\{}", static_cast<char>(c)));
    return one(c);
  }

  std::uint32_t take_u() {
    if (take("{")) throw PatternError("no \\u{");
    const std::uint32_t first = take_hex(4);
    if (first < 0xD800 || first > 0xDFFF) return first;
    if (first > 0xDBFF || !take("\\u")) throw PatternError("pairs of surrogates");
    const std::uint32_t second = take_hex(4);
    if (second < 0xDC00 || second > 0xDFFF) throw PatternError("pairs of surrogates");
    return 0x10000 + ((first & 0x3FF) << 10) + (second & 0x3FF);
  }

  CharSet take_class() {
    const bool negated = take("^");
    CharSet set;
    while (!take("]")) {
      CharSet low = take_class_item();
      const bool single = low.size() == 1 && low[0].low == low[0].high;
      if (starts_with('-') && rest_.size() > 1 && rest_[1] != ']') {
        rest_.remove_prefix(1);
        const CharSet high = take_class_item();
        if (!single || high.size() != 1 || high[0].low != high[0].high || high[0].low < low[0].low) {
          throw PatternError("ranges from one character to a later one");
        }
        low[0].high = high[0].high;
      }
      set.insert(set.end(), low.begin(), low.end());
    }
    set = normalised(std::move(set));
    return negated ? complement(set) : set;
  }

  CharSet take_class_item() {
    if (rest_.empty()) throw PatternError("a closing ]");
    const std::uint32_t c = take_code_point(rest_);
    if (c == '\\') return take_escape(/*in_class=*/true);
    return {{c, c}};
  }

  static constexpr std::uint32_t kMostRepeats = 1'000'000;

  std::string_view rest_;
  std::vector<Level> levels_;
  std::vector<RegexNode> nodes_;
};

}  // namespace

std::vector<RegexNode> parse_regex(std::string_view pattern) { return RegexParser(pattern).run(); }

}  // namespace kl::grammar
