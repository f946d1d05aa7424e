// kl detokenize: token ids to text.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "cli/exit_status.h"
#include "cli/flags.h"
#include "cli/input.h"
#include "cli/json_text.h"
#include "cli/model_location.h"
#include "cli/output.h"
#include "kl/error.h"

namespace kl::cli {
namespace {

struct DetokenizeFlags {
  std::string dir;
  std::vector<std::string> words;  // ids, or "-"
  std::string file;
  bool skip_special = false;
  bool jsonl = false;
  bool json = false;
};

void define(CLI::App& command, DetokenizeFlags& flags) {
  add_model_flag(command, flags.dir);
  CLI::Option* words = command.add_option("ids", flags.words, "token ids; - reads them from standard input");
  words->type_name("ID ...");
  add_text(command, "-f,--file", flags.file, "FILE", "read the ids from FILE; - is standard input")->excludes(words);
  command.add_flag("--skip-special", flags.skip_special, "leave control tokens out");
  CLI::Option* json = command.add_flag("--json", flags.json, "the text as a JSON string");
  command.add_flag("--jsonl", flags.jsonl, "one JSON array of ids per line in, one JSON string per line out")
      ->excludes(json);
}

std::vector<Token> ids_of(const Json& value, const std::string& where, int vocab_size) {
  const auto fail = [&](const std::string& expected, const Json& got) {
    throw Error(ErrorCode::kCorrupt, fmt::format("{}: expected {}, got {}", where, expected, got.describe()));
  };
  if (value.array() == nullptr) fail("a JSON array of token ids", value);
  std::vector<Token> ids;
  ids.reserve(value.array()->size());
  for (const Json& entry : *value.array()) {
    const std::int64_t id = entry.integer().value_or(-1);
    if (id < 0 || id >= vocab_size) fail(fmt::format("token ids below {}", vocab_size), entry);
    ids.push_back(static_cast<Token>(id));
  }
  return ids;
}

int run_detokenize(const DetokenizeFlags& flags) {
  const bool from_arguments = !flags.words.empty() && flags.words != std::vector<std::string>{"-"};
  const std::string path = !flags.file.empty() ? flags.file : "-";
  const Tokenizer tokenizer = Tokenizer::open(find_model(flags.dir));
  Output output;
  if (flags.jsonl) {
    Input input(path);
    constexpr JsonLimits kLimits = {.max_depth = 2, .max_elements = std::numeric_limits<std::size_t>::max()};
    while (const auto line = input.next_line()) {
      const Json value = Json::parse(*line, input.where(), kLimits);
      const std::vector<Token> ids = ids_of(value, input.where(), tokenizer.vocab_size());
      output.write(to_line(nlohmann::json(tokenizer.decode(ids, flags.skip_special))));
    }
    return output.finish();
  }
  std::vector<Token> ids;
  if (from_arguments) {
    const std::string words = fmt::format("{}", fmt::join(flags.words, " "));
    ids = parse_ids(words, "ids", tokenizer.vocab_size(), ErrorCode::kInvalidArgument);
  } else {
    Input input(path);
    ids = parse_ids(input.read_all(), input.name(), tokenizer.vocab_size());
  }
  const std::string decoded = tokenizer.decode(ids, flags.skip_special);
  output.write(flags.json ? to_line(nlohmann::json(decoded)) : decoded);
  output.end_text();
  return kExitOk;
}

}  // namespace

void add_detokenize(CLI::App& app, Action& action) {
  add_command<DetokenizeFlags>(app, action, "detokenize", "Show the text of tokens",
                               "  kl detokenize 403 308\n"
                               "  kl tokenize -f play.txt --ids | kl detokenize -",
                               define, run_detokenize);
}

}  // namespace kl::cli
