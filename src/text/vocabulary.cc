#include "text/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/printable.h"
#include "kl/error.h"
#include "text/base64.h"

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

/// Mixes the length and all bytes, eight at a time; the last, possibly overlapping eight cover the rest.
std::uint64_t hash_of(std::string_view bytes) noexcept {
  constexpr std::uint64_t kMultiplier = 0x9E3779B97F4A7C15u;  // 2^64 divided by the golden ratio
  const char* p = bytes.data();
  const std::size_t n = bytes.size();
  const auto mix = [](std::uint64_t h, std::uint64_t value) {
    h = (h ^ value) * kMultiplier;
    return h ^ (h >> 32);
  };
  std::uint64_t h = n;
  if (n >= 8) {
    for (std::size_t i = 0; i + 8 < n; i += 8) h = mix(h, load(p + i, 8));
    h = mix(h, load(p + n - 8, 8));
  } else if (n >= 4) {
    h = mix(h, load(p, 4) << 32 | load(p + n - 4, 4));
  } else if (n > 0) {
    h = mix(h, load(p, 1) << 16 | load(p + n / 2, 1) << 8 | load(p + n - 1, 1));
  }
  return mix(h, 0);
}

}  // namespace

std::uint32_t Vocabulary::rank_of(std::string_view bytes) const noexcept {
  if (bytes.size() > longest_) return kNoRank;
  const std::uint64_t hash = hash_of(bytes);
  const auto tag = static_cast<std::uint32_t>(hash >> 32);
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t i = hash & mask;; i = (i + 1) & mask) {
    const Slot& slot = slots_[i];
    if (slot.rank == kNoRank) return kNoRank;
    if (slot.tag == tag && bytes_of(slot.rank) == bytes) return slot.rank;
  }
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
  std::size_t num_slots = 1024;
  while (num_slots < 2 * std::size_t{size()}) num_slots *= 2;
  slots_.assign(num_slots, Slot{});
  for (std::uint32_t rank = 0; rank < size(); ++rank) {
    const std::uint32_t other = rank_of(bytes_of(rank));
    if (other != kNoRank) {
      fail(name, rank + 1, fmt::format("expected a new token, got the bytes of rank {} again", other));
    }
    const std::uint64_t hash = hash_of(bytes_of(rank));
    std::size_t i = hash & (num_slots - 1);
    while (slots_[i].rank != kNoRank) i = (i + 1) & (num_slots - 1);
    slots_[i] = {rank, static_cast<std::uint32_t>(hash >> 32)};
  }

  two_byte_ranks_.resize(65536);
  for (int first = 0; first < 256; ++first) {
    const char one = static_cast<char>(first);
    byte_ranks_[static_cast<std::size_t>(first)] = rank_of({&one, 1});
    if (rank_of({&one, 1}) == kNoRank) {
      fail(name, size(),
           fmt::format("end of file: expected a token for every single byte, got none for 0x{:02X}", first));
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

}  // namespace kl
