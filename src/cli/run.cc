// kl run: one prompt in, one text out.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <nlohmann/json.hpp>

#include "cli/admission.h"
#include "cli/conversation.h"
#include "cli/exit_status.h"
#include "cli/flags.h"
#include "cli/input.h"
#include "cli/interrupt.h"
#include "cli/json_text.h"
#include "cli/loaded_model.h"
#include "cli/model_location.h"
#include "cli/notice.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "kl/chat_template.h"
#include "kl/error.h"
#include "kl/structured.h"

namespace kl::cli {
namespace {

struct RunFlags {
  std::string dir;
  TextSource prompt;
  std::string system;         // empty: none
  std::string chat_template;  // empty: the model's own
  bool chat = false;
  bool raw = false;
  bool special = false;
  bool json = false;
  bool json_object = false;
  std::optional<std::string> json_schema;  // a file
  bool verbose = false;
  std::int64_t ctx_size = 0;
  GenerateFlags generate;
  SpeculationFlags speculation;
  ModelOptions engine;
};

void define(CLI::App& command, RunFlags& flags) {
  add_model_flag(command, flags.dir);
  CLI::Option* prompt =
      command
          .add_option_function<std::string>(
              "-p,--prompt", [&flags](const std::string& text) { flags.prompt.text = text; }, "the prompt")
          ->type_name("TEXT");
  CLI::Option* file = add_text(command, "-f,--file", flags.prompt.file, "FILE", "read the prompt from FILE");
  file->excludes(prompt);
  command
      .add_option_function<std::string>(
          "input", [&flags](const std::string& path) { flags.prompt.file = path; },
          "- reads the prompt from standard input")
      ->type_name("-")
      ->check(dash_only("a prompt goes after -p"))
      ->excludes(prompt)
      ->excludes(file);
  CLI::Option* chat = command.add_flag("--chat", flags.chat,
                                       "the model answers the prompt (default if its folder has a chat template)");
  CLI::Option* raw = command.add_flag("--raw", flags.raw, "the model continues the prompt (default otherwise)");
  raw->excludes(chat);
  CLI::Option* system =
      command.add_option("--system", flags.system, "a system message before the prompt; means --chat");
  system->type_name("TEXT")->excludes(raw);
  add_chat_template_flag(command, flags.chat_template);
  command.add_flag("--special", flags.special, "text like <|im_end|> becomes that control token; means --raw")
      ->excludes(chat)
      ->excludes(system);
  add_generate_flags(command, flags.generate, 0);
  CLI::Option* logprobs = add_logprobs_flag(command, flags.generate);
  add_speculation_flags(command, flags.speculation);
  add_ctx_flag(command, flags.ctx_size, "-c,--ctx-size",
               "most tokens of prompt and text together; 0 = what the model was trained for");
  add_engine_flags(command, flags.engine);
  CLI::Option* json =
      command.add_flag("--json", flags.json, "one object with text, ids, counts, timings and seed instead of the text");
  logprobs->needs(json);
  CLI::Option* object = command.add_flag("--json-object", flags.json_object, "the text is one JSON object");
  add_text(command, "--json-schema", flags.json_schema, "FILE",
           "the text is one JSON value that the schema in FILE describes")
      ->excludes(object);
  command.add_flag("-v,--verbose", flags.verbose, "show the timing summary even if standard error is no terminal");
}

/// Whether the prompt is a message to answer rather than a text to continue.
bool is_chat(const RunFlags& flags, const Tokenizer& tokenizer) {
  if (flags.chat || !flags.system.empty()) return true;
  if (flags.raw || flags.special) return false;
  const bool has_prompt = flags.prompt.text || flags.prompt.file;
  return has_prompt && tokenizer.has_chat_template();
}

/// The prompt as tokens.  Nothing at all becomes the model's beginning-of-text token, so that it can start by itself.
std::vector<Token> prompt_tokens(const RunFlags& flags, const std::string& text, const Tokenizer& tokenizer,
                                 const ModelArgs& args, bool chat) {
  std::vector<Token> ids;
  if (chat) {
    std::vector<Message> messages;
    if (!flags.system.empty()) messages.push_back({"system", flags.system});
    messages.push_back({"user", text});
    ids = ChatTemplate::open(find_model(flags.dir), flags.chat_template).render_ids(tokenizer, chat_input(messages));
  } else {
    ids = tokenizer.encode(text, flags.special ? SpecialText::kControl : SpecialText::kOrdinary);
  }
  const Token bos = args.bos_token_id;  // may lie beyond the vocabulary of a shrunken model
  if (ids.empty() && bos >= 0 && bos < args.vocab_size) ids.push_back(bos);
  if (ids.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                "prompt: expected some text, as this model has no beginning-of-text token, got none");
  }
  return ids;
}

const char* name_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
    case FinishReason::kTimeout:
      return "interrupted";
  }
  return "";
}

nlohmann::ordered_json logprobs_json(const Tokenizer& tokenizer, const std::vector<SampledToken>& sampled) {
  const auto entry = [&](Token id, float logprob) {
    return nlohmann::ordered_json{{"id", id}, {"text", tokenizer.decode({&id, 1})}, {"logprob", logprob}};
  };
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const SampledToken& s : sampled) {
    nlohmann::ordered_json chosen = entry(s.token, s.logprob);
    chosen["top"] = nlohmann::ordered_json::array();
    for (const TokenLogprob& t : s.top) chosen["top"].push_back(entry(t.token, t.logprob));
    list.push_back(std::move(chosen));
  }
  return list;
}

std::string json_result(const LoadedModel& loaded, const GenerateOptions& options, const GenerateResult& result,
                        const char* format, double load_seconds) {
  const Rates rates(result);
  nlohmann::ordered_json object = {{"text", result.text},
                                   {"ids", result.ids},
                                   {"finish_reason", name_of(result.finish_reason)},
                                   {"stop_string", nullptr},
                                   {"counts",
                                    {{"prompt_tokens", result.tokens.prompt},
                                     {"completion_tokens", result.ids.size()},
                                     {"drafted_tokens", result.tokens.drafted},
                                     {"accepted_tokens", result.tokens.accepted}}},
                                   {"timings",
                                    {{"load_s", load_seconds},
                                     {"prompt_s", result.prompt_seconds},
                                     {"decode_s", result.decode_seconds},
                                     {"prompt_tokens_per_s", rates.prompt},
                                     {"decode_tokens_per_s", rates.decode}}},
                                   {"format", format},
                                   {"seed", options.sampling.seed},
                                   {"model", loaded.dir.string()},
                                   {"isa", loaded.model.isa()},
                                   {"threads", loaded.model.threads()}};
  if (!result.stop_string.empty()) object["stop_string"] = result.stop_string;
  if (options.sampling.logprobs) object["logprobs"] = logprobs_json(loaded.tokenizer, result.logprobs);
  return to_line(object);
}

std::string read_prompt(const RunFlags& flags) {
  if (!flags.prompt.text && !flags.prompt.file) return "";
  std::string text = flags.prompt.read();
  if (text.empty() && flags.prompt.file && *flags.prompt.file != "-") {
    throw Error(ErrorCode::kCorrupt, *flags.prompt.file + ": expected a prompt, got an empty file");
  }
  return text;
}

/// What the text must look like, or nothing.  Throws Error naming the schema's file.
std::shared_ptr<const Grammar> grammar_of(const RunFlags& flags, const std::optional<std::string>& schema,
                                          const Tokenizer& tokenizer) {
  if (!flags.json_object && !schema) return nullptr;
  GrammarCompiler compiler(tokenizer);
  if (flags.json_object) return compiler.json_object();
  try {
    return compiler.json_schema(*schema);
  } catch (const Error& error) {
    throw Error(ErrorCode::kCorrupt, fmt::format("{}: {}", *flags.json_schema, error.what()));
  }
}

int run_run(const RunFlags& flags) {
  const std::string text = read_prompt(flags);
  std::optional<std::string> schema;
  if (flags.json_schema) schema = Input(*flags.json_schema).read_all();
  const auto start = std::chrono::steady_clock::now();
  const char* format = "raw";
  std::vector<Token> prompt;
  GenerateOptions options = flags.generate.decided();
  const auto admit = [&](const Tokenizer& tokenizer, const ModelArgs& args, const MemoryPlan& plan) {
    const bool chat = is_chat(flags, tokenizer);
    if (chat) format = "chat";
    prompt = prompt_tokens(flags, text, tokenizer, args, chat);
    options.max_tokens = admit_text(args, plan, flags.ctx_size, std::ssize(prompt), options.max_tokens);
  };
  LoadedModel loaded = LoadedModel::open(flags.dir, flags.engine, admit);
  options.grammar = grammar_of(flags, schema, loaded.tokenizer);
  const double load_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

  Output output;
  std::optional<ProgressBar> progress("reading prompt");
  GenerateHooks hooks;
  hooks.cancel = &catch_interrupts();
  catch_termination();
  hooks.on_prompt = [&](std::int64_t done, std::int64_t total) {
    progress->update(static_cast<double>(done), static_cast<double>(total));
    if (done == total) progress.emplace("writing text");
  };
  std::int64_t pieces = 0;
  hooks.on_text = [&](std::string_view piece) {
    if (flags.json) {
      progress->update(static_cast<double>(++pieces), static_cast<double>(options.max_tokens));
    } else {
      output.write(piece);
      output.flush();
    }
  };
  SequenceState state = loaded.model.make_cache();
  const GenerateResult result =
      generate(loaded.model, loaded.tokenizer, state, prompt, options, hooks, flags.speculation.max_draft());
  progress.reset();

  if (flags.json) output.write(json_result(loaded, options, result, format, load_seconds));
  output.end_text();
  if (flags.verbose || ::isatty(STDERR_FILENO) == 1) {
    notice(fmt::format("\n[{} | {} | {} | seed {} | {}]\n", summary(result), name_of(result.finish_reason), format,
                       options.sampling.seed, loaded.description()));
  }
  return result.finish_reason == FinishReason::kCancelled ? kExitInterrupted : kExitOk;
}

}  // namespace

void add_run(CLI::App& app, Action& action) {
  add_command<RunFlags>(app, action, "run", "Continue a prompt",
                        "  kl run -p \"ROMEO:\" -n 100 --temp 0.7 --seed 1\n"
                        "  kl run --chat -p \"Who is there?\"",
                        define, run_run);
}

}  // namespace kl::cli
