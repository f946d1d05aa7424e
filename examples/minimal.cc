// The library in forty lines: open a folder, read a prompt, print how the model goes on.
//
//     minimal [DIR [PROMPT]]
#include <cstdio>
#include <string>

#include "kl/error.h"
#include "kl/generate.h"

int main(int argc, char** argv) try {
  const std::string dir = argc > 1 ? argv[1] : "models/demo";
  const std::string prompt = argc > 2 ? argv[2] : "ROMEO:\n";

  // Weights are mapped, not read; a folder that lacks anything is refused here and nowhere later.
  kl::Model model = kl::Model::open(dir);
  const kl::Tokenizer tokenizer = kl::Tokenizer::open(dir);

  // What a sequence has read lives in its state, not in the model.  Copying a state takes a snapshot of it.
  kl::SequenceState state = model.make_cache();

  kl::GenerateOptions options;
  options.max_tokens = 60;
  options.sampling.temperature = 0.7f;
  options.sampling.seed = 1;
  kl::GenerateHooks hooks;
  hooks.on_text = [](std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); };

  const kl::GenerateResult result = kl::generate(model, tokenizer, state, tokenizer.encode(prompt), options, hooks);
  std::printf("\n\n%d layers on %s: read %lld tokens, wrote %zu\n", model.args().num_hidden_layers, model.isa(),
              static_cast<long long>(result.prompt_tokens), result.ids.size());
  return 0;
} catch (const kl::Error& error) {
  std::fprintf(stderr, "minimal: %s\n", error.what());
  return 1;
}
