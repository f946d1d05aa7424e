#include "kl/tool_calls.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

namespace kl {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";
constexpr std::string_view kArgumentMarker = "<|tool_call_argument_begin|>";

std::string_view strip(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

/// "functions.NAME:7" -> "NAME"; nothing if the id is no id, or names nothing.
std::optional<std::string> name_of(std::string_view id) {
  if (id.find_first_of("{}\"\n") != id.npos) return std::nullopt;
  const std::size_t colon = id.rfind(':');
  if (colon != id.npos && colon + 1 < id.size() && id.find_first_not_of("0123456789", colon + 1) == id.npos) {
    id = id.substr(0, colon);
  }
  constexpr std::string_view kPrefix = "functions.";
  if (id.starts_with(kPrefix)) id.remove_prefix(kPrefix.size());
  if (id.empty()) return std::nullopt;
  return std::string(id);
}

}  // namespace

/// Where in the text the parser is decides what text means.
struct ToolCallParser::Impl {
  enum class Place : std::uint8_t {
    kContent,    // outside of calls; in a section nothing should stand there
    kId,         // of an open call
    kArguments,  // of an open call
    kBadCall,    // an open call whose id is none: everything up to its end is left out
  };

  explicit Impl(const Tokenizer& given)
      : tokenizer(given),
        decoder(given, /*skip_special=*/true),
        section_begin(given.special_id("<|tool_calls_section_begin|>")),
        section_end(given.special_id("<|tool_calls_section_end|>")),
        call_begin(given.special_id("<|tool_call_begin|>")),
        argument_begin(given.special_id(kArgumentMarker)),
        call_end(given.special_id("<|tool_call_end|>")) {}

  const Tokenizer& tokenizer;
  StreamDecoder decoder;
  const Token section_begin, section_end, call_begin, argument_begin, call_end;

  Place place = Place::kContent;
  bool in_section = false;
  bool ended = false;  // by a stop token or finish()
  bool was_cut = false;
  std::string text;  // of the id, of a bad call, or between calls of a section; of arguments: blanks held back
  std::string content;
  std::vector<ToolCall> calls;
  std::vector<std::string> errors;
  std::vector<ToolCallDelta> deltas;  // of the token being read

  bool is_marker(Token token) const {
    return token >= 0 && (token == section_begin || token == section_end || token == call_begin ||
                          token == argument_begin || token == call_end);
  }
  int last_call() const { return static_cast<int>(calls.size()) - 1; }

  void add_error(const char* code, std::string_view raw = {}) {
    errors.emplace_back(code);
    if (!raw.empty()) errors.back().append(": ").append(raw);
  }

  void push(Token token) {
    const auto stops = tokenizer.stop_tokens();
    if (std::find(stops.begin(), stops.end(), token) != stops.end()) return end();
    if (!is_marker(token)) return add_text(decoder.push(token));
    add_text(decoder.finish());
    if (token == argument_begin) return begin_arguments();
    if (token == call_end) return place == Place::kContent ? add_error("stray_marker") : close(/*by_marker=*/true);
    const bool is_open = in_section || place != Place::kContent;
    close(/*by_marker=*/false);
    if (token == call_begin) {
      place = Place::kId;
    } else {
      if (token == section_end && !is_open) add_error("stray_marker");
      in_section = token == section_begin;
    }
  }

  void end() {
    add_text(decoder.finish());
    close(/*by_marker=*/false);
    ended = true;
  }

  void add_text(std::string piece) {
    if (piece.empty()) return;
    if (place == Place::kArguments) return add_arguments(piece);
    if (place != Place::kContent || in_section) {
      text += piece;
      return;
    }
    content += piece;
    deltas.push_back({ToolCallDelta::Kind::kContent, -1, {}, {}, std::move(piece)});
  }

  /// Blanks before arguments are left out; those behind a piece wait until more follows.
  void add_arguments(std::string_view piece) {
    std::string& arguments = calls.back().arguments;
    if (arguments.empty()) piece.remove_prefix(std::min(piece.find_first_not_of(kBlanks), piece.size()));
    const std::size_t last = piece.find_last_not_of(kBlanks);
    if (last == piece.npos) {
      text += piece;
      return;
    }
    emit_arguments(std::exchange(text, {}) + std::string(piece.substr(0, last + 1)));
    text = piece.substr(last + 1);
  }

  void emit_arguments(std::string piece) {
    calls.back().arguments += piece;
    deltas.push_back({ToolCallDelta::Kind::kArguments, last_call(), {}, {}, std::move(piece)});
  }

  void begin_call(std::string id, std::string name) {
    calls.push_back({id, name, {}, false, false});
    deltas.push_back({ToolCallDelta::Kind::kCall, last_call(), std::move(id), std::move(name), {}});
  }

  void begin_arguments() {
    if (place != Place::kId) return add_error("stray_marker");
    std::string id(strip(text));
    if (auto name = name_of(id)) {
      begin_call(std::move(id), std::move(*name));
      place = Place::kArguments;
      text.clear();
    } else {
      place = Place::kBadCall;
      text += kArgumentMarker;
    }
  }

  /// Ends what is open; `by_marker`: a call by the marker that belongs to it.
  void close(bool by_marker) {
    const std::string rest = std::exchange(text, {});
    const std::string_view raw = strip(rest);
    switch (std::exchange(place, Place::kContent)) {
      case Place::kContent:
        if (!raw.empty()) add_error("text_in_section", raw);
        break;
      case Place::kBadCall:
        add_error("bad_call", raw);
        break;
      case Place::kId:
        close_without_arguments(raw, by_marker);
        break;
      case Place::kArguments:
        close_arguments(by_marker);
        break;
    }
  }

  void close_without_arguments(std::string_view id, bool by_marker) {
    auto name = name_of(id);
    if (!by_marker) return add_error("unterminated_call", id);
    if (!name) return add_error("bad_call", id);
    begin_call(std::string(id), std::move(*name));
    add_error("no_argument_marker");
    close_arguments(by_marker);
  }

  void close_arguments(bool by_marker) {
    ToolCall& call = calls.back();
    if (call.arguments.empty()) emit_arguments("{}");
    const bool is_json = nlohmann::json::accept(call.arguments);
    call.valid_json = is_json && call.arguments[0] == '{';
    call.complete = by_marker || call.valid_json;
    if (!call.complete) {
      add_error("unterminated_call");
    } else if (!call.valid_json) {
      add_error(is_json ? "arguments_not_object" : "arguments_not_json");
    }
  }
};

ToolCallParser::ToolCallParser(const Tokenizer& tokenizer) : impl_(std::make_unique<Impl>(tokenizer)) {}
ToolCallParser::~ToolCallParser() = default;
ToolCallParser::ToolCallParser(ToolCallParser&&) noexcept = default;

std::vector<ToolCallDelta> ToolCallParser::push(Token token) {
  if (!impl_->ended) impl_->push(token);
  return std::exchange(impl_->deltas, {});
}

std::vector<ToolCallDelta> ToolCallParser::finish(bool cut) {
  impl_->was_cut = cut;
  if (!impl_->ended) impl_->end();
  return std::exchange(impl_->deltas, {});
}

const std::string& ToolCallParser::content() const { return impl_->content; }
const std::vector<ToolCall>& ToolCallParser::calls() const { return impl_->calls; }
const std::vector<std::string>& ToolCallParser::errors() const { return impl_->errors; }

bool ToolCallParser::calls_tools() const {
  const std::vector<ToolCall>& calls = impl_->calls;
  return impl_->ended && !impl_->was_cut && !calls.empty() &&
         std::all_of(calls.begin(), calls.end(), [](const ToolCall& call) { return call.complete; });
}

}  // namespace kl
