#include "cli/usage.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <numeric>
#include <string_view>
#include <vector>

#include "base/printable.h"

namespace kl::cli {
namespace {

/// Letters to insert, delete, replace or swap with their neighbour to make `b` of `a` (optimal string alignment).
std::size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> before_last, last, row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    before_last = std::exchange(last, row);
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before_last[j - 2] + 1);
    }
  }
  return row.back();
}

/// "; did you mean X?" if a candidate is close enough to be a slip of the keyboard.
std::string suggestion(const std::string& word, const std::vector<std::string>& candidates) {
  const auto distance = [&](const std::string& candidate) { return edit_distance(word, candidate); };
  const auto best = std::min_element(candidates.begin(), candidates.end(),
                                     [&](const auto& a, const auto& b) { return distance(a) < distance(b); });
  const bool near = best != candidates.end() && distance(*best) <= std::max<std::size_t>(1, best->size() / 3);
  return near ? fmt::format("; did you mean {}?", *best) : "";
}

/// What people who come from other programs type, and what to do here.
struct Elsewhere {
  std::string_view flag, here;
};
constexpr Elsewhere kElsewhere[] = {
    {"--temperature", "it is --temp here"},
    {"--n-predict", "it is -n here"},
    {"--predict", "it is -n here"},
    {"-s", "it is --seed here"},
    {"-sys", "it is --system here"},
    {"--system-prompt", "it is --system here"},
    {"--repeat-penalty", "it is --repetition-penalty here"},
    {"--repeat-last-n", "it is --penalty-context here"},
    {"-r", "it is --stop here"},
    {"--reverse-prompt", "it is --stop here"},
    {"--extra-eos-token", "it is --stop here"},
    {"-cnv", "it is --chat here, or kl chat"},
    {"--conversation", "it is --chat here, or kl chat"},
    {"-no-cnv", "it is --raw here"},
    {"--no-conversation", "it is --raw here"},
    {"--ignore-chat-template", "it is --raw here"},
    {"--no-display-prompt", "the prompt is never shown"},
    {"--max-kv-size", "it is -c here"},
    {"--prompt-cache", "it is --session here"},
    {"--prompt-cache-file", "it is --session here"},
    {"--n-gpu-layers", "kl computes on CPUs"},
    {"--gpu-layers", "kl computes on CPUs"},
    {"--hf-path", "it is -m here"},
    {"--mlx-path", "it is -o here"},
    {"--outfile", "it is -o here, and names a folder"},
    {"--outtype", "it is --type here"},
    {"--dtype", "it is --type here"},
    {"-q", "it is --bits here"},
    {"--quantize", "it is --bits here"},
    {"--q-bits", "it is --bits here"},
    {"--q-group-size", "it is --group-size here"},
    {"--q-mode", "it is --mode here"},
    {"--dequantize", "it is --type bf16 here"},
};

/// What helps with an unknown flag: what it is called here, or the flag it may be a slip of.
std::string flag_hint(const std::string& word, const std::vector<std::string>& known) {
  const auto other = std::find_if(std::begin(kElsewhere), std::end(kElsewhere),
                                  [&](const Elsewhere& elsewhere) { return elsewhere.flag == word; });
  if (other != std::end(kElsewhere)) return fmt::format("; {}", other->here);
  constexpr std::size_t kShortFlag = 2;  // any letter is one slip away from any other
  return word.size() > kShortFlag ? suggestion(word, known) : "";
}

template <class Kind>
bool is(const CLI::ParseError& error) {
  return dynamic_cast<const Kind*>(&error) != nullptr;
}

const CLI::App& asked_command(const CLI::App& app) {
  const auto commands = app.get_subcommands();
  return commands.empty() ? app : *commands.front();
}

std::string unknown_word(const CLI::App& app, std::string word) {
  const CLI::App& command = asked_command(app);
  std::vector<std::string> known;
  if (&command == &app && !word.starts_with('-')) {
    for (const CLI::App* c : app.get_subcommands([](const CLI::App*) { return true; })) known.push_back(c->get_name());
    return fmt::format("{}: expected a command ({}), got an unknown one{}", word.empty() ? "''" : printable(word, 60),
                       fmt::join(known, ", "), suggestion(word, known));
  }
  word = word.substr(0, word.find('='));
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
    for (const std::string& name : option->get_snames()) known.push_back("-" + name);
  }
  const char* got = word.starts_with('-') ? "an unknown one" : "a word that belongs to none";
  return fmt::format("{}: expected a flag of {}, got {}{}", printable(word, 60), command_in_question(app), got,
                     flag_hint(word, known));
}

}  // namespace

std::string command_in_question(const CLI::App& app) {
  const CLI::App& command = asked_command(app);
  return &command == &app ? "kl" : "kl " + command.get_name();
}

std::string usage_problem(const CLI::App& app, const CLI::ParseError& error) {
  const std::string what = error.what();
  const std::string subject = what.substr(0, what.find_first_of(": "));
  const std::string other = what.substr(what.rfind(' ') + 1);

  // A misspelt flag is the cause of whatever else went wrong.
  std::vector<std::string> extras = app.remaining(true);
  std::erase(extras, "--");
  const auto flag = std::find_if(extras.begin(), extras.end(), [](const auto& word) { return word.starts_with('-'); });
  if (flag != extras.end()) return unknown_word(app, *flag);
  if (is<CLI::ExtrasError>(error) && !extras.empty()) return unknown_word(app, extras.front());

  if (is<CLI::RequiredError>(error)) return subject + ": expected to be given, got nothing";
  if (is<CLI::RequiresError>(error)) {
    return fmt::format("{}: expected together with {}, got it alone", subject, other);
  }
  if (is<CLI::ExcludesError>(error)) {
    return fmt::format("{} and {}: expected one of them, got both", subject, other);
  }
  if (is<CLI::ArgumentMismatch>(error)) {
    if (what.find("missing") != what.npos) return subject + ": expected a value, got nothing";
    if (what.find("override") != what.npos) return "--" + subject + ": expected no value, got one";
    return subject + ": expected to be given once, got more";
  }
  return what;
}

}  // namespace kl::cli
