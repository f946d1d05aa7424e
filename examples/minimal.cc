// The smallest program around libkl: reads a prompt from the command line and lets a model continue it.
#include <cstdio>
#include <string_view>

#include "kl/error.h"
#include "kl/generate.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: minimal MODEL_FOLDER PROMPT\n");
    return 2;
  }
  try {
    const kl::Tokenizer tokenizer = kl::Tokenizer::open(argv[1]);
    kl::Model model = kl::Model::open(argv[1]);

    kl::GenerateOptions options;
    options.max_tokens = 64;
    options.sampling.temperature = 0.8f;
    options.sampling.seed = 1;

    kl::GenerateHooks hooks;
    hooks.on_text = [](std::string_view text) {
      std::fwrite(text.data(), 1, text.size(), stdout);
      std::fflush(stdout);
    };

    kl::SequenceState state = model.make_cache();
    kl::generate(model, tokenizer, state, tokenizer.encode(argv[2]), options, hooks);
    std::puts("");
  } catch (const kl::Error& error) {
    std::fprintf(stderr, "minimal: %s\n", error.what());
    return 1;
  }
}
