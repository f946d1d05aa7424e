#include "cli/flags.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <type_traits>

#include "base/printable.h"

namespace kl::cli {
namespace {

constexpr std::int64_t kMostTokens = 1'000'000'000;

/// True if all of `text` is one number.
template <class T>
bool parses_as(const std::string& text, T& value) {
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  return problem == std::errc{} && end == text.data() + text.size();
}

CLI::Validator check(std::string expected, std::function<bool(const std::string&)> accepts) {
  return CLI::Validator(
      [expected = std::move(expected), accepts = std::move(accepts)](const std::string& text) -> std::string {
        return accepts(text)
                   ? ""
                   : fmt::format("expected {}, got {}", expected, text.empty() ? "nothing" : printable(text, 60));
      },
      "");
}

CLI::Validator seed_check() {
  return check("a whole number from 0 to 18446744073709551615", [](const std::string& text) {
    std::uint64_t value = 0;
    return parses_as(text, value);
  });
}

/// Sets a field of type T from text that a validator has already accepted.
template <class T>
std::function<void(const std::string&)> into(T& field) {
  return [&field](const std::string& text) {
    std::conditional_t<std::is_integral_v<T>, T, double> value{};  // what is too small for a float becomes 0
    parses_as(text, value);
    field = static_cast<T>(value);
  };
}

template <class T>
CLI::Option* add_number(CLI::App& command, const char* names, T& field, double low, double high, const char* what) {
  CLI::Option* option = command.add_option_function<std::string>(names, into(field), what)->type_name("N");
  option->default_str(fmt::format("{}", field));
  if constexpr (std::is_integral_v<T>) {
    return option->check(integer_in(static_cast<std::int64_t>(low), static_cast<std::int64_t>(high)));
  } else {
    return option->check(number_in(low, high));
  }
}

}  // namespace

CLI::Validator number_in(double low, double high) {
  return check(fmt::format("a number from {} to {}", low, high), [=](const std::string& text) {
    double value = 0;
    return parses_as(text, value) && std::isfinite(value) && low <= value && value <= high;
  });
}

CLI::Validator integer_in(std::int64_t low, std::int64_t high) {
  return check(fmt::format("a whole number from {} to {}", low, high), [=](const std::string& text) {
    std::int64_t value = 0;
    return parses_as(text, value) && low <= value && value <= high;
  });
}

CLI::Validator one_of(std::vector<std::string> words) {
  std::string expected = fmt::format("{}", fmt::join(words, " or "));
  return check(std::move(expected), [words = std::move(words)](const std::string& text) {
    return std::find(words.begin(), words.end(), text) != words.end();
  });
}

CLI::Validator not_empty() {
  return check("a text", [](const std::string& text) { return !text.empty(); });
}

CLI::Validator dash_only(const char* hint) {
  return check(fmt::format("- or nothing ({})", hint), [](const std::string& text) { return text == "-"; });
}

void add_model_flag(CLI::App& command, std::string& dir) {
  command.add_option("-m,--model", dir, "model folder or GGUF file (default: $KL_MODEL, else the bundled demo model)")
      ->type_name("DIR")
      ->check(not_empty());
}

void add_chat_template_flag(CLI::App& command, std::string& choice) {
  command
      .add_option("--chat-template", choice,
                  "a Jinja template for conversations (default: the model's own, or builtin)")
      ->type_name("builtin|FILE")
      ->check(not_empty());
}

void add_ctx_flag(CLI::App& command, std::int64_t& ctx_size, const char* names, const char* what) {
  constexpr double kMost = 1e12;
  add_number(command, names, ctx_size, 0, kMost, what);
}

void add_cache_bytes_flag(CLI::App& command, std::int64_t& bytes) {
  constexpr double kMost = 1e15;
  add_number(command, "--cache-bytes", bytes, 0, kMost,
             "memory for what texts leave behind; 0 = an eighth of what is free");
}

void add_seed_flag(CLI::App& command, std::uint64_t& seed, const char* what) {
  command.add_option_function<std::string>("--seed", into(seed), what)
      ->type_name("N")
      ->default_str("0")
      ->check(seed_check());
}

CLI::Option* add_list_flag(CLI::App& command, const char* names, std::vector<int>& list, int low, int high,
                           const char* what) {
  const auto parse = [low, high](const std::string& text) {
    std::optional<std::vector<int>> numbers(std::in_place);
    for (std::size_t at = 0; numbers && at <= text.size();) {
      const std::size_t comma = std::min(text.find(',', at), text.size());
      int number = 0;
      if (!parses_as(text.substr(at, comma - at), number) || number < low || number > high) return decltype(numbers){};
      numbers->push_back(number);
      at = comma + 1;
    }
    return numbers;
  };
  return command
      .add_option_function<std::string>(
          names, [&list, parse](const std::string& text) { list = *parse(text); }, what)
      ->type_name("N,...")
      ->default_str(fmt::format("{}", fmt::join(list, ",")))
      ->check(check(fmt::format("whole numbers from {} to {} separated by commas", low, high),
                    [parse](const std::string& text) { return parse(text).has_value(); }));
}

CLI::Option* add_count_flag(CLI::App& command, const char* names, int& count, int low, int high, const char* what) {
  return add_number(command, names, count, low, high, what);
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
  command
      .add_option_function<std::string>(
          "-f,--file", [&source](const std::string& path) { source.file = path; }, "read the text from FILE")
      ->type_name("FILE")
      ->check(not_empty())
      ->excludes(text);
}

void add_threads_flag(CLI::App& command, int& threads) {
  constexpr int kMaxThreads = 1024;
  add_number(command, "-t,--threads", threads, 0, kMaxThreads, "worker threads; 0 = one per core");
}

void add_engine_flags(CLI::App& command, ModelOptions& options, const char* default_mla) {
  constexpr int kMaxChunk = 65536;
  add_threads_flag(command, options.threads);
  add_number(command, "--chunk", options.chunk_tokens, 0, kMaxChunk,
             "most tokens of one pass; bounds memory only; 0 = 512 to 2048 by the model's size");
  static const std::map<std::string, MlaForm> kForms = {
      {"auto", MlaForm::kAuto}, {"absorbed", MlaForm::kAbsorbed}, {"expanded", MlaForm::kExpanded}};
  options.mla_form = kForms.at(default_mla);
  command
      .add_option_function<std::string>(
          "--mla", [&options](const std::string& form) { options.mla_form = kForms.at(form); },
          "form of MLA: auto is fastest, the others never switch")
      ->type_name("FORM")
      ->default_str(default_mla)
      ->check(one_of({"auto", "absorbed", "expanded"}));
  static const std::map<std::string, CacheType> kTypes = {
      {"auto", CacheType::kAuto}, {"f32", CacheType::kF32}, {"bf16", CacheType::kBf16}, {"int8", CacheType::kInt8}};
  command
      .add_option_function<std::string>(
          "--cache-type", [&options](const std::string& type) { options.cache_type = kTypes.at(type); },
          "of MLA latents: f32, bf16, int8; auto: bf16 if quantised weights meet --compute auto")
      ->type_name("TYPE")
      ->default_str("auto")
      ->check(one_of({"auto", "f32", "bf16", "int8"}));
  command
      .add_option_function<std::string>(
          "--state-type", [&options](const std::string& type) { options.bf16_state = type == "bf16"; },
          "of KDA states: f32, or bf16: half the memory, less exact")
      ->type_name("TYPE")
      ->default_str("f32")
      ->check(one_of({"f32", "bf16"}));
  command
      .add_option_function<std::string>(
          "--compute",
          [&options](const std::string& how) { options.compute = how == "f32" ? Compute::kF32 : Compute::kAuto; },
          "f32, or auto: quantised weights meet 8-bit activations, bf16 latents bf16")
      ->type_name("HOW")
      ->default_str("auto")
      ->check(one_of({"auto", "f32"}));
}

void add_convention_flags(CLI::App& command, ModelOptions& options) {
  command
      .add_option_function<std::string>(
          "--router-weights",
          [&options](const std::string& name) {
            options.router_weights = name == "hf" ? RouterWeights::kHf : RouterWeights::kUnbiased;
          },
          "unbiased, or hf: the released code's, which hold the correction bias")
      ->type_name("NAME")
      ->default_str("unbiased")
      ->check(one_of({"unbiased", "hf"}));
  const auto add_eps = [&](const char* name, float& eps, const char* what) {
    command.add_option_function<std::string>(name, into(eps), what)->type_name("EPS")->check(number_in(1e-30, 1));
  };
  add_eps("--kv-a-eps", options.kv_a_norm_eps, "eps of kv_a_layernorm (default: the released code's)");
  add_eps("--l2-eps", options.l2_norm_eps, "eps inside the L2 norm of KDA's q and k (default: the released code's)");
}

namespace {

void add_penalty_flags(CLI::App& command, SamplingParams& sampling) {
  add_number(command, "--repetition-penalty", sampling.repetition_penalty, 1e-3, 1e3,
             "divides logits of recent tokens");
  add_number(command, "--presence-penalty", sampling.presence_penalty, -100, 100, "subtracted once per recent token");
  add_number(command, "--frequency-penalty", sampling.frequency_penalty, -100, 100, "subtracted per recent occurrence");
  command
      .add_option_function<std::string>(
          "--penalty-context",
          [&sampling](const std::string& text) {
            parses_as(text, sampling.repetition_context);
            sampling.presence_context = sampling.frequency_context = sampling.repetition_context;
          },
          "tokens that count as recent; 0 = all")
      ->type_name("N")
      ->default_str("20")
      ->check(integer_in(0, kMostTokens));
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

GenerateOptions GenerateFlags::with_seed() const {
  GenerateOptions seeded = options;
  // 31 bits are enough to be different every time and short enough to type again.
  seeded.sampling.seed = seed ? *seed : std::random_device{}() >> 1;
  return seeded;
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
  add_penalty_flags(command, sampling);
  command
      .add_option_function<std::string>(
          "--seed", [&flags](const std::string& text) { parses_as(text, flags.seed.emplace()); },
          "same seed, same text (default: a new one each time, shown in the summary)")
      ->type_name("N")
      ->check(seed_check());
  command
      .add_option_function<std::vector<std::string>>(
          "--stop", [&flags](const std::vector<std::string>& texts) { flags.options.stop = texts; },
          "end before this text; may be repeated")
      ->type_name("TEXT")
      ->expected(1)
      ->take_all()
      ->check(not_empty());
  command.add_flag("--ignore-eos", flags.options.ignore_stop_tokens, "go on after the model's end tokens");
}

void add_speculation_flags(CLI::App& command, SpeculationFlags& flags) {
  constexpr int kMostDrafted = 64;
  command
      .add_option_function<std::string>(
          "--speculate", [&flags](const std::string& how) { flags.ngram = how == "ngram"; },
          "ngram: try several tokens at once where the text repeats itself or the prompt; same text")
      ->type_name("HOW")
      ->default_str("off")
      ->check(one_of({"off", "ngram"}));
  add_count_flag(command, "--max-draft", flags.most, 1, kMostDrafted, "most tokens tried at once by --speculate");
}

CLI::Option* add_logprobs_flag(CLI::App& command, GenerateFlags& flags) {
  constexpr int kMost = 1000;
  return command
      .add_option_function<std::string>(
          "--logprobs",
          [&flags](const std::string& text) { parses_as(text, flags.options.sampling.logprobs.emplace()); },
          "in the JSON: log-probability of each token and of the N likeliest")
      ->type_name("N")
      ->check(integer_in(0, kMost));
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
