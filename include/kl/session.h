#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kl/model.h"
#include "kl/read_token.h"

namespace kl {

/// What a session file is made of; see docs/serving.md#sessions and docs/formats.md#sessions.
struct SessionParts {
  std::span<const ReadToken> text;  ///< all of it, at least as long as the last checkpoint
  /// States of beginnings of that text, settled, each longer than the one before.
  std::span<const SequenceState* const> checkpoints;
  std::string_view note;  ///< whatever the caller wants to find again, such as the conversation's messages
};

/// What was in a session file.
struct SessionImage {
  std::vector<ReadToken> text;
  std::vector<SequenceState> checkpoints;  ///< independent of each other; they keep the file mapped
  std::string note;
};

/// Writes a session; latents, which longer checkpoints share with shorter ones, once.  Returns the file's bytes.
///
/// The file appears complete or not at all: whatever happens, one that was there stays as it was until the new one is
/// on the disk.
/// Throws Error(kInvalidArgument) for parts that do not belong together, and Error(kCannotWrite).
std::size_t save_session(const std::filesystem::path& path, const Model& model, const SessionParts& parts);

/// Reads a session back.  Its checkpoints continue as the saved states would have, bit for bit.
///
/// Time      one reading of the file at the speed of memory, for checksums.  Nothing is copied: states and latents stay
///           where they lie in the mapped file until they are written to, which never reaches the file.  To go on from
///           a checkpoint, copy it: to write to it where it lies copies it too, page by page, which is slower.
/// Throws Error naming file, what was expected and what was found: kNotFound, kCorrupt (not a session, or damaged),
/// kUnsupported (another version; a session of another model, or of one opened with other options), kOutOfMemory.
SessionImage load_session(const std::filesystem::path& path, const Model& model);

}  // namespace kl
