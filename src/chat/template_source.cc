#include "chat/template_source.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/read_file.h"
#include "gguf/gguf_file.h"
#include "jinja/lexer.h"
#include "kl/error.h"
#include "kl/gguf.h"

namespace kl {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxConfigBytes = 64u << 20;

void add_token(TemplateSource& source, const char* name, std::string_view text) {
  source.variables.push_back({name, nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace),
                              /*is_own=*/true, /*sorts_keys=*/false});
}

/// The field chat_template: a string, or a list of {"name": ..., "template": ...}.
void read_field(const Json& field, TemplateSource& source) {
  if (const std::string* text = field.string()) {
    source.text = *text;
    return;
  }
  if (field.is_null()) return;
  if (field.array() == nullptr) {
    throw Error(ErrorCode::kCorrupt, fmt::format("{}: expected a string or a list of named templates, got {}",
                                                 source.name, field.describe()));
  }
  for (const Json& entry : *field.array()) {
    const Json* name = entry.find("name");
    const Json* text = entry.find("template");
    if (!name || !name->string() || !text || !text->string()) {
      throw Error(ErrorCode::kCorrupt,
                  fmt::format("{}: expected a name and a template, got {}", source.name, entry.describe()));
    }
    if (*name->string() == "default") source.text = *text->string();
    if (*name->string() == "tool_use") source.text_with_tools = *text->string();
  }
  if (source.text.empty())
    throw Error(ErrorCode::kCorrupt, source.name + ": expected a template named default, got none");
}

/// Templates may name the special tokens of the tokenizer.
void read_special_tokens(const Json& config, TemplateSource& source) {
  for (const char* name :
       {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
    const Json* token = config.find(name);
    if (token != nullptr && token->object() != nullptr) token = token->find("content");
    if (token != nullptr && token->string() != nullptr) add_token(source, name, *token->string());
  }
}

TemplateSource find_in_folder(const fs::path& dir) {
  TemplateSource source;
  if (fs::exists(dir / "tokenizer_config.json")) {
    const fs::path path = dir / "tokenizer_config.json";
    const Json config = Json::load(path, kMaxConfigBytes);
    source.name = path.string() + " chat_template";
    if (const Json* field = config.find("chat_template")) read_field(*field, source);
    read_special_tokens(config, source);
  }
  if (fs::exists(fs::symlink_status(dir / "chat_template.jinja"))) {
    source.name = (dir / "chat_template.jinja").string();
    source.text = read_file(dir / "chat_template.jinja", jinja::kMaxSourceBytes);
    source.text_with_tools.reset();
  }
  return source;
}

TemplateSource find_in_gguf(const fs::path& path) {
  TemplateSource source;
  const auto gguf = GgufFile::open(path);
  source.name = path.string() + " tokenizer.chat_template";
  const GgufValue* text = gguf->find("tokenizer.chat_template");
  if (text != nullptr && text->text()) source.text = *text->text();
  const GgufValue* tokens = gguf->find("tokenizer.ggml.tokens");
  const auto names = tokens != nullptr ? tokens->texts() : std::nullopt;
  for (const auto& [key, variable] :
       {std::pair{"tokenizer.ggml.bos_token_id", "bos_token"}, std::pair{"tokenizer.ggml.eos_token_id", "eos_token"}}) {
    const GgufValue* value = gguf->find(key);
    const std::int64_t id = value != nullptr ? value->integer().value_or(-1) : -1;
    if (names && id >= 0 && static_cast<std::size_t>(id) < names->size()) {
      add_token(source, variable, (*names)[static_cast<std::size_t>(id)]);
    }
  }
  return source;
}

}  // namespace

TemplateSource find_template(const fs::path& model) {
  if (is_gguf(model)) return find_in_gguf(model);
  return fs::is_directory(model) ? find_in_folder(model) : TemplateSource();
}

}  // namespace kl
