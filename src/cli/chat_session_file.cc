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
  /// Of the last answer: tokens of the state before it, and of the prompt that was fed then.  Both or none.
  std::optional<std::uint64_t> state_before, prompt_tokens;

  std::string text() const {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const Message& m : messages) list.push_back({{"role", m.role}, {"content", m.content}});
    nlohmann::ordered_json json = {{"kind", kKind},
                                   {"system", system},
                                   {"messages", list},
                                   {"seed", std::to_string(seed)},
                                   {"answers", std::to_string(answers)}};
    if (state_before) {
      json["last_answer"] = {{"state", std::to_string(*state_before)}, {"prompt", std::to_string(*prompt_tokens)}};
    }
    return json.dump(-1, ' ', /*ensure_ascii=*/true, nlohmann::ordered_json::error_handler_t::replace);
  }

  /// Throws Error(kCorrupt) naming the file.
  static ChatNote parse(const std::string& text, const std::string& file);
};

ChatNote ChatNote::parse(const std::string& text, const std::string& file) {
  const auto refuse = [&](const char* what) {
    throw Error(ErrorCode::kCorrupt, fmt::format("{}: expected a conversation of kl chat, got {}", file, what));
  };
  const Json json = text.empty() ? Json() : Json::parse(text, file);
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
  note.seed = count_of(json, "seed");
  note.answers = count_of(json, "answers");
  const Json* messages = json.find("messages");
  if (messages == nullptr || messages->array() == nullptr) refuse("one without messages");
  for (const Json& m : *messages->array()) note.messages.push_back({text_of(m, "role"), text_of(m, "content"), ""});
  if (const Json* last = json.find("last_answer")) {
    note.state_before = count_of(*last, "state");
    note.prompt_tokens = count_of(*last, "prompt");
  }
  return note;
}

}  // namespace

void ChatSession::save(const std::filesystem::path& path) const {
  ChatNote note{system_, messages_, options_.sampling.seed, num_answers_, {}, {}};
  std::vector<const SequenceState*> checkpoints;
  if (before_answer_) {
    note.state_before = static_cast<std::uint64_t>(before_answer_->state.num_tokens());
    note.prompt_tokens = before_answer_->prompt.size();
    checkpoints.push_back(&before_answer_->state);
  }
  checkpoints.push_back(&state_);
  std::erase_if(checkpoints, [](const SequenceState* state) { return state->num_tokens() == 0; });
  std::vector<Token> tokens = read_;
  tokens.insert(tokens.end(), unread_.begin(), unread_.end());
  std::vector<std::uint8_t> expanded = expanded_;
  expanded.resize(tokens.size());
  save_session(path, engine_.model, {tokens, expanded, checkpoints, note.text()});
}

void ChatSession::resume(const std::filesystem::path& path, bool keep_seed) {
  SessionImage image = load_session(path, engine_.model);
  ChatNote note = ChatNote::parse(image.note, path.string());
  const auto refuse = [&](const char* what) {
    throw Error(ErrorCode::kCorrupt,
                fmt::format("{}: expected {} of a conversation, got another", path.string(), what));
  };
  // From the longest: the state now, then the one before the last answer.
  const auto take = [&](std::uint64_t tokens) -> SequenceState {
    if (tokens == 0) return engine_.model.make_cache();
    for (SequenceState& state : image.checkpoints)
      if (state.has_value() && static_cast<std::uint64_t>(state.num_tokens()) == tokens) return std::move(state);
    refuse("the states");
    return {};
  };
  const std::int64_t now = image.checkpoints.empty() ? 0 : image.checkpoints.back().num_tokens();
  SequenceState state = take(static_cast<std::uint64_t>(now));
  std::optional<Snapshot> before;
  if (note.state_before) {
    const std::uint64_t first = *note.state_before, read = static_cast<std::uint64_t>(now);
    if (first >= read || *note.prompt_tokens > read - first || note.messages.empty()) refuse("the last answer");
    const auto begin = image.tokens.begin() + static_cast<std::ptrdiff_t>(first);
    before = Snapshot{take(first), {begin, begin + static_cast<std::ptrdiff_t>(*note.prompt_tokens)}};
    if (before->prompt.empty()) refuse("the last prompt");
  }
  system_ = std::move(note.system);
  messages_ = std::move(note.messages);
  num_answers_ = note.answers;
  if (!keep_seed) options_.sampling.seed = note.seed;
  state_ = std::move(state);
  before_answer_ = std::move(before);
  read_.assign(image.tokens.begin(), image.tokens.begin() + now);
  expanded_.assign(image.expanded.begin(), image.expanded.begin() + now);
  unread_.assign(image.tokens.begin() + now, image.tokens.end());
}

}  // namespace kl::cli
