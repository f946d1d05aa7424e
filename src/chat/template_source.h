#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "jinja/template.h"

namespace kl {

/// A chat template as a model brings it.
struct TemplateSource {
  std::string name;  ///< where it stands, for messages
  std::string text;
  std::optional<std::string> text_with_tools;  ///< another one for requests with tools, where the model has two
  std::vector<jinja::Variable> variables;      ///< bos_token and its like
};

/// The template of a model: DIR/chat_template.jinja, else the field chat_template of DIR/tokenizer_config.json (a string, or a
/// list of named templates, of which "default" and "tool_use" count), else tokenizer.chat_template of a GGUF file.  Where the
/// model has none, `text` is empty.
/// Throws Error(kNotFound | kCorrupt) on files that cannot be read.
TemplateSource find_template(const std::filesystem::path& model);

}  // namespace kl
