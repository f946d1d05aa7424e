// kl render: conversations to the text or the ids the model sees.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/problems.h"
#include "cli/flags.h"
#include "cli/input.h"
#include "cli/json_text.h"
#include "cli/model_location.h"
#include "cli/output.h"
#include "kl/chat_template.h"
#include "kl/error.h"

namespace kl::cli {
namespace {

struct RenderFlags {
  std::string dir;
  std::string file = "-";
  std::string chat_template;  // empty: the model's own
  bool jsonl = false;
  bool ids = false;
};

void define(CLI::App& command, RenderFlags& flags) {
  add_model_flag(command, flags.dir);
  CLI::Option* dash = command.add_option("input", flags.file, "- reads from standard input, as does giving no file");
  dash->type_name("-")->check(dash_only("a file goes after -f"));
  add_text(command, "-f,--file", flags.file, "FILE", "read from FILE")->excludes(dash);
  command.add_flag("--jsonl", flags.jsonl, "a conversation per line in (see the example), a JSON string per line out")
      ->required();
  add_chat_template_flag(command, flags.chat_template);
  command.add_flag("--ids", flags.ids, "a JSON array of token ids per line out instead of the text");
}

/// A conversation as one line of input describes it: its parts as they stand there, once their kinds are right.
/// Throws Error(kCorrupt) blaming `where`.
ChatInput read_conversation(const std::string& line, const std::string& where) {
  const Json value = Json::parse(line, where);
  const auto fail = [&](const std::string& field, const char* expected, const Json* got) {
    throw Error(ErrorCode::kCorrupt,
                fmt::format("{}{}: expected {}, got {}", where, field, expected, got ? got->describe() : "nothing"));
  };
  if (value.object() == nullptr) fail("", "an object with messages", &value);
  const Json* messages = value.find("messages");
  if (messages == nullptr || messages->array() == nullptr) fail(" .messages", "an array", messages);
  for (std::size_t i = 0; i < messages->array()->size(); ++i) {
    const Json& message = (*messages->array())[i];
    if (message.object() == nullptr) fail(fmt::format(" .messages[{}]", i), "an object", &message);
  }
  ChatInput input;
  input.add_generation_prompt = false;
  for (const auto& [key, text] : json_members(line)) {
    const Json* member = value.find(key);
    if (key == "messages") input.messages = text;
    if (member->is_null()) continue;
    if (key == "add_generation_prompt") {
      if (!member->boolean()) fail(" .add_generation_prompt", "true or false", member);
      input.add_generation_prompt = *member->boolean();
    } else if (key == "tools") {
      if (member->array() == nullptr) fail(" .tools", "an array", member);
      input.tools = text;
    } else if (key == "chat_template_kwargs") {
      if (member->object() == nullptr) fail(" .chat_template_kwargs", "an object", member);
      input.variables = text;
    }
  }
  return input;
}

/// The text or the ids, or an object with what the template says is wrong.
nlohmann::ordered_json rendered(const ChatTemplate& chat_template, const Tokenizer* tokenizer, const ChatInput& input) {
  nlohmann::ordered_json result;
  const auto problem = problem_of([&] {
    if (tokenizer != nullptr) {
      result = chat_template.render_ids(*tokenizer, input);
    } else {
      result = chat_template.render(input);
    }
  });
  if (problem && problem->code() != ErrorCode::kInvalidArgument) throw *problem;
  if (problem) return {{"error", problem->what()}};
  return result;
}

int run_render(const RenderFlags& flags) {
  const std::filesystem::path model = find_model(flags.dir);
  const Tokenizer tokenizer = Tokenizer::open(model);
  const ChatTemplate chat_template = ChatTemplate::open(model, flags.chat_template);
  Input input(flags.file);
  Output output;
  while (const auto line = input.next_line()) {
    const ChatInput conversation = read_conversation(*line, input.where());
    output.write(to_line(rendered(chat_template, flags.ids ? &tokenizer : nullptr, conversation)));
  }
  return output.finish();
}

}  // namespace

void add_render(CLI::App& app, Action& action) {
  add_command<RenderFlags>(app, action, "render", "Show conversations as the model sees them",
                           "  echo '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], "
                           "\"add_generation_prompt\": true}' | kl render --jsonl",
                           define, run_render);
}

}  // namespace kl::cli
