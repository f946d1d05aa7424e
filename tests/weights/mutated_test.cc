// Thousands of damaged files: each is refused with an Error that names it, or says the same as the sound one.
//
// Damage is done where files are described: headers, metadata, indexes, settings.  (Any number may stand among the weights
// themselves; kl verify finds damage there by checksums.)
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <string>

#include "checkpoint/checkpoint.h"
#include "config/quantization_config.h"
#include "kl/model_args.h"
#include "tests/support/error_of.h"
#include "tests/support/random.h"
#include "tests/support/temp_dir.h"
#include "weights/sanitize.h"

namespace kl {
namespace {

namespace fs = std::filesystem;

constexpr int kMutations = 2500;  // of each of four files

/// One to three small damages within the first `span` bytes: a bit, a byte, a byte left out or doubled, or an early end.
std::string damaged(const std::string& sound, std::size_t span, test::Random& random) {
  std::string bytes = sound;
  for (int n = 1 + random.below(3); n > 0; --n) {
    const auto at = static_cast<std::size_t>(random.below(static_cast<int>(std::min(span, bytes.size()))));
    switch (random.below(6)) {
      case 0:
      case 1:
        bytes[at] = static_cast<char>(bytes[at] ^ 1 << random.below(8));
        break;
      case 2:
        bytes[at] = static_cast<char>(random.below(256));
        break;
      case 3:
        bytes.erase(at, 1);
        break;
      case 4:
        bytes.insert(at, 1, bytes[at]);
        break;
      default:
        bytes.resize(at);
    }
    if (bytes.empty()) break;
  }
  return bytes;
}

/// Everything a model is, but for the weights' values: what bind_weights() accepts, in one text.
std::string description(const fs::path& model) {
  const ModelArgs args = ModelArgs::load(model);
  const auto checkpoint = Checkpoint::open(model);
  const auto encoding = load_encoding(model);
  Problems problems;
  bind_weights(args, checkpoint, encoding.get(), problems, Binding::kCheckOnly);
  problems.throw_if_any(model.string());
  std::string text = args.to_json();
  for (const auto& [name, tensor] : checkpoint->tensors()) {
    text += name + tensor.data.dtype + std::string(reinterpret_cast<const char*>(tensor.data.data), tensor.data.bytes);
    for (const std::int64_t dim : tensor.data.shape) text += "," + std::to_string(dim);
  }
  return text;
}

/// Damages `file` of a copy of the model over and over; `model` is what is opened.
void mutate(const fs::path& from, const std::string& file, const std::string& model, std::size_t span,
            bool may_differ) {
  const TempDir dir;
  fs::copy(from, dir / "m");
  const std::string sound = get_bytes(dir / "m" / file), expected = description(dir / "m" / model);
  test::Random random(11);
  int refused = 0, differ = 0;
  for (int i = 0; i < kMutations; ++i) {
    put_bytes(dir / "m" / file, damaged(sound, span, random));
    std::string seen;
    const ErrorSeen error = error_of([&] { seen = description(dir / "m" / model); });
    if (error.thrown) {
      ++refused;
      EXPECT_NE(error.code, ErrorCode::kFailure) << error.message;
      EXPECT_TRUE(error.mentions((dir / "m").string())) << error.message;
    } else if (seen != expected) {
      ++differ;
    }
  }
  EXPECT_GT(refused, kMutations / 4);
  if (!may_differ) {
    EXPECT_EQ(differ, 0);
  }
}

const fs::path kOracle = fs::path(KL_SOURCE_DIR) / "tests/golden/oracle";

TEST(Mutated, SafetensorsHeadersAreRefusedOrSayTheSame) {
  const std::string file = get_bytes(kOracle / "tiny" / "model.safetensors");
  std::uint64_t header = 0;
  std::memcpy(&header, file.data(), sizeof header);
  mutate(kOracle / "tiny", "model.safetensors", "", 8 + header, false);
}

TEST(Mutated, IndexesAreRefusedOrSayTheSame) {
  mutate(kOracle / "stress", "model.safetensors.index.json", "", SIZE_MAX, false);
}

/// Numbers in the metadata may become other sound ones: such a file says something else, and kl believes it.
TEST(Mutated, GgufHeadersAreRefusedOrSound) {
  mutate(kOracle / "tiny-gguf-q4_0", "model.gguf", "model.gguf", 16'000, true);
}

TEST(Mutated, SettingsOfQuantisationAreRefusedOrSound) {
  mutate(kOracle / "tiny-mlx-mixed", "config.json", "", SIZE_MAX, true);
}

}  // namespace
}  // namespace kl
