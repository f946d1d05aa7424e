#include "text/tokenizer_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "base/json.h"
#include "base/printable.h"
#include "base/problems.h"
#include "base/read_file.h"
#include "gguf/gguf_file.h"
#include "kl/error.h"
#include "kl/gguf.h"
#include "text/gguf_tokenizer.h"

namespace kl {
namespace {

/// More slots than this are taken for a sign of files that do not belong together.
constexpr std::int64_t kMaxSlots = 1 << 20;

constexpr std::size_t kMaxJsonBytes = std::size_t{64} << 20;

constexpr std::size_t kMaxEosTokens = 1024;

/// Reads the JSON files of one folder, gathering what is wrong with them.
class Reader {
 public:
  Reader(const TokenizerTexts& texts, const std::filesystem::path& dir, std::int64_t num_ranks)
      : dir_(dir),
        num_ranks_(num_ranks),
        tokenizer_config_(parse(texts.tokenizer_config, "tokenizer_config.json")),
        config_(parse(texts.config, "config.json")),
        generation_config_(parse(texts.generation_config, "generation_config.json")) {}

  ControlTokens control_tokens();
  std::vector<Token> stop_tokens(const ControlTokens& control);
  bool has_chat_template() const {
    const Json* value = tokenizer_config_.find("chat_template");
    return value != nullptr && !value->is_null();
  }

 private:
  using Names = std::map<Token, ControlToken>;

  std::string path(const char* file) const { return (dir_ / file).string(); }

  Json parse(const std::optional<std::string>& text, const char* file) const {
    if (!text) return Json();
    Json json = Json::parse(*text, path(file));
    if (json.object() == nullptr) {
      throw Error(ErrorCode::kCorrupt, fmt::format("{}: expected an object, got {}", path(file), json.describe()));
    }
    return json;
  }

  void add(const char* file, const std::string& field, const std::string& expected, const std::string& got) {
    problems_.add(fmt::format("{}: {}: expected {}, got {}", file, field, expected, got));
  }
  void throw_if_any() const { problems_.throw_if_any(dir_.string()); }

  Names names_in_file();
  std::int64_t vocab_size(const Names& names);
  void overlay_family(Names& names) const;
  void append_eos(const Json& json, const char* file, const ControlTokens& control, std::vector<Token>& ids);

  const std::filesystem::path& dir_;
  const std::int64_t num_ranks_;
  const Json tokenizer_config_;
  const Json config_;
  const Json generation_config_;
  Problems problems_;
};

/// added_tokens_decoder: {"163586": {"content": "<|im_end|>", "special": true, ...}, ...}
Reader::Names Reader::names_in_file() {
  constexpr const char* kFile = "tokenizer_config.json";
  Names names;
  const Json* decoder = tokenizer_config_.find("added_tokens_decoder");
  if (decoder == nullptr || decoder->is_null()) return names;
  if (decoder->object() == nullptr) {
    add(kFile, "added_tokens_decoder", "an object", decoder->describe());
    return names;
  }
  for (const auto& [key, entry] : *decoder->object()) {
    const std::string field = "added_tokens_decoder[\"" + printable(key, 40) + "\"]";
    Token id = -1;
    std::from_chars(key.data(), key.data() + key.size(), id);
    if (key != std::to_string(id) || id < num_ranks_) {
      add(kFile, field, fmt::format("an id behind the {} ranks of tiktoken.model", num_ranks_), printable(key, 40));
      continue;
    }
    const Json* content = entry.find("content");
    const std::string* name = content == nullptr ? nullptr : content->string();
    if (name == nullptr || name->empty() || name->size() > ControlTokens::kMaxNameBytes) {
      add(kFile, field + ".content", fmt::format("a text of 1 to {} bytes", ControlTokens::kMaxNameBytes),
          content == nullptr ? "nothing" : printable(content->describe(), 60));
      continue;
    }
    const Json* special = entry.find("special");
    if (special != nullptr && !special->boolean()) add(kFile, field + ".special", "true or false", special->describe());
    names[id] = {*name, special == nullptr || special->boolean().value_or(true)};
  }
  return names;
}

std::int64_t Reader::vocab_size(const Names& names) {
  const Json* value = config_.find("vocab_size");
  if (value != nullptr && !value->is_null()) {
    const std::int64_t size = value->integer().value_or(-1);
    if (num_ranks_ <= size && size <= num_ranks_ + kMaxSlots) return size;
    add("config.json", "vocab_size",
        fmt::format("{} (the ranks of tiktoken.model) to {}", num_ranks_, num_ranks_ + kMaxSlots), value->describe());
    throw_if_any();
  }
  if (num_ranks_ == kFamilyRanks || names.empty()) return num_ranks_ + kFamilySlots;
  return std::int64_t{names.rbegin()->first} + 1;
}

/// Gives ids of the family's vocabulary that the file leaves unnamed, or calls reserved, the name the family uses for
/// them, unless the file uses that name elsewhere.
void Reader::overlay_family(Names& names) const {
  if (num_ranks_ != kFamilyRanks) return;
  for (const NamedControlToken& family : family_control_tokens()) {
    const auto found = names.find(family.id);
    if (found != names.end() && found->second.name != reserved_token_name(family.id)) continue;
    const bool is_used = std::any_of(names.begin(), names.end(),
                                     [&](const auto& item) { return item.second.name == family.token.name; });
    if (!is_used) names[family.id] = family.token;
  }
}

ControlTokens Reader::control_tokens() {
  Names names = names_in_file();
  const std::int64_t size = vocab_size(names);
  overlay_family(names);

  std::vector<ControlToken> tokens;
  std::map<std::string_view, Token> ids;
  for (auto id = static_cast<Token>(num_ranks_); id < size; ++id) {
    const auto found = names.find(id);
    tokens.push_back(found == names.end() ? ControlToken{reserved_token_name(id), false} : found->second);
  }
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const auto id = static_cast<Token>(num_ranks_ + static_cast<std::int64_t>(i));
    const auto [other, is_new] = ids.emplace(tokens[i].name, id);
    if (is_new) continue;
    add("tokenizer_config.json", "added_tokens_decoder", "a different name for every id",
        fmt::format("\"{}\" for {} and {}", printable(tokens[i].name, 60), other->second, id));
  }
  for (const auto& [id, token] : names) {
    if (id < size || token.name == reserved_token_name(id)) continue;
    add("tokenizer_config.json", fmt::format("added_tokens_decoder[\"{}\"]", id),
        fmt::format("an id below {}, the size of the vocabulary", size), '"' + printable(token.name, 60) + '"');
  }
  throw_if_any();
  return ControlTokens(static_cast<Token>(num_ranks_), std::move(tokens));
}

/// eos_token_id: an id, a list of ids, or null.
void Reader::append_eos(const Json& json, const char* file, const ControlTokens& control, std::vector<Token>& ids) {
  const Json* value = json.find("eos_token_id");
  if (value == nullptr) return;
  const std::int64_t vocab_size = num_ranks_ + static_cast<std::int64_t>(control.size());
  const auto append = [&](const Json& item) {
    const std::int64_t id = item.integer().value_or(-1);
    if (0 <= id && id < vocab_size) {
      ids.push_back(static_cast<Token>(id));
    } else {
      add(file, "eos_token_id", fmt::format("ids from 0 to {}", vocab_size - 1), item.describe());
    }
  };
  if (const Json::Array* list = value->array(); list != nullptr && list->size() > kMaxEosTokens) {
    add(file, "eos_token_id", fmt::format("at most {} ids", kMaxEosTokens), std::to_string(list->size()));
  } else if (list != nullptr) {
    std::for_each(list->begin(), list->end(), append);
  } else if (!value->is_null()) {
    append(*value);
  }
}

std::vector<Token> Reader::stop_tokens(const ControlTokens& control) {
  std::vector<Token> ids;
  append_eos(generation_config_, "generation_config.json", control, ids);
  if (ids.empty()) append_eos(config_, "config.json", control, ids);
  throw_if_any();
  return kl::stop_tokens(ids, control);
}

}  // namespace

TokenizerFiles parse_tokenizer_files(const TokenizerTexts& texts, const std::filesystem::path& ranks) {
  Vocabulary vocabulary = Vocabulary::parse(texts.tiktoken_model, ranks.string());
  const std::filesystem::path dir = ranks.parent_path();
  Reader reader(texts, dir, vocabulary.size());
  ControlTokens control = reader.control_tokens();
  std::vector<Token> stop_tokens = reader.stop_tokens(control);
  return {std::move(vocabulary), std::move(control), std::move(stop_tokens), reader.has_chat_template()};
}

TokenizerFiles read_tokenizer_files(const std::filesystem::path& dir) {
  if (is_gguf(dir)) return gguf_tokenizer_files(*GgufFile::open(dir));
  std::error_code error;
  const bool is_file = std::filesystem::is_regular_file(dir, error);
  const std::filesystem::path ranks = is_file ? dir : dir / "tiktoken.model";
  const auto read_if_present = [&](const char* file) -> std::optional<std::string> {
    if (is_file) return std::nullopt;
    const std::filesystem::file_status status = std::filesystem::symlink_status(dir / file, error);
    if (!std::filesystem::exists(status)) return std::nullopt;  // a link to nowhere is there, and cannot be read
    return read_file(dir / file, kMaxJsonBytes);
  };
  const TokenizerTexts texts{read_file(ranks, Vocabulary::kMaxFileBytes), read_if_present("tokenizer_config.json"),
                             read_if_present("config.json"), read_if_present("generation_config.json")};
  TokenizerFiles files = parse_tokenizer_files(texts, ranks);
  files.has_chat_template = files.has_chat_template || std::filesystem::exists(dir / "chat_template.jinja", error);
  return files;
}

}  // namespace kl
