// A conversation on disk: ChatSession::save() and resume().
#include <fmt/format.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "cli/chat_session.h"
#include "kl/error.h"
#include "kl/session.h"

namespace kl::cli {
namespace {

constexpr std::string_view kKind = "kl chat";

/// What ChatSession needs besides tokens and states: the session file's note.
struct ChatNote {
  std::string system;
  std::vector<Message> messages;
  std::uint64_t seed = 0, answers = 0;
  std::string text;  ///< that states and pending tokens hold
  /// Of the last answer: tokens of the state before it and of the prompt that was fed then, bytes of the text they
  /// hold.  All or none.
  std::optional<std::uint64_t> state_before, prompt_tokens, text_before;

  std::string json_text() const {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const Message& m : messages) list.push_back({{"role", m.role}, {"content", m.content}});
    nlohmann::ordered_json json = {{"kind", kKind},
                                   {"system", system},
                                   {"messages", list},
                                   {"text", text},
                                   {"seed", std::to_string(seed)},
                                   {"answers", std::to_string(answers)}};
    if (state_before) {
      json["last_answer"] = {{"state", std::to_string(*state_before)},
                             {"prompt", std::to_string(*prompt_tokens)},
                             {"text", std::to_string(*text_before)}};
    }
    return json.dump(-1, ' ', /*ensure_ascii=*/true, nlohmann::ordered_json::error_handler_t::replace);
  }

  /// Throws Error(kCorrupt) naming the file.
  static ChatNote parse(const std::string& json_text, const std::string& file);
};

ChatNote ChatNote::parse(const std::string& json_text, const std::string& file) {
  const auto refuse = [&](const char* what) {
    throw Error(ErrorCode::kCorrupt, fmt::format("{}: expected a conversation of kl chat, got {}", file, what));
  };
  const Json json = json_text.empty() ? Json() : Json::parse(json_text, file);
  const auto text_of = [&](const Json& object, const char* key) -> std::string {
    const Json* value = object.find(key);
    if (value == nullptr || value->string() == nullptr) refuse("a session without one");
    return *value->string();
  };
  const auto count_of = [&](const Json& object, const char* key) {  // as text: a seed has 64 bits
    const std::string text_value = text_of(object, key);
    std::uint64_t count = 0;
    const auto [end, problem] = std::from_chars(text_value.data(), text_value.data() + text_value.size(), count);
    if (problem != std::errc{} || end != text_value.data() + text_value.size()) refuse("one without its counts");
    return count;
  };
  ChatNote note;
  if (text_of(json, "kind") != kKind) refuse("a session of another kind");
  note.system = text_of(json, "system");
  note.text = text_of(json, "text");
  note.seed = count_of(json, "seed");
  note.answers = count_of(json, "answers");
  const Json* messages = json.find("messages");
  if (messages == nullptr || messages->array() == nullptr) refuse("one without messages");
  for (const Json& m : *messages->array()) note.messages.push_back({text_of(m, "role"), text_of(m, "content")});
  if (const Json* last = json.find("last_answer")) {
    note.state_before = count_of(*last, "state");
    note.prompt_tokens = count_of(*last, "prompt");
    note.text_before = count_of(*last, "text");
  }
  return note;
}

}  // namespace

void ChatSession::save(const std::filesystem::path& path) const {
  ChatNote note;
  note.system = system_;
  note.messages = messages_;
  note.text = moment_.text;
  note.seed = options_.sampling.seed;
  note.answers = num_answers_;
  std::vector<const SequenceState*> checkpoints;
  if (before_answer_) {
    note.state_before = static_cast<std::uint64_t>(before_answer_->state.num_tokens());
    note.prompt_tokens = before_answer_->pending.size();
    note.text_before = before_answer_->text.size();
    checkpoints.push_back(&before_answer_->state);
  }
  checkpoints.push_back(&moment_.state);
  std::erase_if(checkpoints, [](const SequenceState* state) { return state->num_tokens() == 0; });
  std::vector<ReadToken> text = moment_.read;
  for (const Token t : moment_.pending)
    text.emplace_back(t, MlaForm::kAbsorbed);  // the form is decided when it is read
  save_session(path, loaded_.model, {text, checkpoints, note.json_text()});
}

void ChatSession::resume(const std::filesystem::path& path, bool keep_seed) {
  SessionImage image = load_session(path, loaded_.model);
  ChatNote note = ChatNote::parse(image.note, path.string());
  const auto refuse = [&](const char* what) {
    throw Error(ErrorCode::kCorrupt,
                fmt::format("{}: expected {} of a conversation, got another", path.string(), what));
  };
  // The conversation after its first `read` tokens; `pending` more are to be fed.
  const auto moment_at = [&](std::uint64_t read, std::uint64_t pending, std::string text) {
    Moment m = nothing_read();
    const auto state = std::find_if(image.checkpoints.begin(), image.checkpoints.end(), [&](const SequenceState& s) {
      return static_cast<std::uint64_t>(s.num_tokens()) == read;
    });
    if (read > 0 && state == image.checkpoints.end()) refuse("the states");
    if (read > 0) m.state = *state;
    m.read.assign(image.text.begin(), image.text.begin() + static_cast<std::ptrdiff_t>(read));
    for (const ReadToken t : std::span(image.text).subspan(read, pending)) m.pending.push_back(t.token());
    m.text = std::move(text);
    return m;
  };
  const auto now = static_cast<std::uint64_t>(image.checkpoints.empty() ? 0 : image.checkpoints.back().num_tokens());
  std::optional<Moment> before;
  if (note.state_before) {
    const std::uint64_t first = *note.state_before;
    if (first >= now || *note.prompt_tokens == 0 || *note.prompt_tokens > now - first || note.messages.empty() ||
        *note.text_before > note.text.size()) {
      refuse("the last answer");
    }
    before = moment_at(first, *note.prompt_tokens, note.text.substr(0, *note.text_before));
  }
  Moment last = moment_at(now, image.text.size() - now, std::move(note.text));
  system_ = std::move(note.system);
  messages_ = std::move(note.messages);
  num_answers_ = note.answers;
  if (!keep_seed) options_.sampling.seed = note.seed;
  moment_ = std::move(last);
  before_answer_ = std::move(before);
}

}  // namespace kl::cli
