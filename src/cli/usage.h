#pragma once
#include <string>

namespace CLI {
class App;
class ParseError;
}  // namespace CLI

namespace kl::cli {

/// What is wrong with the command line, in our grammar, with the nearest known word where one was misspelt.
std::string usage_problem(const CLI::App& app, const CLI::ParseError& error);

/// "kl run" or just "kl": whose --help answers the question.
std::string command_in_question(const CLI::App& app);

}  // namespace kl::cli
