// kl logits: token ids to the numbers inside the model, in the names and layouts of docs/cli.md.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>

#include "cli/exit_status.h"
#include "cli/flags.h"
#include "cli/input.h"
#include "cli/interrupt.h"
#include "cli/model_location.h"
#include "cli/progress.h"
#include "kl/error.h"
#include "kl/gguf.h"
#include "kl/safetensors.h"

namespace kl::cli {
namespace {

struct LogitsFlags {
  std::string dir;
  std::string tokens;
  std::string out;
  bool all = false;
  bool last = false;
  bool layers = false;
  bool state = false;
  ModelOptions engine;
};

void define(CLI::App& command, LogitsFlags& flags) {
  add_model_flag(command, flags.dir);
  add_text(command, "--tokens", flags.tokens, "FILE",
           "ids, one sequence per line, run as one batch; - is standard input")
      ->required();
  add_out_flag(command, flags.out, "FILE", "the safetensors file to write");
  CLI::Option* all = command.add_flag("--all", flags.all, "logits at every position (default)");
  command.add_flag("--last", flags.last, "logits at the last position of each sequence only")->excludes(all);
  command.add_flag("--layers", flags.layers, "also the residual stream and the router's choice after every layer");
  command.add_flag("--state", flags.state, "also the state of every layer after the last token");
  flags.engine.mla_form = MlaForm::kAbsorbed;
  add_engine_flags(command, flags.engine);
  add_convention_flags(command, flags.engine);
}

std::vector<std::vector<Token>> read_sequences(const std::string& path, int vocab_size) {
  Input input(path);
  std::vector<std::vector<Token>> sequences;
  std::string blank;  // where a line without ids was met
  while (const auto line = input.next_line()) {
    std::vector<Token> ids = parse_ids(*line, input.where(), vocab_size);
    if (ids.empty()) {
      if (blank.empty()) blank = input.where();
      continue;
    }
    if (!blank.empty()) throw Error(ErrorCode::kCorrupt, blank + ": expected token ids, got an empty line");
    sequences.push_back(std::move(ids));
  }
  if (sequences.empty()) throw Error(ErrorCode::kCorrupt, input.name() + ": expected token ids, got none");
  return sequences;
}

/// Refuses to write over what is read: the ids, and the files of the model.
void check_output(const LogitsFlags& flags, const std::filesystem::path& dir) {
  std::error_code ignored;
  const auto is_output = [&](const std::filesystem::path& path) {
    return std::filesystem::equivalent(path, flags.out, ignored);
  };
  const auto refuse = [&](const char* what) {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("--out: expected a new file, got {}, {}", flags.out, what));
  };
  if (flags.tokens != "-" && is_output(flags.tokens)) refuse("which --tokens names");
  const bool is_file = is_gguf(dir);  // which may be one of several in its folder
  const std::filesystem::path folder = is_file ? std::filesystem::absolute(dir).parent_path() : dir;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    if (is_output(entry.path()) && (!is_file || is_gguf(entry.path()))) refuse("a part of the model");
  }
}

/// Receives what the model computes for a batch and lays it out as the tensors of the output file.
///
/// Logits are streamed into the file as they come: passes take sequence after sequence, which is the order of the file.
/// Everything else comes layer by layer, so it is held until the end.
class Record : public ForwardObserver {
 public:
  Record(const LogitsFlags& flags, const ModelArgs& args, std::span<const std::vector<Token>> sequences);

  /// All tensors of the file in order.
  std::vector<TensorSpec> specs() const;

  void stream_logits_to(SafetensorsWriter& writer) { writer_ = &writer; }
  void hold_state(int sequence, const SequenceState& state);
  void write_held(SafetensorsWriter& writer) const;

  void on_logits(int, std::int64_t, std::span<const float> logits) override {
    writer_->write(logits.data(), logits.size_bytes());
  }
  bool wants_layers() const override { return wants_layers_; }
  void on_hidden(int layer, int sequence, std::int64_t index, std::span<const float> hidden) override {
    hold(layer, "hidden", sequence, index, std::as_bytes(hidden));
  }
  void on_router(int layer, int sequence, std::int64_t index, std::span<const std::int32_t> ids,
                 std::span<const float> weights) override {
    hold(layer, "router_ids", sequence, index, std::as_bytes(ids));
    hold(layer, "router_weights", sequence, index, std::as_bytes(weights));
  }
  bool on_progress(std::int64_t done, std::int64_t total) override {
    progress_.update(static_cast<double>(done), static_cast<double>(total));
    return !interrupted();
  }

 private:
  struct Held {
    TensorSpec spec;
    std::vector<std::byte> data;
  };

  /// "logits" of the first sequence, "logits.J" of the others.
  static std::string name(const std::string& stem, std::size_t sequence) {
    return sequence == 0 ? stem : fmt::format("{}.{}", stem, sequence);
  }
  static std::string layer_name(int layer, const char* what, int sequence) {
    return name(fmt::format("layer.{}.{}", layer, what), static_cast<std::size_t>(sequence));
  }

  void plan(int layer, const char* what, int sequence, const char* dtype, std::vector<std::int64_t> shape);
  void hold(int layer, const char* what, int sequence, std::int64_t row, std::span<const std::byte> data);

  bool wants_layers_;
  int num_layers_;
  std::vector<TensorSpec> logits_;
  std::map<std::string, Held> held_;
  SafetensorsWriter* writer_ = nullptr;
  ProgressBar progress_{"computing logits"};
};

Record::Record(const LogitsFlags& flags, const ModelArgs& args, std::span<const std::vector<Token>> sequences)
    : wants_layers_(flags.layers), num_layers_(args.num_hidden_layers) {
  for (std::size_t s = 0; s < sequences.size(); ++s) {
    const auto T = static_cast<std::int64_t>(sequences[s].size());
    const auto sequence = static_cast<int>(s);
    logits_.push_back({name("logits", s), "F32", {flags.last ? 1 : T, args.vocab_size}});
    for (int layer = 0; layer < args.num_hidden_layers; ++layer) {
      if (flags.layers) plan(layer, "hidden", sequence, "F32", {T, args.hidden_size});
      if (flags.layers && args.is_moe(layer)) {
        plan(layer, "router_ids", sequence, "I32", {T, args.num_experts_per_token});
        plan(layer, "router_weights", sequence, "F32", {T, args.num_experts_per_token});
      }
      if (flags.state && args.is_kda(layer)) {
        const std::int64_t H = args.kda_num_heads, K = args.kda_head_dim;
        plan(layer, "kda_state", sequence, "F32", {H, K, K});
        plan(layer, "conv_state", sequence, "F32", {3, args.kda_conv_size - 1, H * K});
      } else if (flags.state) {
        plan(layer, "mla_latent", sequence, "F32", {T, args.kv_lora_rank});
        plan(layer, "mla_k_pe", sequence, "F32", {T, args.qk_rope_head_dim});
      }
    }
  }
}

void Record::plan(int layer, const char* what, int sequence, const char* dtype, std::vector<std::int64_t> shape) {
  std::size_t bytes = 4;  // of an F32 or an I32
  for (const std::int64_t dim : shape) bytes *= static_cast<std::size_t>(dim);
  const std::string tensor = layer_name(layer, what, sequence);
  held_[tensor] = {{tensor, dtype, std::move(shape)}, std::vector<std::byte>(bytes)};
}

void Record::hold(int layer, const char* what, int sequence, std::int64_t row, std::span<const std::byte> data) {
  std::vector<std::byte>& held = held_.at(layer_name(layer, what, sequence)).data;
  std::copy(data.begin(), data.end(), held.begin() + row * static_cast<std::ptrdiff_t>(data.size()));
}

void Record::hold_state(int sequence, const SequenceState& state) {
  const auto hold_all = [&](int layer, const char* what, const std::vector<float>& values) {
    if (!values.empty()) hold(layer, what, sequence, 0, std::as_bytes(std::span(values)));
  };
  for (int layer = 0; layer < num_layers_; ++layer) {
    hold_all(layer, "kda_state", state.kda_state(layer));
    hold_all(layer, "conv_state", state.conv_state(layer));
    hold_all(layer, "mla_latent", state.mla_latent(layer));
    hold_all(layer, "mla_k_pe", state.mla_k_pe(layer));
  }
}

std::vector<TensorSpec> Record::specs() const {
  std::vector<TensorSpec> specs = logits_;
  for (const auto& [tensor, held] : held_) specs.push_back(held.spec);
  return specs;
}

void Record::write_held(SafetensorsWriter& writer) const {
  for (const auto& [tensor, held] : held_) writer.write(held.data.data(), held.data.size());
}

int run_logits(const LogitsFlags& flags) {
  const std::filesystem::path dir = find_model(flags.dir);
  check_output(flags, dir);
  const auto sequences = read_sequences(flags.tokens, ModelArgs::load(dir).vocab_size);
  Model model = Model::open(dir, flags.engine);

  catch_interrupts();  // from here on there is a temporary file to remove
  catch_termination();
  Record record(flags, model.args(), sequences);
  SafetensorsWriter writer(flags.out, record.specs());
  record.stream_logits_to(writer);
  std::vector<SequenceState> states(sequences.size());
  std::vector<SequenceInput> batch;
  std::int64_t total = 0;
  for (std::size_t s = 0; s < sequences.size(); ++s) {
    states[s] = model.make_cache();
    batch.push_back({&states[s], sequences[s], flags.last ? WantLogits::kLast : WantLogits::kAll});
    total += static_cast<std::int64_t>(sequences[s].size());
  }
  if (model.forward(batch, record) < total) throw Interrupted{};
  if (flags.state) {
    for (std::size_t s = 0; s < states.size(); ++s) record.hold_state(static_cast<int>(s), states[s]);
  }
  record.write_held(writer);
  writer.finish();
  return kExitOk;
}

}  // namespace

void add_logits(CLI::App& app, Action& action) {
  add_command<LogitsFlags>(app, action, "logits", "Write logits, and what leads to them, to a file",
                           "  kl tokenize \"To be, or\" --ids > ids.txt\n"
                           "  kl logits --tokens ids.txt -o out.safetensors --layers",
                           define, run_logits);
}

}  // namespace kl::cli
