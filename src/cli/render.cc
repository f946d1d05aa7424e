// kl render: conversations to the text or the ids the model sees.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/json.h"
#include "cli/exit_status.h"
#include "cli/flags.h"
#include "cli/input.h"
#include "cli/json_text.h"
#include "cli/model_location.h"
#include "cli/output.h"
#include "kl/chat.h"
#include "kl/error.h"

namespace kl::cli {
namespace {

struct RenderFlags {
  std::string dir;
  std::string file = "-";
  bool jsonl = false;
  bool ids = false;
};

void define(CLI::App& command, RenderFlags& flags) {
  add_model_flag(command, flags.dir);
  CLI::Option* dash = command.add_option("input", flags.file, "- reads from standard input, as does giving no file");
  dash->type_name("-")->check(dash_only("a file goes after -f"));
  command.add_option("-f,--file", flags.file, "read from FILE")->type_name("FILE")->check(not_empty())->excludes(dash);
  command.add_flag("--jsonl", flags.jsonl, "a conversation per line in (see the example), a JSON string per line out")
      ->required();
  command.add_flag("--ids", flags.ids, "a JSON array of token ids per line out instead of the text");
}

/// A conversation as one line of input describes it.
struct Conversation {
  std::vector<Message> messages;
  bool add_generation_prompt = false;
  std::string later;  // what of it needs a later version of kl; empty if nothing
};

/// Reads JSON objects and blames `where` for what is wrong.
class ConversationReader {
 public:
  explicit ConversationReader(std::string where) : where_(std::move(where)) {}

  Conversation read(const Json& value) const {
    Conversation conversation;
    if (value.object() == nullptr) fail("", "an object with messages", value);
    const Json* messages = value.find("messages");
    if (messages == nullptr || messages->array() == nullptr) fail(".messages", "an array", messages);
    for (std::size_t i = 0; i < messages->array()->size(); ++i) {
      read_message((*messages->array())[i], fmt::format(".messages[{}]", i), conversation);
    }
    if (const Json* wanted = value.find("add_generation_prompt"); wanted != nullptr && !wanted->is_null()) {
      if (!wanted->boolean()) fail(".add_generation_prompt", "true or false", wanted);
      conversation.add_generation_prompt = *wanted->boolean();
    }
    if (const Json* tools = value.find("tools"); tools != nullptr && !tools->is_null()) {
      if (tools->array() == nullptr) fail(".tools", "an array", tools);
      if (!tools->array()->empty()) conversation.later = "tools";
    }
    return conversation;
  }

 private:
  [[noreturn]] void fail(const std::string& field, const char* expected, const Json& got) const {
    throw Error(ErrorCode::kCorrupt, fmt::format("{}{}{}: expected {}, got {}", where_, field.empty() ? "" : " ", field,
                                                 expected, got.describe()));
  }
  [[noreturn]] void fail(const std::string& field, const char* expected, const Json* got) const {
    if (got != nullptr) fail(field, expected, *got);
    throw Error(ErrorCode::kCorrupt, fmt::format("{} {}: expected {}, got nothing", where_, field, expected));
  }

  std::string text(const Json& object, const std::string& field, const char* key, bool required) const {
    const Json* value = object.find(key);
    if (!required && (value == nullptr || value->is_null())) return "";
    if (value == nullptr || value->string() == nullptr) fail(field + "." + key, "a string", value);
    return *value->string();
  }

  /// A string, null, or an array of parts whose texts are joined; a part without text adds nothing.
  std::string content(const Json& message, const std::string& field) const {
    const Json* value = message.find("content");
    if (value == nullptr || value->array() == nullptr) return text(message, field, "content", false);
    std::string joined;
    for (const Json& part : *value->array()) joined += text(part, field + ".content", "text", false);
    return joined;
  }

  void read_message(const Json& value, const std::string& field, Conversation& conversation) const {
    if (value.object() == nullptr) fail(field, "an object", value);
    Message& message = conversation.messages.emplace_back();
    message.role = text(value, field, "role", true);
    message.name = text(value, field, "name", false);
    message.content = content(value, field);
    const Json* calls = value.find("tool_calls");
    const bool has_calls = calls != nullptr && calls->array() != nullptr && !calls->array()->empty();
    if (has_calls || message.role == "tool") conversation.later = field + " uses tools";
  }

  std::string where_;
};

int run_render(const RenderFlags& flags) {
  const Tokenizer tokenizer = Tokenizer::open(find_model(flags.dir));
  const ChatFormat format(tokenizer);
  Input input(flags.file);
  Output output;
  while (const auto line = input.next_line()) {
    const Conversation conversation = ConversationReader(input.where()).read(Json::parse(*line, input.where()));
    nlohmann::ordered_json rendered;
    if (!conversation.later.empty()) {
      rendered["error"] = conversation.later + ": expected a conversation without tools, which come in a later version";
    } else if (flags.ids) {
      rendered = format.render_ids(conversation.messages, conversation.add_generation_prompt);
    } else {
      rendered = ChatFormat::render(conversation.messages, conversation.add_generation_prompt);
    }
    output.write(to_line(rendered));
  }
  output.flush();
  return kExitOk;
}

}  // namespace

void add_render(CLI::App& app, Action& action) {
  add_command<RenderFlags>(app, action, "render", "Show conversations as the model sees them",
                           "  echo '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], "
                           "\"add_generation_prompt\": true}' | kl render --jsonl",
                           define, run_render);
}

}  // namespace kl::cli
