#include "kl/chat_template.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "base/json.h"
#include "base/read_file.h"
#include "chat/builtin_template.h"
#include "chat/template_source.h"
#include "jinja/lexer.h"
#include "jinja/template.h"
#include "kl/error.h"

namespace kl {
namespace {

constexpr const char* kBuiltin = "builtin";

/// Without these the built-in format cannot be said.
void require_control_tokens(const Tokenizer& tokenizer) {
  std::vector<std::string_view> missing;
  for (const char* name : {"<|im_user|>", "<|im_assistant|>", "<|im_system|>", "<|im_middle|>", "<|im_end|>"}) {
    if (tokenizer.special_id(name) < 0) missing.emplace_back(name);
  }
  if (missing.empty()) return;
  throw Error(ErrorCode::kUnsupported,
              fmt::format("chat format: expected a vocabulary with the control tokens of the Kimi chat format, "
                          "got one without {}",
                          fmt::join(missing, " ")));
}

/// Cuts `text` where the template itself spells a control token; what lies between is ordinary text.
std::vector<Token> safe_ids(const jinja::Text& text, const Tokenizer& tokenizer) {
  std::vector<Token> ids;
  const std::string_view bytes = text.bytes();
  std::size_t ordinary = 0;  // where the text not encoded yet begins
  const auto flush = [&](std::size_t end) {
    if (end == ordinary) return;
    const std::vector<Token> part = tokenizer.encode(bytes.substr(ordinary, end - ordinary));
    ids.insert(ids.end(), part.begin(), part.end());
  };
  for (std::size_t begin = 0; begin < bytes.size();) {
    const std::size_t end = text.stretch_end(begin);
    const std::string_view stretch = bytes.substr(begin, end - begin);
    for (std::size_t at = 0; text.is_own(begin) && at < stretch.size();) {
      const Tokenizer::SpecialPlace found = tokenizer.find_special(stretch, at);
      if (found.bytes == 0) break;
      flush(begin + found.position);
      ids.push_back(found.id);
      at = found.position + found.bytes;
      ordinary = begin + at;
    }
    begin = end;
  }
  flush(bytes.size());
  return ids;
}

bool has_tools(const ChatInput& input) {
  if (input.tools.empty()) return false;
  const Json tools = Json::parse(input.tools, "tools");
  return !tools.is_null() && !(tools.array() != nullptr && tools.array()->empty());
}

}  // namespace

struct ChatTemplate::Impl {
  std::string source;
  jinja::Template main;
  std::optional<jinja::Template> with_tools;
  std::vector<jinja::Variable> variables;
  bool is_builtin = false;

  jinja::Text render(const ChatInput& input) const {
    std::vector<jinja::Variable> all = variables;
    all.push_back({"documents", "null"});
    if (!input.variables.empty()) add_variables(input.variables, all);
    all.push_back({"messages", input.messages});
    all.push_back({"tools", input.tools.empty() ? "null" : input.tools, /*is_own=*/false, /*sorts_keys=*/true});
    all.push_back({"add_generation_prompt", input.add_generation_prompt ? "true" : "false"});
    return (with_tools && has_tools(input) ? *with_tools : main).render(all);
  }

  static void add_variables(const std::string& object, std::vector<jinja::Variable>& all) {
    const Json parsed = Json::parse(object, "chat_template_kwargs");
    if (parsed.object() == nullptr) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("chat_template_kwargs: expected an object, got {}", parsed.describe()));
    }
    for (auto& [name, json] : json_members(object)) all.push_back({std::move(name), std::string(json)});
  }
};

ChatTemplate::ChatTemplate(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

ChatTemplate ChatTemplate::parse(std::string_view source, std::string name) {
  jinja::Template parsed(source, std::move(name));
  return ChatTemplate(std::make_shared<const Impl>(Impl{std::string(source), std::move(parsed), {}, {}}));
}

ChatTemplate ChatTemplate::builtin() {
  Impl impl{kBuiltinTemplate, jinja::Template(kBuiltinTemplate, kBuiltin), {}, {}, /*is_builtin=*/true};
  return ChatTemplate(std::make_shared<const Impl>(std::move(impl)));
}

ChatTemplate ChatTemplate::open(const std::filesystem::path& model, const std::string& choice) {
  if (choice == kBuiltin) return builtin();
  TemplateSource found = find_template(model);
  if (!choice.empty()) {
    found.name = choice;
    found.text = read_file(choice, jinja::kMaxSourceBytes);
    found.text_with_tools.reset();
  }
  if (found.text.empty()) return builtin();
  try {
    Impl impl{found.text, jinja::Template(found.text, found.name), {}, std::move(found.variables)};
    if (found.text_with_tools) impl.with_tools.emplace(*found.text_with_tools, found.name + " (tool_use)");
    return ChatTemplate(std::make_shared<const Impl>(std::move(impl)));
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("{} (--chat-template builtin does without this template)", error.what()));
  }
}

std::string ChatTemplate::render(const ChatInput& input) const { return impl_->render(input).bytes(); }

std::vector<Token> ChatTemplate::render_ids(const Tokenizer& tokenizer, const ChatInput& input,
                                            std::size_t from_byte) const {
  if (impl_->is_builtin) require_control_tokens(tokenizer);
  const jinja::Text text = impl_->render(input);
  return safe_ids(from_byte == 0 ? text : text.substr(std::min(from_byte, text.size())), tokenizer);
}

const std::string& ChatTemplate::source() const { return impl_->source; }
const std::string& ChatTemplate::name() const { return impl_->main.name(); }

}  // namespace kl
