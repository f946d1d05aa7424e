#include "convert/tokenizer_texts.h"

#include <nlohmann/json.hpp>
#include <system_error>

#include "base/read_file.h"
#include "gguf/gguf_file.h"
#include "text/tokenizer_export.h"

namespace kl {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCopiedFiles[] = {
    "tiktoken.model",      "tokenizer_config.json", "generation_config.json", "special_tokens_map.json",
    "chat_template.jinja", "tokenization_kimi.py",  "configuration_kimi.py",  "LICENSE"};
constexpr std::size_t kMaxBytes = 256u << 20;

bool has_file(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

}  // namespace

std::optional<TokenizerFiles> find_tokenizer(const SourceModel& source) {
  if (source.is_gguf()) {
    const auto gguf = GgufFile::open(source.path());
    const GgufValue* model = gguf->find("tokenizer.ggml.model");
    if (model == nullptr || model->text() == "none") return {};
  } else if (!has_file(source.path() / "tiktoken.model")) {
    return {};
  }
  return read_tokenizer_files(source.path());
}

std::optional<std::string> find_chat_template(const SourceModel& source) {
  if (source.is_gguf()) {
    const auto gguf = GgufFile::open(source.path());
    const GgufValue* value = gguf->find("tokenizer.chat_template");
    if (value == nullptr || !value->text()) return {};
    return std::string(*value->text());
  }
  if (has_file(source.path() / "chat_template.jinja"))
    return read_file(source.path() / "chat_template.jinja", kMaxBytes);
  if (!has_file(source.path() / "tokenizer_config.json")) return {};
  const auto config =
      nlohmann::json::parse(read_file(source.path() / "tokenizer_config.json", kMaxBytes), nullptr, false);
  if (!config.is_object() || !config.contains("chat_template") || !config["chat_template"].is_string()) return {};
  return config["chat_template"].get<std::string>();
}

std::vector<FolderText> tokenizer_texts(const SourceModel& source) {
  std::vector<FolderText> texts;
  if (!source.is_gguf()) {
    for (const char* file : kCopiedFiles)
      if (has_file(source.path() / file)) texts.push_back({file, read_file(source.path() / file, kMaxBytes)});
    return texts;
  }
  if (const auto tokenizer = find_tokenizer(source)) {
    texts.push_back({"tiktoken.model", tiktoken_text(*tokenizer)});
    texts.push_back({"tokenizer_config.json", tokenizer_config_text(*tokenizer)});
  }
  if (auto text = find_chat_template(source)) texts.push_back({"chat_template.jinja", std::move(*text)});
  return texts;
}

}  // namespace kl
