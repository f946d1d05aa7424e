#include "server/api/prompts.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "server/api/generate_options.h"

namespace kl {
namespace {

constexpr std::size_t kMaxPrompts = 128;

struct Reader {
  const Tokenizer& tokenizer;
  bool mixed, strict;
  SpecialText special;

  std::vector<Token> encode(const OrderedJson& text) const {
    return tokenizer.encode(text.get_ref<const std::string&>(), special);
  }

  Prompt read(const OrderedJson& value, const std::string& path) const {
    if (value.is_string()) return {encode(value), path};
    if (value.is_array()) return {read_elements(value, path), path};
    if (value.is_object() && mixed) {
      const Fields object(value, Body::kPromptObject, path, strict);
      return {encode(*object.find("prompt_string")), path};
    }
    refuse_field(path, "expected a string or an array of tokens, got " + describe(value));
  }

  std::vector<Token> read_elements(const OrderedJson& array, const std::string& path) const {
    std::vector<Token> ids;
    for (std::size_t i = 0; i < array.size(); ++i) {
      if (mixed && array[i].is_string()) {
        const std::vector<Token> more = encode(array[i]);
        ids.insert(ids.end(), more.begin(), more.end());
      } else {
        ids.push_back(read_token(tokenizer, array[i], fmt::format("{}[{}]", path, i)));
      }
    }
    return ids;
  }
};

}  // namespace

bool has_many_prompts(const Fields& body) {
  const OrderedJson& prompt = *body.find("prompt");
  if (!prompt.is_array() || prompt.empty()) return false;
  // One prompt if it holds a number: ids, or a mixture.
  return std::none_of(prompt.begin(), prompt.end(), [](const OrderedJson& element) { return element.is_number(); });
}

std::vector<Prompt> read_prompts(const Tokenizer& tokenizer, const Fields& body, bool mixed, bool parse_special) {
  const Reader reader{tokenizer, mixed, body.is_strict(),
                      parse_special ? SpecialText::kControl : SpecialText::kOrdinary};
  const OrderedJson& prompt = *body.find("prompt");
  const std::string path = body.path_of("prompt");
  if (!has_many_prompts(body)) return {reader.read(prompt, path)};
  if (prompt.size() > kMaxPrompts) {
    refuse_field(path, fmt::format("expected at most {} prompts, got {}", kMaxPrompts, prompt.size()));
  }
  std::vector<Prompt> prompts;
  for (std::size_t i = 0; i < prompt.size(); ++i)
    prompts.push_back(reader.read(prompt[i], fmt::format("{}[{}]", path, i)));
  return prompts;
}

}  // namespace kl
