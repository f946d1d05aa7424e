#pragma once
#include <memory>

#include "kl/session.h"

namespace kl {

/// load_session() for bytes that are in memory already and that `owner` keeps: writable, on a border of kSectionAlignment.
/// The checkpoints may write to them.  `name` stands for the file in messages.
SessionImage parse_session(std::shared_ptr<const void> owner, std::span<std::byte> bytes, const std::string& name,
                           const Model& model);

}  // namespace kl
