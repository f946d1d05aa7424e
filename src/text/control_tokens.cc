#include "text/control_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace kl {

ControlTokens::ControlTokens(Token first, std::vector<ControlToken> tokens)
    : first_(first), tokens_(std::move(tokens)), by_name_(tokens_.size()) {
  std::iota(by_name_.begin(), by_name_.end(), first_);
  std::sort(by_name_.begin(), by_name_.end(), [this](Token a, Token b) { return (*this)[a].name < (*this)[b].name; });
  for (const ControlToken& token : tokens_) begins_name_[static_cast<unsigned char>(token.name[0])] = true;
}

Token ControlTokens::find(std::string_view name) const noexcept {
  const Match match = match_at(name, 0);
  return match.bytes != 0 && match.bytes == name.size() ? match.id : -1;
}

/// Narrows the range of names that agree with the text so far, byte by byte.
ControlTokens::Match ControlTokens::match_at(std::string_view text, std::size_t position) const noexcept {
  Match longest{position, 0, -1};
  auto begin = by_name_.begin();
  auto end = by_name_.end();
  for (std::size_t depth = 0; position + depth < text.size(); ++depth) {
    const auto byte = static_cast<unsigned char>(text[position + depth]);
    // A name that ends here has no byte at this depth and sorts before those that have.
    const auto byte_of = [&](Token id) {
      const std::string& name = (*this)[id].name;
      return depth < name.size() ? static_cast<int>(static_cast<unsigned char>(name[depth])) : -1;
    };
    begin = std::partition_point(begin, end, [&](Token id) { return byte_of(id) < byte; });
    end = std::partition_point(begin, end, [&](Token id) { return byte_of(id) == byte; });
    if (begin == end) break;
    if ((*this)[*begin].name.size() == depth + 1) longest = {position, depth + 1, *begin};
  }
  return longest;
}

ControlTokens::Match ControlTokens::find_in(std::string_view text, std::size_t from) const noexcept {
  for (std::size_t i = from; i < text.size(); ++i) {
    if (!begins_name_[static_cast<unsigned char>(text[i])]) continue;
    const Match match = match_at(text, i);
    if (match.bytes != 0) return match;
  }
  return {text.size(), 0, -1};
}

std::string reserved_token_name(Token id) { return fmt::format("<|reserved_token_{}|>", id); }

const std::vector<NamedControlToken>& family_control_tokens() {
  static const std::vector<NamedControlToken> kTokens = {
      {163584, {"[BOS]", true}},
      {163585, {"[EOS]", true}},
      {163586, {"<|im_end|>", true}},
      {163587, {"<|im_user|>", true}},
      {163588, {"<|im_assistant|>", true}},
      {163590, {"<|start_header_id|>", true}},
      {163591, {"<|end_header_id|>", true}},
      {163593, {"[EOT]", true}},
      {163594, {"<|im_system|>", true}},
      {163595, {"<|tool_calls_section_begin|>", false}},
      {163596, {"<|tool_calls_section_end|>", false}},
      {163597, {"<|tool_call_begin|>", false}},
      {163598, {"<|tool_call_argument_begin|>", false}},
      {163599, {"<|tool_call_end|>", false}},
      {163601, {"<|im_middle|>", true}},
      {163838, {"[UNK]", true}},
      {163839, {"[PAD]", true}},
  };
  return kTokens;
}

std::vector<Token> stop_tokens(const std::vector<Token>& in_file, const ControlTokens& control) {
  std::vector<Token> ids;
  const auto add = [&](Token id) {
    if (id >= 0 && std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  };
  std::for_each(in_file.begin(), in_file.end(), add);
  for (const char* name : {"<|im_end|>", "[EOS]", "[EOT]"}) add(control.find(name));
  return ids;
}

}  // namespace kl
