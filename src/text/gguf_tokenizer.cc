#include "text/gguf_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "base/printable.h"
#include "kl/error.h"
#include "text/gpt2_bytes.h"

namespace kl {
namespace {

constexpr const char* kTokens = "tokenizer.ggml.tokens";
constexpr const char* kTypes = "tokenizer.ggml.token_type";
constexpr const char* kMerges = "tokenizer.ggml.merges";

enum TokenType : std::int64_t { kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5 };

constexpr std::size_t kMaxTokens = 1 << 24;

class Reader {
 public:
  explicit Reader(const GgufFile& gguf) : gguf_(gguf) {}

  TokenizerFiles run() {
    expect_text("tokenizer.ggml.model", "gpt2");
    expect_text("tokenizer.ggml.pre", "kimi-k2");
    read_tokens();
    Vocabulary vocabulary = ranks();
    check_merges(vocabulary);
    ControlTokens control = slots();
    std::vector<Token> stop_tokens = stops(control);
    TokenizerFiles files{std::move(vocabulary), std::move(control), std::move(stop_tokens)};
    if (const GgufValue* value = gguf_.find("tokenizer.chat_template")) {
      const auto text = value->text();
      if (!text) fail("tokenizer.chat_template", "expected a string, got " + value->describe());
      files.has_chat_template = true;
    }
    return files;
  }

 private:
  [[noreturn]] void fail(const std::string& key, const std::string& what, ErrorCode code = ErrorCode::kCorrupt) const {
    throw Error(code, fmt::format("{}: {}: {}", gguf_.name(), key, what));
  }
  [[noreturn]] void fail_at(const char* key, std::size_t i, const std::string& what) const {
    fail(fmt::format("{}[{}]", key, i), what);
  }

  const GgufValue& at(const char* key) const {
    const GgufValue* value = gguf_.find(key);
    if (value == nullptr) fail(key, "missing");
    return *value;
  }

  void expect_text(const char* key, std::string_view expected) const {
    const GgufValue& value = at(key);
    if (!value.text()) fail(key, "expected a string, got " + value.describe());
    if (value.text() != expected) {
      fail(key, fmt::format("expected \"{}\", the tokenizer of the Kimi family, got {}", expected, value.describe()),
           ErrorCode::kUnsupported);
    }
  }

  void read_tokens() {
    const auto tokens = at(kTokens).texts();
    if (!tokens) fail(kTokens, "expected an array of strings, got " + at(kTokens).describe());
    const auto types = at(kTypes).integers();
    if (!types) fail(kTypes, "expected an array of integers, got " + at(kTypes).describe());
    if (tokens->size() > kMaxTokens)
      fail(kTokens, fmt::format("expected at most {} tokens, got {}", kMaxTokens, tokens->size()));
    if (types->size() != tokens->size()) {
      fail(kTypes, fmt::format("expected {} entries, one a token, got {}", tokens->size(), types->size()));
    }
    if (const GgufValue* size = gguf_.find("kimi-linear.vocab_size");
        size != nullptr && size->integer() != static_cast<std::int64_t>(tokens->size())) {
      fail(kTokens,
           fmt::format("expected {} tokens by kimi-linear.vocab_size, got {}", size->describe(), tokens->size()));
    }
    tokens_ = *tokens;
    types_ = *types;
    num_ranks_ = static_cast<std::size_t>(
        std::find_if(types_.begin(), types_.end(), [](std::int64_t type) { return type != kNormal; }) - types_.begin());
    for (std::size_t i = num_ranks_; i < types_.size(); ++i) {
      if (types_[i] == kControl || types_[i] == kUserDefined || types_[i] == kUnused) continue;
      fail_at(kTypes, i,
              fmt::format("expected 3 (control), 4 (user-defined) or 5 (unused) behind the normal tokens, got {}",
                          types_[i]));
    }
  }

  Vocabulary ranks() const {
    std::vector<std::string> tokens;
    for (std::size_t i = 0; i < num_ranks_; ++i) {
      std::string bytes;
      if (!append_gpt2_bytes(tokens_[i], bytes)) {
        fail_at(kTokens, i, fmt::format("expected bytes in GPT-2's alphabet, got \"{}\"", printable(tokens_[i], 60)));
      }
      tokens.push_back(std::move(bytes));
    }
    return Vocabulary::from_tokens(tokens, fmt::format("{}: {}", gguf_.name(), kTokens));
  }

  /// "left right", which together are a token; in the order of those tokens' ids, so that one walk over them finds all.
  void check_merges(const Vocabulary& vocabulary) const {
    const GgufValue* value = gguf_.find(kMerges);
    if (value == nullptr) {
      if (num_ranks_ > 256) fail(kMerges, "missing, though some tokens have more than one byte");
      return;
    }
    const auto merges = value->texts();
    if (!merges) fail(kMerges, "expected an array of strings, got " + value->describe());
    std::uint32_t next = 0;
    std::string made;
    for (std::size_t i = 0; i < merges->size(); ++i) {
      const std::string_view merge = (*merges)[i];
      const std::size_t space = merge.find(' ');
      made.clear();
      const bool is_pair = space != merge.npos && space > 0 && space + 1 < merge.size() &&
                           append_gpt2_bytes(merge.substr(0, space), made) &&
                           append_gpt2_bytes(merge.substr(space + 1), made);
      if (!is_pair || (vocabulary.bytes_of(std::min(next, vocabulary.size() - 1)) != made &&
                       vocabulary.rank_of(made) == Vocabulary::kNoRank)) {
        fail_at(kMerges, i, fmt::format("expected two parts of a token, got \"{}\"", printable(merge, 60)));
      }
      while (next < vocabulary.size() && vocabulary.bytes_of(next) != made) ++next;
      if (next == vocabulary.size()) {
        fail_at(kMerges, i,
                fmt::format("expected merges in the order of the ids they make, got that of {} late",
                            vocabulary.rank_of(made)));
      }
      ++next;
    }
  }

  ControlTokens slots() const {
    const auto first = static_cast<Token>(num_ranks_);
    std::vector<ControlToken> tokens;
    for (std::size_t i = num_ranks_; i < tokens_.size(); ++i) {
      const std::string_view text = tokens_[i];
      const auto id = static_cast<Token>(i);
      if (types_[i] == kUnused || text == fmt::format("[PAD{}]", id)) {
        tokens.push_back({reserved_token_name(id), false});
      } else if (text.empty() || text.size() > ControlTokens::kMaxNameBytes) {
        fail_at(kTokens, i,
                fmt::format("expected a name of 1 to {} bytes, got {}", ControlTokens::kMaxNameBytes, text.size()));
      } else {
        tokens.push_back({std::string(text), types_[i] == kControl});
      }
    }
    overlay_family(tokens);
    std::set<std::string_view> names;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (names.insert(tokens[i].name).second) continue;
      fail_at(kTokens, num_ranks_ + i,
              fmt::format("expected a name of its own, got \"{}\" again", printable(tokens[i].name, 60)));
    }
    return ControlTokens(first, std::move(tokens));
  }

  /// Names what the file leaves unnamed, and keeps the tool markers visible, as for a folder.
  void overlay_family(std::vector<ControlToken>& tokens) const {
    if (num_ranks_ != kFamilyRanks) return;
    for (const NamedControlToken& family : family_control_tokens()) {
      const auto i = static_cast<std::size_t>(family.id) - num_ranks_;
      if (i >= tokens.size()) continue;
      const bool is_used = std::any_of(tokens.begin(), tokens.end(),
                                       [&](const ControlToken& token) { return token.name == family.token.name; });
      if (tokens[i].name == family.token.name || (!is_used && tokens[i].name == reserved_token_name(family.id))) {
        tokens[i] = family.token;
      }
    }
  }

  std::vector<Token> stops(const ControlTokens& control) const {
    std::vector<Token> ids;
    for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
      const GgufValue* value = gguf_.find(key);
      if (value == nullptr) continue;
      const std::int64_t id = value->integer().value_or(-1);
      if (id < 0 || id >= static_cast<std::int64_t>(tokens_.size())) {
        fail(key, fmt::format("expected an id from 0 to {}, got {}", tokens_.size() - 1, value->describe()));
      }
      ids.push_back(static_cast<Token>(id));
    }
    return stop_tokens(ids, control);
  }

  const GgufFile& gguf_;
  std::vector<std::string_view> tokens_;
  std::vector<std::int64_t> types_;
  std::size_t num_ranks_ = 0;
};

}  // namespace

TokenizerFiles gguf_tokenizer_files(const GgufFile& gguf) { return Reader(gguf).run(); }

}  // namespace kl
