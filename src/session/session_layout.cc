#include "session/session_layout.h"

#include <algorithm>

namespace kl {

const char* name_of(SessionSection section) {
  constexpr std::array<const char*, kNumSections> kNames = {"fingerprint", "note",   "tokens", "forms",
                                                            "checkpoints", "states", "latents"};
  return kNames[static_cast<std::size_t>(section)];
}

StateShape::StateShape(const StateImpl& state) {
  for (const LayerCache& layer : state.layers) {
    if (const auto* kda = std::get_if<KdaCache>(&layer)) {
      ++kda_layers;
      S_bytes = kda->S.size() * sizeof(float);
      conv_bytes = kda->conv.size() * sizeof(float);
    } else {
      ++mla_layers;
      row_bytes = static_cast<std::size_t>(std::get<MlaCache>(layer).format().row_bytes());
    }
  }
}

SessionLayout::SessionLayout(const SessionHeader& h, const StateShape& shape) {
  const std::array<std::size_t, kNumSections> bytes = {
      h.fingerprint_bytes,
      h.note_bytes,
      h.num_tokens * sizeof(Token),
      h.num_tokens,
      h.num_checkpoints * sizeof(std::uint64_t),
      h.num_checkpoints * shape.checkpoint_bytes(),
      shape.mla_layers * padded(h.num_rows * shape.row_bytes),
  };
  borders[0] = sizeof(SessionHeader);
  for (std::size_t i = 0; i < kNumSections; ++i) borders[i + 1] = borders[i] + padded(bytes[i]);
}

bool SessionLayout::fit_into(std::size_t file_bytes, const SessionHeader& h, const StateShape& shape) {
  const auto fits = [&](std::uint64_t count, std::size_t bytes_each) {
    return count <= file_bytes / std::max<std::size_t>(bytes_each, 1);
  };
  return fits(h.fingerprint_bytes, 1) && fits(h.note_bytes, 1) && fits(h.num_tokens, sizeof(Token)) &&
         fits(h.num_checkpoints, std::max(sizeof(std::uint64_t), shape.checkpoint_bytes())) &&
         h.num_rows <= h.num_tokens && fits(h.num_rows, shape.mla_layers * shape.row_bytes);
}

}  // namespace kl
