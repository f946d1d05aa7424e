#include "grammar/token_trie.h"

#include <algorithm>

namespace kl::grammar {

TokenTrie::TokenTrie(std::vector<Text> texts) {
  std::sort(texts.begin(), texts.end(),
            [](const Text& a, const Text& b) { return a.bytes != b.bytes ? a.bytes < b.bytes : a.token < b.token; });
  std::vector<std::uint32_t> path;  // the nodes from the root to the last one
  const auto open = [&](std::uint8_t byte) {
    path.push_back(size());
    bytes_.push_back(byte);
    ends_.push_back(0);
    first_texts_.push_back(static_cast<std::uint32_t>(tokens_.size()));
  };
  const auto close_to = [&](std::size_t depth) {
    while (path.size() > depth) {
      ends_[path.back()] = size();
      path.pop_back();
    }
  };
  open(0);
  std::string_view last;
  for (const Text& text : texts) {
    const auto differs = std::mismatch(text.bytes.begin(), text.bytes.end(), last.begin(), last.end()).first;
    const auto shared = static_cast<std::size_t>(differs - text.bytes.begin());
    close_to(shared + 1);
    for (const char c : text.bytes.substr(shared)) open(static_cast<std::uint8_t>(c));
    tokens_.push_back(text.token);
    ticks_.push_back(text.ticks);
    last = text.bytes;
  }
  close_to(0);
  first_texts_.push_back(static_cast<std::uint32_t>(tokens_.size()));
}

std::size_t TokenTrie::memory() const {
  return bytes_.capacity() + 4 * (ends_.capacity() + first_texts_.capacity() + tokens_.capacity() + ticks_.capacity());
}

}  // namespace kl::grammar
