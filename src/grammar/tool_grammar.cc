#include "grammar/tool_grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "kl/error.h"

namespace kl::grammar {
namespace {

class ToolState final : public GrammarState {
 public:
  explicit ToolState(std::shared_ptr<const ToolSet> tools) : tools_(std::move(tools)) {
    if (tools_->choice == ToolChoice::kRequired) place_ = Place::kSection;
  }

  void allowed(std::span<std::uint64_t> mask) override {
    if (place_ == Place::kFree) {
      std::copy(tools_->free_text.begin(), tools_->free_text.end(), mask.begin());
      return;
    }
    std::fill(mask.begin(), mask.end(), 0);
    switch (place_) {
      case Place::kSection:
        set_bit(mask, tools_->markers.section_begin);
        return;
      case Place::kCall:
        if (num_calls_ == 0 || tools_->parallel) set_bit(mask, tools_->markers.call_begin);
        if (num_calls_ > 0) set_bit(mask, tools_->markers.section_end);
        return;
      case Place::kId:
        add_ids(mask);
        return;
      case Place::kArguments:
        arguments_->add_allowed(mask);
        if (arguments_->may_end()) set_bit(mask, tools_->markers.call_end);
        return;
      case Place::kFree:
      case Place::kOver:
        return;
    }
  }

  void accept(Token token) override {
    switch (place_) {
      case Place::kFree:
        if (token == tools_->markers.section_begin) place_ = Place::kCall;
        if (is_stop(token)) place_ = Place::kOver;
        return;
      case Place::kSection:
        place_ = Place::kCall;
        return;
      case Place::kCall:
        place_ = token == tools_->markers.call_begin ? Place::kId : Place::kOver;
        id_.clear();
        return;
      case Place::kId:
        accept_id(token);
        return;
      case Place::kArguments:
        if (token == tools_->markers.call_end) {
          ++num_calls_;
          place_ = Place::kCall;
        } else {
          arguments_->read(bytes_of(token));
        }
        return;
      case Place::kOver:
        return;
    }
  }

  bool finished() const override { return place_ == Place::kOver; }
  std::unique_ptr<GrammarState> clone() const override { return std::make_unique<ToolState>(*this); }

 private:
  enum class Place : std::uint8_t { kFree, kSection, kCall, kId, kArguments, kOver };

  std::string_view bytes_of(Token token) const { return tools_->vocabulary->tokenizer->bytes_of(token); }
  bool is_stop(Token token) const {
    const std::span<const Token> stops = tools_->vocabulary->tokenizer->stop_tokens();
    return std::count(stops.begin(), stops.end(), token) > 0;
  }
  std::string id_of(const Tool& tool) const { return fmt::format("functions.{}:{}", tool.name, num_calls_); }

  /// Tokens that go on towards an id of some tool; behind a whole one, the marker.
  void add_ids(std::span<std::uint64_t> mask) const {
    for (const Tool& tool : tools_->tools) {
      const std::string id = id_of(tool);
      if (!id.starts_with(id_)) continue;
      if (id == id_) set_bit(mask, tools_->markers.argument_begin);
      add_prefixes(std::string_view(id).substr(id_.size()), mask);
    }
  }

  /// Tokens that `text` begins with.
  void add_prefixes(std::string_view text, std::span<std::uint64_t> mask) const {
    const TokenTrie& trie = tools_->vocabulary->trie;
    std::uint32_t node = 0;
    for (const char c : text) {
      const std::uint32_t end = trie.end(node);
      for (++node; node < end && trie.byte(node) != static_cast<std::uint8_t>(c);) node = trie.end(node);
      if (node >= end) return;
      for (std::uint32_t t = trie.first_text(node); t < trie.first_text(node + 1); ++t) set_bit(mask, trie.token(t));
    }
  }

  void accept_id(Token token) {
    if (token != tools_->markers.argument_begin) {
      id_ += bytes_of(token);
      return;
    }
    const auto named =
        std::find_if(tools_->tools.begin(), tools_->tools.end(), [&](const Tool& tool) { return id_of(tool) == id_; });
    if (named == tools_->tools.end()) {
      place_ = Place::kOver;
      return;
    }
    arguments_.emplace(named->arguments);
    place_ = Place::kArguments;
  }

  std::shared_ptr<const ToolSet> tools_;
  Place place_ = Place::kFree;
  int num_calls_ = 0;
  std::string id_;                          // what is written of the call's id
  std::optional<SchemaMatcher> arguments_;  // in kArguments
};

}  // namespace

ToolMarkers::ToolMarkers(const Tokenizer& tokenizer) {
  const auto find = [&](const char* name) {
    const Token id = tokenizer.special_id(name);
    if (id >= 0) return id;
    throw Error(ErrorCode::kUnsupported, fmt::format("tools: expected the control token {} in the vocabulary", name));
  };
  section_begin = find("<|tool_calls_section_begin|>");
  call_begin = find("<|tool_call_begin|>");
  argument_begin = find("<|tool_call_argument_begin|>");
  call_end = find("<|tool_call_end|>");
  section_end = find("<|tool_calls_section_end|>");
}

ToolGrammar::ToolGrammar(ToolSet tools) {
  const auto vocab_size = static_cast<Token>(tools.vocabulary->tokenizer->vocab_size());
  const ToolMarkers& markers = tools.markers;
  tools.free_text.assign(tools.vocabulary->mask_words, 0);
  for (Token id = 0; id < vocab_size; ++id) {
    const bool misplaced =
        id == markers.call_begin || id == markers.argument_begin || id == markers.call_end || id == markers.section_end;
    if (!misplaced) set_bit(tools.free_text, id);
  }
  tools_ = std::make_shared<const ToolSet>(std::move(tools));
}

std::unique_ptr<GrammarState> ToolGrammar::start() const { return std::make_unique<ToolState>(tools_); }

}  // namespace kl::grammar
