// session_bench DIR [TOKENS]: prints how long a session of the model in DIR takes to save and restore, and a step after that.
// Latents are repeated up to TOKENS (32768), three checkpoints.  What a session weighs depends on layers and heads alone:
// a model with those of the 48B and a hidden size of 64 (kl synth --config) gives its times.
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>

#include "kl/session.h"

namespace {

template <class F>
double seconds(F&& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void run(const std::filesystem::path& dir, std::int64_t tokens) {
  kl::Model model = kl::Model::open(dir, {.cache_type = kl::CacheType::kBf16});
  kl::SequenceState state = model.make_cache();
  const std::vector<kl::Token> some(256, 1);
  model.forward(state, some);
  std::vector<kl::SequenceState> checkpoints;
  for (const std::int64_t length : {tokens / 2, tokens - 128, tokens}) {
    state.repeat_to(length);
    checkpoints.push_back(state);
  }
  std::vector<const kl::SequenceState*> pointers;
  for (const kl::SequenceState& s : checkpoints) pointers.push_back(&s);
  const std::vector<kl::ReadToken> text(static_cast<std::size_t>(tokens), {1, kl::MlaForm::kAbsorbed});

  const std::filesystem::path file = std::filesystem::temp_directory_path() / "session_bench.session";
  fmt::print("fingerprint  {:8.1f} ms\n", 1e3 * seconds([&] { model.fingerprint(); }));
  std::size_t bytes = 0;
  const double saving = seconds([&] { bytes = kl::save_session(file, model, {text, pointers, "{}"}); });
  fmt::print("saved        {:8.1f} ms, {:.0f} MB\n", 1e3 * saving, static_cast<double>(bytes) / 1e6);
  for (const char* how : {"first", "again"}) {
    kl::SessionImage image;
    const double loading = seconds([&] { image = kl::load_session(file, model); });
    const kl::Token next = 1;
    // A copy, as the chat and the engine take one: writing to a state in the file would copy it page by page.
    kl::SequenceState restored;
    const double copying = seconds([&] { restored = image.checkpoints.back(); });
    const double first = seconds([&] { model.forward(restored, {&next, 1}); });
    const double second = seconds([&] { model.forward(restored, {&next, 1}); });
    fmt::print("{:<12} {:8.1f} ms to restore and {:.1f} to copy the last state, then {:.1f} and {:.1f} ms a step\n",
               how, 1e3 * loading, 1e3 * copying, 1e3 * first, 1e3 * second);
  }
  std::filesystem::remove(file);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return fmt::print(stderr, "session_bench DIR [TOKENS]\n"), 2;
  run(argv[1], argc > 2 ? std::atoll(argv[2]) : 32768);
  return 0;
}
