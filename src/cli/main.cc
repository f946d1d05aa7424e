#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "base/printable.h"
#include "cli/commands.h"
#include "cli/exit_status.h"
#include "cli/interrupt.h"
#include "cli/notice.h"
#include "cli/output.h"
#include "cli/usage.h"
#include "cli/version_text.h"
#include "kl/error.h"

namespace kl::cli {
namespace {

int print(const std::string& text) {
  Output output;
  output.write(text);
  return output.finish();
}

/// CLI11's help without its remarks on which flags exclude each other: the descriptions say it in words.
class HelpFormat : public CLI::Formatter {
 public:
  HelpFormat() {
    label("SUBCOMMAND", "COMMAND");
    column_width(32);
  }
  std::string make_option_opts(const CLI::Option* option) const override {
    std::string text;
    if (option->get_type_size() != 0) text += ' ' + option->get_type_name();
    if (!option->get_default_str().empty()) text += " = " + option->get_default_str();
    if (option->get_required()) text += " (needed)";
    return text;
  }
};

/// The words after the program's name.  `kl help run` is read as `kl run --help`, `kl version` as `kl --version`, and
/// `kl serve -np 4`, which llama.cpp's users are used to, as `kl serve --parallel 4`: no parser here has flags like it.
std::vector<std::string> words_of(int argc, char** argv) {
  std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
  if (!words.empty() && words.front() == "help") {
    words.erase(words.begin());
    words.push_back("--help");
  } else if (!words.empty() && words.front() == "version") {
    words.front() = "--version";
  } else if (!words.empty() && words.front() == "serve") {
    std::replace(words.begin(), words.end(), std::string("-np"), std::string("--parallel"));
  }
  return words;
}

int run_program(int argc, char** argv) {
  CLI::App app("kl runs Kimi Linear language models.", "kl");
  app.footer("Example:\n  kl run -p \"ROMEO:\" -n 100\n\nkl COMMAND --help explains a command.");
  app.formatter(std::make_shared<HelpFormat>());
  app.set_help_flag("-h,--help", "show this help");
  bool wants_version = false;
  app.add_flag("--version", wants_version, "show version, compiler and kernel tables");
  Action action;
  for (const auto add : {add_run, add_chat, add_serve, add_tokenize, add_detokenize, add_render, add_logits,
                         add_inspect, add_bench, add_perplexity, add_synth, add_quantize, add_convert, add_verify})
    add(app, action);
  std::vector<std::string> words = words_of(argc, argv);
  std::reverse(words.begin(), words.end());  // CLI11 takes them from the back
  try {
    app.parse(std::move(words));
  } catch (const CLI::CallForHelp&) {
    return print(app.help());
  } catch (const CLI::ParseError& error) {
    notice(
        fmt::format("kl: {}\nTry {} --help.\n", printable_lines(usage_problem(app, error)), command_in_question(app)));
    return kExitUsage;
  }
  if (wants_version) return print(version_text());
  if (action) return action();
  notice(app.help());
  return kExitUsage;
}

/// Where an error of the program ends: one line for the person, one number for the script.
int guarded(int argc, char** argv) {
  const auto report = [](const std::string& message, int status) {
    notice("kl: " + printable_lines(message) + '\n');  // paths and texts of others may hold anything
    return status;
  };
  try {
    return run_program(argc, argv);
  } catch (const BrokenPipe&) {
    return kExitOk;  // as with other tools, `kl ... | head` is no failure
  } catch (const Interrupted&) {
    return kExitInterrupted;
  } catch (const Error& error) {
    return report(error.what(), exit_status(error.code()));
  } catch (const std::bad_alloc&) {
    return report("memory: expected enough for this command, got none", kExitMemory);
  } catch (const std::exception& error) {
    return report(error.what(), kExitFailure);
  }
}

/// A closed standard stream would give its number to the next file opened, and text for the person would end up in it.
/// What takes its place fails when used.
void occupy_standard_streams() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) < 0) ::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
  }
}

}  // namespace
}  // namespace kl::cli

int main(int argc, char** argv) {
  kl::cli::occupy_standard_streams();
  kl::cli::exit_on_interrupt();
  std::signal(SIGPIPE, SIG_IGN);  // writing to a closed pipe is noticed by Output,
  std::signal(SIGXFSZ, SIG_IGN);  // and a file that may not grow by whoever writes it
  return kl::cli::guarded(argc, argv);
}
