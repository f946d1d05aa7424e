#include "cli/flags.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <limits>
#include <random>

namespace kl::cli {
namespace {

constexpr int kMostTokens = 1'000'000'000;

}  // namespace

void add_model_flag(CLI::App& command, std::string& dir) {
  add_text(command, "-m,--model", dir, "DIR",
           "model folder or GGUF file (default: $KL_MODEL, else the bundled demo model)");
}

void add_chat_template_flag(CLI::App& command, std::string& choice) {
  add_text(command, "--chat-template", choice, "builtin|FILE",
           "a Jinja template for conversations (default: the model's own, or builtin)");
}

void add_ctx_flag(CLI::App& command, std::int64_t& ctx_size, const char* names, const char* what) {
  constexpr std::int64_t kMost = 1'000'000'000'000;
  add_number(command, names, ctx_size, 0, kMost, what);
}

void add_cache_bytes_flag(CLI::App& command, std::size_t& bytes) {
  add_bytes(command, "--cache-bytes", bytes, "an eighth of what is free",
            "memory for checkpoints of texts that are over");
}

void add_out_flag(CLI::App& command, std::string& out, const char* type, const char* what) {
  add_text(command, "-o,--out", out, type, what)->required();
}

void add_text_source(CLI::App& command, TextSource& source, const char* name) {
  CLI::Option* text = command.add_option_function<std::string>(
      "text",
      [&source](const std::string& value) {
        if (value == "-")
          source.file = value;
        else
          source.text = value;
      },
      "the text; - reads it from standard input, as does giving none");
  text->type_name(name);
  add_text(command, "-f,--file", source.file, "FILE", "read the text from FILE")->excludes(text);
}

void add_threads_flag(CLI::App& command, int& threads) {
  constexpr int kMaxThreads = 1024;
  add_number(command, "-t,--threads", threads, 0, kMaxThreads, "worker threads; 0 = one per core");
}

void add_engine_flags(CLI::App& command, ModelOptions& options) {
  constexpr int kMaxChunk = 65536;
  add_threads_flag(command, options.threads);
  add_number(command, "--chunk", options.chunk_tokens, 0, kMaxChunk,
             "most tokens of one pass; bounds memory only; 0 = 512 to 2048 by the model's size");
  add_choice(command, "--mla", options.mla_form,
             {{"auto", MlaForm::kAuto}, {"absorbed", MlaForm::kAbsorbed}, {"expanded", MlaForm::kExpanded}}, "FORM",
             "form of MLA: auto is fastest, the others never switch");
  add_choice(
      command, "--cache-type", options.cache_type,
      {{"auto", CacheType::kAuto}, {"f32", CacheType::kF32}, {"bf16", CacheType::kBf16}, {"int8", CacheType::kInt8}},
      "TYPE", "of MLA latents: f32, bf16, int8; auto: bf16 if quantised weights meet --compute auto");
  add_choice(command, "--state-type", options.bf16_state, {{"f32", false}, {"bf16", true}}, "TYPE",
             "of KDA states: f32, or bf16: half the memory, less exact");
  add_choice(command, "--compute", options.compute, {{"auto", Compute::kAuto}, {"f32", Compute::kF32}}, "HOW",
             "f32, or auto: quantised weights meet 8-bit activations, bf16 latents bf16");
}

void add_convention_flags(CLI::App& command, ModelOptions& options) {
  add_choice(command, "--router-weights", options.router_weights,
             {{"unbiased", RouterWeights::kUnbiased}, {"hf", RouterWeights::kHf}}, "NAME",
             "unbiased, or hf: the released code's, which hold the correction bias");
  const auto add_eps = [&](const char* name, float& eps, const char* what) {
    add_number(command, name, eps, 1e-30, 1, what)->type_name("EPS")->default_str("");
  };
  add_eps("--kv-a-eps", options.kv_a_norm_eps, "eps of kv_a_layernorm (default: the released code's)");
  add_eps("--l2-eps", options.l2_norm_eps, "eps inside the L2 norm of KDA's q and k (default: the released code's)");
}

namespace {

void add_penalty_flags(CLI::App& command, GenerateFlags& flags) {
  SamplingParams& sampling = flags.options.sampling;
  add_number(command, "--repetition-penalty", sampling.repetition_penalty, 1e-3, 1e3,
             "divides logits of recent tokens");
  add_number(command, "--presence-penalty", sampling.presence_penalty, -100, 100, "subtracted once per recent token");
  add_number(command, "--frequency-penalty", sampling.frequency_penalty, -100, 100, "subtracted per recent occurrence");
  add_number(command, "--penalty-context", flags.penalty_context, 0, kMostTokens,
             "tokens that count as recent; 0 = all");
  command
      .add_option_function<std::vector<std::string>>(
          "--logit-bias",
          [&sampling](const std::vector<std::string>& entries) {
            for (const std::string& entry : entries) {
              const std::size_t equals = entry.find('=');
              auto& [token, bias] = sampling.logit_bias.emplace_back();
              parses_as(entry.substr(0, equals), token);
              parses_as(entry.substr(equals + 1), bias);
            }
          },
          "adds VALUE to the logit of a token; -inf forbids it; may be repeated")
      ->type_name("ID=VALUE")
      ->expected(1)
      ->take_all()
      ->check(check("ID=VALUE", [](const std::string& text) {
        const std::size_t equals = text.find('=');
        Token token = 0;
        float bias = 0;
        return equals != text.npos && parses_as(text.substr(0, equals), token) && token >= 0 &&
               parses_as(text.substr(equals + 1), bias) && bias < std::numeric_limits<float>::infinity();
      }));
}

}  // namespace

GenerateOptions GenerateFlags::decided() const {
  GenerateOptions result = options;
  SamplingParams& sampling = result.sampling;
  // 31 bits are enough to be different every time and short enough to type again.
  sampling.seed = seed ? *seed : std::random_device{}() >> 1;
  sampling.repetition_context = sampling.presence_context = sampling.frequency_context = penalty_context;
  return result;
}

void add_generate_flags(CLI::App& command, GenerateFlags& flags, int fewest_tokens) {
  SamplingParams& sampling = flags.options.sampling;
  sampling.temperature = 0.8f;
  sampling.top_p = 0.95f;
  add_number(command, "-n,--max-tokens", flags.options.max_tokens, fewest_tokens, kMostTokens, "most tokens to write");
  add_number(command, "--temp", sampling.temperature, 0, 100, "temperature; 0 takes the likeliest token each time");
  add_number(command, "--top-k", sampling.top_k, 0, kMostTokens, "keep the N likeliest tokens; 0 = all");
  add_number(command, "--top-p", sampling.top_p, 0, 1, "keep the likeliest tokens up to this mass; 1 = all");
  add_number(command, "--min-p", sampling.min_p, 0, 1, "drop tokens below this part of the likeliest; 0 = none");
  add_penalty_flags(command, flags);
  add_number(command, "--seed", flags.seed, 0, kAnySeed,
             "same seed, same text (default: a new one each time, shown in the summary)");
  add_texts(command, "--stop", flags.options.stop, "TEXT", "end before this text; may be repeated");
  command.add_flag("--ignore-eos", flags.options.ignore_stop_tokens, "go on after the model's end tokens");
}

void add_speculate_flag(CLI::App& command, bool& ngram) {
  add_choice(command, "--speculate", ngram, {{"off", false}, {"ngram", true}}, "HOW",
             "ngram: try several tokens at once where the text repeats itself or the prompt; same text");
}

void add_speculation_flags(CLI::App& command, SpeculationFlags& flags) {
  constexpr int kMostDrafted = 64;
  add_speculate_flag(command, flags.ngram);
  add_number(command, "--max-draft", flags.most, 1, kMostDrafted, "most tokens tried at once by --speculate");
}

CLI::Option* add_logprobs_flag(CLI::App& command, GenerateFlags& flags) {
  constexpr int kMost = 1000;
  return add_number(command, "--logprobs", flags.options.sampling.logprobs, 0, kMost,
                    "in the JSON: log-probability of each token and of the N likeliest");
}

void forbid_values_of_switches(CLI::App& command) {
  for (CLI::Option* option : command.get_options([](const CLI::Option* o) { return o->get_expected_max() == 0; })) {
    option->disable_flag_override();
  }
}

CLI::App& add_subcommand(CLI::App& app, const char* name, const char* summary, const char* example,
                         std::function<void()> on_chosen) {
  CLI::App* command = app.add_subcommand(name, summary);
  command->group("Commands");
  command->footer(std::string("Example:\n") + example);
  command->callback(std::move(on_chosen));
  return *command;
}

}  // namespace kl::cli
