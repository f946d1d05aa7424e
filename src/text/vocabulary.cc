#include "text/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>

#include "base/base64.h"
#include "base/printable.h"
#include "base/random.h"
#include "kl/error.h"

namespace kl {
namespace {

[[noreturn]] void fail(const std::string& name, std::size_t line, const std::string& what) {
  throw Error(ErrorCode::kCorrupt, fmt::format("{}:{}: {}", name, line, what));
}

std::string quoted(std::string_view text) { return '"' + printable(text, 60) + '"'; }

std::uint64_t load(const char* p, std::size_t bytes) noexcept {
  std::uint64_t value = 0;
  std::memcpy(&value, p, bytes);
  return value;
}

/// The first eight bytes as a number, zeros behind a shorter string.  (Compilers do loads of a fixed width well.)
std::uint64_t head_of(std::string_view bytes) noexcept {
  const char* p = bytes.data();
  const std::size_t n = bytes.size();
  if (n >= 8) return load(p, 8);
  if (n >= 4) return load(p, 4) | load(p + n - 4, 4) << (8 * (n - 4));  // the same bits twice where the two overlap
  if (n >= 2) return load(p, 2) | load(p + n - 1, 1) << (8 * (n - 1));
  return n == 1 ? load(p, 1) : 0;
}

/// Mixes the length, the first eight bytes, and if there are more the others eight at a time; the last, possibly
/// overlapping eight cover the rest.
std::uint64_t hash_of(std::string_view bytes, std::uint64_t head) noexcept {
  const auto mix = [](std::uint64_t h, std::uint64_t value) {
    h = (h ^ value) * kGoldenRatio64;
    return h ^ (h >> 32);
  };
  const std::size_t n = bytes.size();
  std::uint64_t h = mix(mix(n, head), 0);
  for (std::size_t i = 8; i < n; i += 8) h = mix(h, load(bytes.data() + std::min(i, n - 8), 8));
  return h;
}

}  // namespace

/// What is looked up: the bytes, and what is computed from them once.
struct Vocabulary::Key {
  explicit Key(std::string_view bytes_in) : bytes(bytes_in), head(head_of(bytes)), hash(hash_of(bytes, head)) {}

  std::uint64_t filter_bit() const { return std::uint64_t{1} << (hash >> 32 & 63); }

  std::string_view bytes;
  std::uint64_t head;
  std::uint64_t hash;  // the lowest bits choose the slot, the uppermost the word of the filter, those between its bit
};

/// The slot that holds these bytes, or the free one where they would go.
std::size_t Vocabulary::find_slot(const Key& key) const noexcept {
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t i = key.hash & mask;; i = (i + 1) & mask) {
    const Slot& slot = slots_[i];
    if (slot.rank == kNoRank) return i;
    if (slot.head != key.head || slot.size != key.bytes.size()) continue;
    if (slot.size <= 8 || bytes_of(slot.rank).substr(8) == key.bytes.substr(8)) return i;
  }
}

std::uint32_t Vocabulary::rank_of(std::string_view bytes) const noexcept {
  if (bytes.size() > longest_) return kNoRank;
  const Key key(bytes);
  if ((filter_[key.hash >> filter_shift_] & key.filter_bit()) == 0) return kNoRank;
  return slots_[find_slot(key)].rank;
}

/// Adds the token of the next rank, which stands in line rank + 1.
void Vocabulary::append(std::string_view token, const std::string& name) {
  const std::size_t line = size() + 1;
  if (token.empty()) fail(name, line, "expected a token of at least one byte, got none");
  if (token.size() > kMaxTokenBytes) {
    fail(name, line, fmt::format("expected a token of at most {} bytes, got {}", kMaxTokenBytes, token.size()));
  }
  bytes_ += token;
  starts_.push_back(static_cast<std::uint32_t>(bytes_.size()));
  longest_ = std::max(longest_, token.size());
}

void Vocabulary::build_tables(const std::string& name) {
  const std::size_t num_slots = std::bit_ceil(std::max<std::size_t>(1024, 2 * std::size_t{size()}));
  slots_.assign(num_slots, Slot{});
  filter_.assign(num_slots / 16, 0);
  filter_shift_ = 65 - std::bit_width(filter_.size());
  for (std::uint32_t rank = 0; rank < size(); ++rank) {
    const std::string_view token = bytes_of(rank);
    const Key key(token);
    Slot& slot = slots_[find_slot(key)];
    if (slot.rank != kNoRank) {
      fail(name, rank + 1, fmt::format("expected a new token, got the bytes of rank {} again", slot.rank));
    }
    slot = {key.head, rank, static_cast<std::uint32_t>(token.size())};
    filter_[key.hash >> filter_shift_] |= key.filter_bit();
  }

  two_byte_ranks_.resize(65536);
  for (int first = 0; first < 256; ++first) {
    const char one = static_cast<char>(first);
    byte_ranks_[static_cast<std::size_t>(first)] = rank_of({&one, 1});
    if (rank_of({&one, 1}) == kNoRank) {
      fail(name, size(),
           fmt::format("expected a token for every single byte by the end of the file, got none for 0x{:02X}", first));
    }
    for (int second = 0; second < 256; ++second) {
      const char two[2] = {one, static_cast<char>(second)};
      two_byte_ranks_[static_cast<std::size_t>(first << 8 | second)] = rank_of({two, 2});
    }
  }
}

Vocabulary Vocabulary::parse(std::string_view text, const std::string& name) {
  if (text.empty()) fail(name, 1, "expected lines of \"base64 rank\", got an empty file");
  if (text.size() > kMaxFileBytes) {
    fail(name, 1, fmt::format("expected a file of at most {} bytes, got {}", kMaxFileBytes, text.size()));
  }

  Vocabulary vocabulary;
  std::string token;
  while (!text.empty()) {
    const std::size_t line = vocabulary.size() + 1;
    const std::size_t line_end = std::min(text.find('\n'), text.size());
    const std::string_view content = text.substr(0, line_end);
    text.remove_prefix(std::min(line_end + 1, text.size()));

    const std::size_t space = content.find(' ');
    if (space == std::string_view::npos) fail(name, line, "expected \"base64 rank\", got " + quoted(content));
    const std::string_view base64 = content.substr(0, space);
    const std::string_view digits = content.substr(space + 1);
    token.clear();
    if (!append_base64(base64, token)) fail(name, line, "expected base64, got " + quoted(base64));
    if (digits != std::string_view(fmt::format_int(vocabulary.size()).c_str())) {
      fail(name, line, fmt::format("expected rank {}, got {}", vocabulary.size(), quoted(digits)));
    }
    vocabulary.append(token, name);
  }
  vocabulary.build_tables(name);
  return vocabulary;
}

Vocabulary Vocabulary::from_tokens(std::span<const std::string> tokens, const std::string& name) {
  if (tokens.empty()) fail(name, 1, "expected tokens, got none");
  Vocabulary vocabulary;
  for (const std::string& token : tokens) {
    if (vocabulary.size() == kMaxRanks || vocabulary.bytes_.size() > kMaxFileBytes) {
      fail(name, vocabulary.size() + 1, fmt::format("expected at most {} bytes in all, got more", kMaxFileBytes));
    }
    vocabulary.append(token, name);
  }
  vocabulary.build_tables(name);
  return vocabulary;
}

}  // namespace kl
