// kl tokenize: text to token ids.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/printable.h"
#include "cli/flags.h"
#include "cli/input.h"
#include "cli/json_text.h"
#include "cli/model_location.h"
#include "cli/output.h"
#include "kl/error.h"

namespace kl::cli {
namespace {

struct TokenizeFlags {
  std::string dir;
  TextSource source;
  bool ids = false;
  bool special = false;
  bool jsonl = false;
  bool json = false;
};

void define(CLI::App& command, TokenizeFlags& flags) {
  add_model_flag(command, flags.dir);
  add_text_source(command, flags.source, "TEXT");
  CLI::Option* ids = command.add_flag("--ids", flags.ids, "only the ids, on one line");
  CLI::Option* json = command.add_flag("--json", flags.json, "one object: ids, count, and the text of each token");
  command.add_flag("--jsonl", flags.jsonl, "one JSON string per line in, one JSON array of ids per line out");
  command.add_flag("--special", flags.special, "text like <|im_end|> becomes that control token");
  ids->excludes(json);
}

/// Every token on a line of its own: id, tab, its bytes.
std::string table(const Tokenizer& tokenizer, std::span<const Token> ids) {
  std::string text;
  for (const Token id : ids) text += fmt::format("{}\t{}\n", id, printable(tokenizer.bytes_of(id)));
  return text;
}

nlohmann::ordered_json object(const Tokenizer& tokenizer, std::span<const Token> ids) {
  std::vector<std::string> texts;
  for (const Token id : ids) texts.push_back(tokenizer.decode({&id, 1}));
  return {{"count", ids.size()}, {"ids", ids}, {"tokens", texts}};
}

void each_line(const Tokenizer& tokenizer, const TokenizeFlags& flags, SpecialText special, Output& output) {
  Input input(flags.source.path_or_stdin());
  while (const auto line = input.next_line()) {
    const Json value = Json::parse(*line, input.where());
    if (value.string() == nullptr) {
      throw Error(ErrorCode::kCorrupt,
                  fmt::format("{}: expected a JSON string, got {}", input.where(), value.describe()));
    }
    output.write(fmt::format("[{}]\n", fmt::join(tokenizer.encode(*value.string(), special), ",")));
  }
}

int run_tokenize(const TokenizeFlags& flags) {
  const Tokenizer tokenizer = Tokenizer::open(find_model(flags.dir));
  const SpecialText special = flags.special ? SpecialText::kControl : SpecialText::kOrdinary;
  Output output;
  if (flags.jsonl) {
    each_line(tokenizer, flags, special, output);
  } else {
    const std::vector<Token> ids = tokenizer.encode(flags.source.read(), special);
    output.write(flags.json  ? to_line(object(tokenizer, ids))
                 : flags.ids ? fmt::format("{}\n", fmt::join(ids, " "))
                             : table(tokenizer, ids));
  }
  return output.finish();
}

}  // namespace

void add_tokenize(CLI::App& app, Action& action) {
  add_command<TokenizeFlags>(app, action, "tokenize", "Show the tokens of a text",
                             "  kl tokenize \"To be, or not to be\"\n"
                             "  kl tokenize -f play.txt --ids",
                             define, run_tokenize);
}

}  // namespace kl::cli
