#pragma once
#include <functional>

namespace CLI {
class App;
}

namespace kl::cli {

/// What a command does once its flags have been read; returns the exit status.
using Action = std::function<int()>;

// Each adds one command and its flags to `app`; if the command line asks for it, `action` becomes the work to do.
void add_run(CLI::App& app, Action& action);
void add_chat(CLI::App& app, Action& action);
void add_tokenize(CLI::App& app, Action& action);
void add_detokenize(CLI::App& app, Action& action);
void add_render(CLI::App& app, Action& action);
void add_logits(CLI::App& app, Action& action);
void add_inspect(CLI::App& app, Action& action);
void add_bench(CLI::App& app, Action& action);
void add_perplexity(CLI::App& app, Action& action);
void add_synth(CLI::App& app, Action& action);
void add_quantize(CLI::App& app, Action& action);
void add_convert(CLI::App& app, Action& action);
void add_serve(CLI::App& app, Action& action);
void add_verify(CLI::App& app, Action& action);

}  // namespace kl::cli
