// kl chat: a conversation at the terminal, or line by line from a pipe.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/output_file.h"
#include "base/printable.h"
#include "base/problems.h"
#include "cli/admission.h"
#include "cli/chat_session.h"
#include "cli/exit_status.h"
#include "cli/flags.h"
#include "cli/input.h"
#include "cli/interrupt.h"
#include "cli/json_text.h"
#include "cli/line_editor.h"
#include "cli/loaded_model.h"
#include "cli/notice.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "kl/error.h"

namespace kl::cli {
namespace {

constexpr std::int64_t kLeastContext = 4096;  // below this memory a conversation is not begun

constexpr const char* kHelp =
    "  /regen        another answer to your last message\n"
    "  /reset        start again, with the same system message\n"
    "  /system TEXT  start again with this system message (none if TEXT is empty)\n"
    "  /save FILE    write the conversation to FILE, as one line that `kl render --jsonl` reads\n"
    "  /exit         leave, as does Ctrl-D\n"
    "  Ctrl-C        stop the answer\n"
    "A line that ends in \\ goes on in the next one; a message that begins with / needs a blank before it.\n";

struct ChatFlags {
  std::string dir;
  std::optional<std::string> system;
  std::string session;  // empty: none
  std::int64_t ctx_size = 0;
  std::string chat_template;  // empty: the model's own
  bool verbose = false;
  GenerateFlags generate;
  SpeculationFlags speculation;
  ModelOptions engine;
};

void define(CLI::App& command, ChatFlags& flags) {
  add_model_flag(command, flags.dir);
  command.add_option("--system", flags.system, "a system message before the conversation")->type_name("TEXT");
  add_text(command, "--session", flags.session, "FILE",
           "go on with the conversation in FILE, if it is there, and keep it there");
  add_chat_template_flag(command, flags.chat_template);
  flags.generate.options.max_tokens = 512;
  add_generate_flags(command, flags.generate, 1);
  add_speculation_flags(command, flags.speculation);
  add_ctx_flag(command, flags.ctx_size, "-c,--ctx-size",
               "most tokens of the conversation; 0 = as many as the model and memory allow");
  add_engine_flags(command, flags.engine);
  command.add_flag("-v,--verbose", flags.verbose, "show a timing summary after each answer");
}

/// The conversation and its surroundings: reads lines, obeys commands, shows answers.
class Chat {
 public:
  explicit Chat(const ChatFlags& flags)
      : loaded_(LoadedModel::open(flags.dir, flags.engine, admission(flags))),
        session_(loaded_, ChatTemplate::open(loaded_.dir, flags.chat_template), flags.generate.decided(),
                 flags.speculation.max_draft(), flags.system.value_or(""), ctx_size_),
        session_file_(flags.session),
        verbose_(flags.verbose) {
    const bool resumes =
        !session_file_.empty() && std::filesystem::exists(std::filesystem::symlink_status(session_file_));
    if (resumes) resume(flags);
    is_kept_ = resumes;
    if (::isatty(STDIN_FILENO) == 1) {
      note("kl chat with {} ({}).  /help shows the commands, Ctrl-D leaves.", loaded_.dir.string(),
           loaded_.description());
      if (resumes) note("Going on after {} messages, {} tokens.", session_.messages().size(), session_.num_tokens());
      editor_.emplace();
    } else {
      input_.emplace("-");
    }
  }

  int run() {
    catch_interrupts();
    while (true) {
      const std::optional<std::string> message = read_message();
      if (!message || (message->starts_with('/') && obey(*message) == kLeave)) return leave();
      if (!message->starts_with('/') && !message->empty()) {
        show([&](const GenerateHooks& hooks) { return session_.ask(*message, hooks); });
      }
    }
  }

 private:
  enum Next : bool { kGoOn, kLeave };

  /// Asked before weights are loaded: decides the context.
  LoadedModel::Admission admission(const ChatFlags& flags) {
    return [this, &flags](const Tokenizer&, const ModelArgs& args, const MemoryPlan& plan) {
      ctx_size_ = admit_conversation(args, plan, flags.ctx_size, kLeastContext + flags.generate.options.max_tokens);
    };
  }

  void resume(const ChatFlags& flags) {
    session_.resume(session_file_, flags.generate.seed.has_value());
    if (flags.system && *flags.system != session_.system()) {
      throw Error(
          ErrorCode::kInvalidArgument,
          fmt::format("--system: expected none or that of the conversation in {}, got another; /system begins a "
                      "new conversation",
                      session_file_));
    }
  }

  /// Keeps the conversation.  A failure must not end it; it decides the exit status if it is the last word.
  void keep() {
    if (session_file_.empty()) return;
    const auto problem = problem_of([&] { session_.save(session_file_); });
    is_kept_ = !problem;
    if (problem) note("{}", problem->what());
  }

  int leave() {
    if (!is_kept_) keep();
    return is_kept_ || session_file_.empty() ? kExitOk : kExitCannotWrite;
  }

  std::optional<std::string> read_line(const char* prompt) {
    return editor_ ? editor_->read(prompt) : input_->next_line();
  }

  /// A line, or several: one that ends in a backslash goes on in the next.  Nothing at the end of input.
  std::optional<std::string> read_message() {
    std::optional<std::string> message = read_line("> ");
    while (message && message->ends_with('\\')) {
      message->pop_back();
      const std::optional<std::string> line = read_line(". ");
      if (!line) break;
      *message += '\n' + *line;
    }
    return message;
  }

  /// A line for the person, beside the conversation.
  template <class... Args>
  static void note(fmt::format_string<Args...> format, Args&&... args) {
    notice(printable_lines(fmt::format(format, std::forward<Args>(args)...)) + '\n');
  }

  Next obey(const std::string& line) {
    const std::size_t space = line.find(' ');
    const std::string command = line.substr(0, space);
    const std::size_t text = line.find_first_not_of(' ', space);
    const std::string rest = text == line.npos ? "" : line.substr(text);
    if (command == "/exit" || command == "/quit") return kLeave;
    if (command == "/help") {
      notice(kHelp);
    } else if (command == "/reset") {
      session_.reset();
      keep();
      note("A new conversation.");
    } else if (command == "/system") {
      session_.set_system(rest);
      keep();
      note("A new conversation, {}.", rest.empty() ? "without a system message" : "with this system message");
    } else if (command == "/save") {
      save(rest);
    } else if (command != "/regen") {
      note("{}: expected a command, got an unknown one; /help shows them.", command);
    } else if (!session_.can_regenerate()) {
      note("/regen: expected an answer to replace, got none yet.");
    } else {
      show([&](const GenerateHooks& hooks) { return session_.regenerate(hooks); });
    }
    return kGoOn;
  }

  void save(const std::string& path) {
    if (path.empty()) return note("/save: expected a file name, got nothing.");
    nlohmann::ordered_json messages = nlohmann::ordered_json::array();
    for (const Message& m : session_.messages()) messages.push_back({{"role", m.role}, {"content", m.content}});
    const auto write = [&] {
      write_file(path, to_line(nlohmann::ordered_json{{"messages", messages}, {"add_generation_prompt", false}}));
    };
    if (const auto problem = problem_of(write)) return note("{}", problem->what());  // the conversation goes on
    note("Saved {} messages to {}.", messages.size(), path);
  }

  /// Runs `make_answer` with hooks that stream it.
  template <class MakeAnswer>
  void show(MakeAnswer&& make_answer) {
    std::atomic<bool>& cancel = catch_interrupts();
    cancel = false;  // a signal that came between two answers is not about this one
    std::optional<ProgressBar> progress("reading");
    GenerateHooks hooks;
    hooks.cancel = &cancel;
    hooks.on_prompt = [&](std::int64_t done, std::int64_t total) {
      progress->update(static_cast<double>(done), static_cast<double>(total));
    };
    hooks.on_text = [&](std::string_view piece) {
      progress.reset();
      output_.write(piece);
      output_.flush();
    };
    GenerateResult result;
    const auto problem = problem_of([&] { result = make_answer(hooks); });
    progress.reset();
    if (problem && problem->code() != ErrorCode::kInvalidArgument) throw *problem;
    if (problem) return note("{}", problem->what());  // no room, or the template does not take it: it goes on
    output_.write("\n");
    output_.flush();
    cancel = false;
    if (!result.ids.empty()) keep();
    if (result.ids.empty()) note("Stopped before the answer began; the message was taken back.");
    if (result.finish_reason == FinishReason::kLength)
      note("[stopped after {} tokens: {}]", result.ids.size(), session_.is_full() ? "-c" : "-n");
    if (verbose_) note("[{} | {} in the state | {}]", summary(result), session_.num_tokens(), loaded_.description());
  }

  std::int64_t ctx_size_ = 0;
  LoadedModel loaded_;
  ChatSession session_;
  std::string session_file_;
  bool is_kept_ = false;  // session_file_ holds the conversation as it is
  bool verbose_;
  Output output_;
  std::optional<LineEditor> editor_;  // at a terminal
  std::optional<Input> input_;        // from a pipe
};

int run_chat(const ChatFlags& flags) { return Chat(flags).run(); }

}  // namespace

void add_chat(CLI::App& app, Action& action) {
  add_command<ChatFlags>(app, action, "chat", "Talk with the model",
                         "  kl chat\n"
                         "  kl chat --system \"You are King Lear.\" --temp 0.7\n"
                         "  kl chat --session lear.session",
                         define, run_chat);
}

}  // namespace kl::cli
