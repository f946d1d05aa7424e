// Any bytes are a session or an Error, and what is accepted can be continued.  Checksums and the model's fingerprint are
// made true first, since no mutation would get past them.
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>

#include "base/aligned_buffer.h"
#include "base/checksum.h"
#include "kl/error.h"
#include "kl/synth.h"
#include "session/load_session.h"
#include "session/session_layout.h"

namespace {

namespace fs = std::filesystem;

/// The smallest model with every part, made up anew in each process: the seeds are sessions of this shape.
kl::Model make_model() {
  kl::ModelArgs a = kl::ModelArgs::like("tiny");
  a.vocab_size = 300;  // more than the bytes that are the tokens of a made-up model
  a.hidden_size = 8;
  a.num_hidden_layers = 2;
  a.layer_kinds = {kl::LayerKind::kKda, kl::LayerKind::kMla};
  a.kda_num_heads = a.num_attention_heads = 2;
  a.kda_head_dim = a.kv_lora_rank = a.qk_nope_head_dim = 4;
  a.qk_rope_head_dim = 2;
  a.v_head_dim = 6;
  a.intermediate_size = a.moe_intermediate_size = 4;
  a.num_experts = 2;
  a.num_experts_per_token = 1;
  const fs::path dir = fs::temp_directory_path() / ("kl-session-fuzz-" + std::to_string(::getpid()));
  kl::synthesize(a, dir);
  kl::Model model = kl::Model::open(dir, {.threads = 1});
  fs::remove_all(dir);
  return model;
}

/// Makes everything true that a mutation cannot: sizes of the file, fingerprint, checksums.
void repair(std::span<std::byte> bytes, const kl::Model& model) {
  kl::SessionHeader h;
  if (bytes.size() < sizeof h) return;
  std::memcpy(&h, bytes.data(), sizeof h);
  h.magic = kl::kSessionMagic;
  h.version = kl::kSessionVersion;
  h.file_bytes = bytes.size();
  const kl::StateShape shape(kl::Internals::of(model.make_cache()));
  if (kl::SessionLayout::fit_into(bytes.size(), h, shape)) {
    const std::string& fingerprint = model.fingerprint();
    std::memcpy(bytes.data() + sizeof h, fingerprint.data(), std::min(fingerprint.size(), bytes.size() - sizeof h));
    const kl::SessionLayout layout(h, shape);
    for (std::size_t i = 0; i < kl::kNumSections && layout.borders[i + 1] <= bytes.size(); ++i)
      h.checksums[i] = kl::checksum_of(bytes.subspan(layout.borders[i], layout.borders[i + 1] - layout.borders[i]));
  }
  std::memcpy(bytes.data(), &h, sizeof h);
  h.header_checksum = kl::checksum_of(bytes.first(offsetof(kl::SessionHeader, header_checksum)));
  std::memcpy(bytes.data(), &h, sizeof h);
}

void read_and_continue(std::shared_ptr<kl::AlignedBuffer> memory, std::span<std::byte> bytes, kl::Model& model) {
  kl::SessionImage image;
  try {
    image = kl::parse_session(memory, bytes, "fuzz", model);
  } catch (const kl::Error&) {
    return;
  }
  for (kl::SequenceState& state : image.checkpoints) {
    if (state.num_tokens() > static_cast<std::int64_t>(image.text.size())) std::abort();
    const kl::Token next = 1;
    model.forward(state, {&next, 1});
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static kl::Model model = make_model();
  for (const bool repaired : {false, true}) {
    const auto memory = std::make_shared<kl::AlignedBuffer>(size / sizeof(float) + 1);
    std::memcpy(memory->data(), data, size);
    const std::span<std::byte> bytes(reinterpret_cast<std::byte*>(memory->data()), size);
    if (repaired) repair(bytes, model);
    read_and_continue(memory, bytes, model);
  }
  return 0;
}
