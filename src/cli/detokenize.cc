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
  command.add_option("-f,--file", flags.file, "read the ids from FILE; - is standard input")
      ->type_name("FILE")
      ->check(not_empty())
      ->excludes(words);
  command.add_flag("--skip-special", flags.skip_special, "leave control tokens out");
  CLI::Option* json = command.add_flag("--json", flags.json, "the text as a JSON string");
  command.add_flag("--jsonl", flags.jsonl, "one JSON array of ids per line in, one JSON string per line out")
      ->excludes(json);
}

std::vector<Token> ids_of(const Json& value, const std::string& where) {
  const auto fail = [&](const Json& got) {
    throw Error(ErrorCode::kCorrupt,
                fmt::format("{}: expected a JSON array of token ids, got {}", where, got.describe()));
  };
  if (value.array() == nullptr) fail(value);
  std::vector<Token> ids;
  ids.reserve(value.array()->size());
  for (const Json& entry : *value.array()) {
    const auto id = entry.integer();
    if (!id || *id < 0 || *id > std::numeric_limits<Token>::max()) fail(entry);
    ids.push_back(static_cast<Token>(*id));
  }
  return ids;
}

/// decode() with an unknown id blamed on the place it came from.
std::string decode(const Tokenizer& tokenizer, std::span<const Token> ids, bool skip_special,
                   const std::string& where) {
  for (const Token id : ids) {
    if (id >= tokenizer.vocab_size()) {
      throw Error(ErrorCode::kCorrupt,
                  fmt::format("{}: expected ids below {}, got {}", where, tokenizer.vocab_size(), id));
    }
  }
  return tokenizer.decode(ids, skip_special);
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
      const std::vector<Token> ids = ids_of(Json::parse(*line, input.where(), kLimits), input.where());
      const std::string text = decode(tokenizer, ids, flags.skip_special, input.where());
      output.write(to_line(nlohmann::json(text)));
    }
    output.flush();
    return kExitOk;
  }
  const std::string where = from_arguments ? "ids" : path == "-" ? "standard input" : path;
  const std::string text = from_arguments ? fmt::format("{}", fmt::join(flags.words, " ")) : Input(path).read_all();
  const std::string decoded = decode(tokenizer, parse_ids(text, where), flags.skip_special, where);
  output.write(flags.json ? to_line(nlohmann::json(decoded)) : decoded);
  output.end_text();
  return kExitOk;
}

}  // namespace

void add_detokenize(CLI::App& app, Action& action) {
  add_command<DetokenizeFlags>(app, action, "detokenize", "Show the text of tokens",
                               "  kl detokenize 512 77 31\n"
                               "  kl tokenize -f play.txt --ids | kl detokenize -",
                               define, run_detokenize);
}

}  // namespace kl::cli
