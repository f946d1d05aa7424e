#include "kl/mixed_precision.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/cpu_topology.h"
#include "base/thread_pool.h"
#include "calibration/module_packer.h"
#include "calibration/trial.h"
#include "checkpoint/checkpoint.h"
#include "config/quantization_config.h"
#include "convert/conversion.h"
#include "kl/error.h"
#include "packing/packed_name.h"
#include "weights/sanitize.h"

namespace kl {
namespace {

constexpr std::size_t kMomentBytes = std::size_t{2} << 30;  // of moments kept at once
constexpr int kMeasuredTokens = 8192;                       // on which divergences are measured

/// Modules that get the same number of bits.
struct Group {
  GroupChoice choice;
  std::vector<const MatrixModule*> modules;
  std::int64_t bytes_4 = 0, bytes_8 = 0, bytes_as_is = 0;
  int bits_as_is = 0;

  std::int64_t bytes(int bits) const { return bits == 4 ? bytes_4 : bits == 8 ? bytes_8 : bytes_as_is; }
  double kl(int bits) const { return bits == 4 ? choice.kl_4 : bits == 8 ? choice.kl_8 : 0; }
};

/// The path with the expert's number left out.
std::string group_name(const std::string& module) {
  constexpr std::string_view kExperts = ".experts.";
  const std::size_t at = module.find(kExperts);
  if (at == module.npos) return module;
  const std::size_t number = at + kExperts.size();
  return module.substr(0, number) + "*" + module.substr(module.find('.', number));
}

/// The attention or feed-forward block of a group in a layer: "model.layers.0.self_attn".
std::string block_of(const std::string& group) {
  std::size_t end = group.find('.');
  for (int dots = 1; dots < 4 && end != group.npos; ++dots) end = group.find('.', end + 1);
  return group.substr(0, end);
}

std::vector<Group> groups_of(const std::vector<MatrixModule>& modules) {
  std::vector<Group> groups;
  std::map<std::string, std::size_t> index;
  for (const MatrixModule& module : modules) {
    const WeightMatrix& w = module.matrices[0];
    if (w.K % 32 != 0) continue;
    const auto [it, is_new] = index.emplace(group_name(module.name), groups.size());
    if (is_new) groups.emplace_back().choice.name = it->first;
    Group& g = groups[it->second];
    const auto count = static_cast<std::int64_t>(module.matrices.size());
    g.modules.push_back(&module);
    g.choice.weights += count * w.N * w.K;
    g.bytes_4 += count * packed_format({4, 32}).matrix_bytes(w.N, w.K);
    g.bytes_8 += count * packed_format({8, 32}).matrix_bytes(w.N, w.K);
    g.bytes_as_is += count * w.N * w.K * static_cast<std::int64_t>(size_of(w.type));
    g.bits_as_is = 8 * static_cast<int>(size_of(w.type));
  }
  return groups;
}

/// The modules of a run.
std::vector<const MatrixModule*> modules_of(std::span<const Group> run) {
  std::vector<const MatrixModule*> modules;
  for (const Group& group : run) modules.insert(modules.end(), group.modules.begin(), group.modules.end());
  return modules;
}

/// Gives bits to groups, what saves most per byte first, until nothing more fits.
std::int64_t choose(std::span<Group> groups, std::int64_t budget) {
  std::int64_t used = 0;
  for (Group& g : groups) g.choice.bits = 4, used += g.bytes_4;
  while (true) {
    Group* best = nullptr;
    int best_bits = 0;
    double most = 0;
    for (Group& g : groups) {
      for (const int bits : {8, g.bits_as_is}) {
        const std::int64_t more = g.bytes(bits) - g.bytes(g.choice.bits);
        if (bits <= g.choice.bits || used + more > budget) continue;
        const double gain = (g.kl(g.choice.bits) - g.kl(bits)) / static_cast<double>(std::max<std::int64_t>(more, 1));
        if (gain > most) best = &g, best_bits = bits, most = gain;
      }
    }
    if (best == nullptr) break;
    used += best->bytes(best_bits) - best->bytes(best->choice.bits);
    best->choice.bits = best_bits;
  }
  for (Group& g : groups) g.choice.bytes = g.bytes(g.choice.bits);
  return used;
}

/// The range of bits a weight, and the budget in bytes.
std::int64_t check_target(std::span<const Group> groups, double target, MixedResult& result) {
  double weights = 0, least = 0, most = 0;
  for (const Group& g : groups) {
    weights += static_cast<double>(g.choice.weights);
    least += static_cast<double>(g.bytes_4);
    most += static_cast<double>(g.bytes_as_is);
  }
  if (weights == 0) throw Error(ErrorCode::kUnsupported, "model: expected matrices that can be quantised, got none");
  result.least_bits = 8 * least / weights;
  result.most_bits = 8 * most / weights;
  const auto budget = static_cast<std::int64_t>(std::floor(target * weights / 8 + 1e-6));
  if (!(static_cast<double>(budget) >= least && target <= result.most_bits + 1e-9)) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("target: expected bits a weight from {:.4f} to {:.4f}, got {}",
                            std::ceil(result.least_bits * 1e4) / 1e4, result.most_bits, target));
  }
  return budget;
}

/// The stages of quantize_mixed(), in order.
class Mixer {
 public:
  Mixer(const ModelArgs& args, Trial& trial, const MixedOptions& options)
      : trial_(trial),
        options_(options),
        groups_(groups_of(trial.modules())),
        pool_(thread_count(options.threads)),
        packer_(trial, pool_, args) {}

  std::vector<Group>& groups() { return groups_; }
  const PackedModel& packed() const { return packed_; }

  /// Each group alone in 4 and in 8 bits.
  void measure() {
    std::int64_t done = 0;
    for (std::size_t first = 0; first < groups_.size();) {
      const std::span<Group> run = run_from(first, [](const Group&) { return true; });
      packer_.learn(modules_of(run), {});
      for (Group& group : run) {
        for (const int bits : {4, 8}) {
          PackedModel alone;
          packer_.pack(group.modules, bits, alone);
          (bits == 4 ? group.choice.kl_4 : group.choice.kl_8) = trial_.divergence_with(alone);
          report("measuring", ++done, 2 * std::ssize(groups_));
        }
      }
      first += run.size();
    }
  }

  /// All groups with the bits chosen for them, block after block: the model as packed so far says what comes to the next.
  /// Returns the divergence of the whole.
  double pack() {
    for (std::size_t first = 0; first < groups_.size();) {
      const std::string block = block_of(groups_[first].choice.name);
      const auto run = run_from(first, [&](const Group& g) { return block_of(g.choice.name) == block; });
      packer_.learn(modules_of(run), packed_);
      for (const Group& group : run) {
        if (group.choice.bits <= 8) packer_.pack(group.modules, group.choice.bits, packed_);
      }
      first += run.size();
      report("rounding", static_cast<std::int64_t>(first), std::ssize(groups_));
    }
    return trial_.divergence_with(packed_);
  }

  void report(const char* what, std::int64_t done, std::int64_t total) const {
    if (options_.progress) options_.progress(what, done, total);
  }

 private:
  /// Groups from here on that belong, as many as their moments have room together.  It ends where a group would bring
  /// inputs of its own, so those that read the same stay together.
  template <class Belongs>
  std::span<Group> run_from(std::size_t first, Belongs&& belongs) {
    const auto run = [&](std::size_t count) { return std::span(groups_).subspan(first, count); };
    std::size_t count = 1;
    while (first + count < groups_.size() && belongs(groups_[first + count]) &&
           packer_.moment_bytes(modules_of(run(count + 1))) <=
               std::max(kMomentBytes, packer_.moment_bytes(modules_of(run(count)))))
      ++count;
    return run(count);
  }

  Trial& trial_;
  const MixedOptions& options_;
  std::vector<Group> groups_;
  ThreadPool pool_;
  ModulePacker packer_;
  PackedModel packed_;
};

}  // namespace

MixedResult quantize_mixed(const std::filesystem::path& from, const std::filesystem::path& to,
                           std::span<const Token> text, const MixedOptions& options) {
  check_folders(from, to);
  const ModelArgs args = ModelArgs::load(from);
  ModelWeights weights = bind_weights(args, Checkpoint::open(from), load_encoding(from).get());
  MixedResult result;
  check_target(groups_of(matrix_modules(args, weights)), options.target_bits, result);  // before anything takes long

  Trial trial(args, weights, text.first(std::min(text.size(), static_cast<std::size_t>(options.tokens))),
              kMeasuredTokens, options.threads);
  Mixer mixer(args, trial, options);
  mixer.measure();
  const std::int64_t bytes = choose(mixer.groups(), check_target(mixer.groups(), options.target_bits, result));
  result.kl = mixer.pack();
  result.positions = trial.positions();
  std::int64_t numbers = 0;
  for (const Group& group : mixer.groups()) {
    result.groups.push_back(group.choice);
    numbers += group.choice.weights;
  }
  result.bits = 8 * static_cast<double>(bytes) / static_cast<double>(numbers);

  QuantizeOptions writing;
  writing.threads = options.threads;
  writing.max_shard_bytes = options.max_shard_bytes;
  writing.progress = options.progress;
  const Packing packing{{writing.bits, writing.group_size}, &mixer.packed()};
  result.written =
      quantize_by(from, to, writing, packing, fmt::format("kl quantize --target-bpw {}", options.target_bits));
  return result;
}

}  // namespace kl
