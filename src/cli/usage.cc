#include "cli/usage.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <numeric>
#include <vector>

#include "base/printable.h"

namespace kl::cli {
namespace {

/// Letters to insert, delete or replace to make `b` of `a` (Levenshtein).
std::size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
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

const CLI::App& asked_command(const CLI::App& app) {
  const auto commands = app.get_subcommands();
  return commands.empty() ? app : *commands.front();
}

std::string unknown_word(const CLI::App& app, std::string word) {
  const CLI::App& command = asked_command(app);
  std::vector<std::string> known;
  if (&command == &app && !word.starts_with('-')) {
    for (const CLI::App* c : app.get_subcommands([](const CLI::App*) { return true; })) known.push_back(c->get_name());
    return fmt::format("{}: expected a command ({}), got an unknown one{}", printable(word, 60), fmt::join(known, ", "),
                       suggestion(word, known));
  }
  word = word.substr(0, word.find('='));
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
    for (const std::string& name : option->get_snames()) known.push_back("-" + name);
  }
  const char* got = word.starts_with('-') ? "an unknown one" : "a word that belongs to none";
  return fmt::format("{}: expected a flag of {}, got {}{}", printable(word, 60), command_in_question(app), got,
                     suggestion(word, known));
}

}  // namespace

std::string command_in_question(const CLI::App& app) {
  const CLI::App& command = asked_command(app);
  return &command == &app ? "kl" : "kl " + command.get_name();
}

std::string usage_problem(const CLI::App& app, const CLI::ParseError& error) {
  const std::string what = error.what();
  const std::string subject = what.substr(0, what.find_first_of(": "));
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) {
    const std::vector<std::string> extras = app.remaining(true);
    return unknown_word(app, extras.empty() ? what : extras.front());
  }
  if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr) return subject + ": expected a value, got nothing";
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr) {
    const bool missing = what.find("missing") != what.npos;
    return subject + (missing ? ": expected a value, got nothing" : ": expected to be given once, got more");
  }
  if (dynamic_cast<const CLI::ExcludesError*>(&error) != nullptr) {
    return fmt::format("{}: expected alone, got it with {}", subject, what.substr(what.rfind(' ') + 1));
  }
  return what;
}

}  // namespace kl::cli
