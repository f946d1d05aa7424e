#include "cli/loaded_model.h"

#include <fmt/format.h>

#include "cli/model_location.h"
#include "kl/error.h"

namespace kl::cli {

LoadedModel LoadedModel::open(const std::string& given_dir, const ModelOptions& options, const Admission& admit) {
  const std::filesystem::path dir = find_model(given_dir);
  const ModelArgs args = ModelArgs::load(dir);  // whatever else is missing, first say so if this is no model for kl
  Tokenizer tokenizer = Tokenizer::open(dir);
  if (admit) admit(tokenizer, args, plan_memory(dir, options));
  LoadedModel loaded{dir, std::move(tokenizer), Model::open(dir, options)};
  const int known = loaded.model.args().vocab_size;
  if (loaded.tokenizer.num_ranks() > known) {
    throw Error(ErrorCode::kCorrupt,
                fmt::format("{}: expected a model that knows the {} tokens of its tokenizer, got {}", dir.string(),
                            loaded.tokenizer.num_ranks(), known));
  }
  return loaded;
}

std::string LoadedModel::description() const {
  return fmt::format("{}, {} thread{}", model.isa(), model.threads(), model.threads() == 1 ? "" : "s");
}

Rates::Rates(const GenerateResult& result) {
  if (result.prompt_seconds > 0) prompt = static_cast<double>(result.tokens.prompt) / result.prompt_seconds;
  // The first token comes out of the prompt's pass.
  const auto decoded = static_cast<double>(result.ids.size()) - 1;
  if (decoded > 0 && result.decode_seconds > 0) decode = decoded / result.decode_seconds;
}

std::string summary(const GenerateResult& result) {
  const Rates rates(result);
  std::string text =
      fmt::format("prompt {} tokens, {:.2f} s, {:.1f}/s | text {} tokens, {:.2f} s, {:.1f}/s", result.tokens.prompt,
                  result.prompt_seconds, rates.prompt, result.ids.size(), result.decode_seconds, rates.decode);
  if (result.tokens.drafted > 0)
    text += fmt::format(" | {} of {} drafted were right", result.tokens.accepted, result.tokens.drafted);
  return text;
}

}  // namespace kl::cli
