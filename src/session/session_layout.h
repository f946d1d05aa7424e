#pragma once
// How a session file lies on disk.  docs/formats.md#sessions is the specification; numbers are little-endian.
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "model/sequence_state.h"

namespace kl {

static_assert(std::endian::native == std::endian::little, "session files are used in place");

/// Sections follow the header in this order, each on a border of kSectionAlignment, zeros between.
enum class SessionSection : std::uint8_t {
  kFingerprint,  ///< Model::fingerprint()
  kNote,
  kTokens,       ///< i32 each
  kForms,        ///< of MLA, one byte per token: 0 absorbed, 1 expanded
  kCheckpoints,  ///< u64 each: tokens of the checkpoint, ascending
  kStates,       ///< per checkpoint, per KDA layer: S, then the convolution's rows
  kLatents,      ///< per MLA layer: the rows of the last checkpoint
};
inline constexpr std::size_t kNumSections = 7;
const char* name_of(SessionSection section);

inline constexpr std::size_t kSectionAlignment = 64;
inline constexpr std::uint32_t kSessionVersion = 1;
inline constexpr std::array<char, 8> kSessionMagic = {'k', 'l', '-', 's', 'e', 's', 's', '\n'};

/// The first bytes of the file.
struct SessionHeader {
  std::array<char, 8> magic = kSessionMagic;
  std::uint32_t version = kSessionVersion;
  std::uint32_t zero = 0;
  std::uint64_t file_bytes = 0;
  std::uint64_t fingerprint_bytes = 0;
  std::uint64_t note_bytes = 0;
  std::uint64_t num_tokens = 0;
  std::uint64_t num_checkpoints = 0;
  std::uint64_t num_rows = 0;                           ///< tokens of the last checkpoint
  std::array<std::uint64_t, kNumSections> checksums{};  ///< XXH3 of each section with the zeros behind it
  std::uint64_t header_checksum = 0;                    ///< XXH3 of all that is above
};
static_assert(sizeof(SessionHeader) == 128 && std::is_trivially_copyable_v<SessionHeader>);

constexpr std::size_t padded(std::size_t bytes) {
  return (bytes + kSectionAlignment - 1) / kSectionAlignment * kSectionAlignment;
}

/// Bytes of a model's states, the same for every sequence.
struct StateShape {
  explicit StateShape(const StateImpl& state);

  std::size_t kda_layers = 0, S_bytes = 0, conv_bytes = 0;
  std::size_t mla_layers = 0, row_bytes = 0;

  /// Of all KDA layers of one checkpoint.
  std::size_t checkpoint_bytes() const { return kda_layers * (padded(S_bytes) + padded(conv_bytes)); }
};

/// Where the sections begin, and the end of the last.
struct SessionLayout {
  /// REQUIRES: counts that fit_into() a file.
  SessionLayout(const SessionHeader& header, const StateShape& shape);

  /// Whether the counts of a header, which may be anything, could belong to a file of so many bytes; then no sum of
  /// theirs wraps.
  static bool fit_into(std::size_t file_bytes, const SessionHeader& header, const StateShape& shape);

  std::size_t begin(SessionSection s) const { return borders[static_cast<std::size_t>(s)]; }
  std::size_t bytes(SessionSection s) const { return borders[static_cast<std::size_t>(s) + 1] - begin(s); }

  std::array<std::size_t, kNumSections + 1> borders{};
};

}  // namespace kl
