#include "generation/ngram_draft.h"

#include <algorithm>
#include <utility>

#include "base/random.h"

namespace kl {

/// Head of the chain of the pair that ends at place `end` >= 2.
std::uint32_t& NgramDraft::newest_like(std::size_t end) {
  const auto first = static_cast<std::uint32_t>(text_[end - 2]), second = static_cast<std::uint32_t>(text_[end - 1]);
  const std::uint64_t pair = (std::uint64_t{first} << 32) | second;
  return newest_[(pair * kGoldenRatio64 >> 32) & (newest_.size() - 1)];
}

void NgramDraft::append(std::span<const Token> tokens) {
  const auto link = [&](std::size_t end) {
    std::uint32_t& newest = newest_like(end);
    earlier_[end - 1] = std::exchange(newest, static_cast<std::uint32_t>(end));
  };
  for (const Token token : tokens) {
    text_.push_back(token);
    earlier_.push_back(0);
    if (text_.size() > newest_.size()) {  // as many chains as tokens: all are made anew
      newest_.assign(std::max<std::size_t>(64, 2 * newest_.size()), 0);
      for (std::size_t end = 2; end < text_.size(); ++end) link(end);
    }
    if (text_.size() >= 2) link(text_.size());
  }
}

/// How many tokens before place `end` are those at the end of the text.
int NgramDraft::match_length(std::size_t end) const {
  const auto most = std::min<std::size_t>(end, kMostMatch);
  std::size_t n = 0;
  while (n < most && text_[end - 1 - n] == text_[text_.size() - 1 - n]) ++n;
  return static_cast<int>(n);
}

Draft NgramDraft::draft(int most) const {
  Draft best;
  if (text_.empty()) return best;
  std::size_t found = 0, end = earlier_.back();
  for (int i = 0; i < kMostCandidates && end != 0 && best.match < kMostMatch; ++i, end = earlier_[end - 1]) {
    const int match = match_length(end);
    if (match < kLeastMatch || match <= best.match) continue;  // the first kind: another pair with this hash
    best.match = match;
    found = end;
  }
  if (best.match == 0) return best;
  for (std::size_t at = found; std::ssize(best.tokens) < most; ++at)
    best.tokens.push_back(at < text_.size() ? text_[at] : best.tokens[at - text_.size()]);
  return best;
}

}  // namespace kl
