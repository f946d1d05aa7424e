#include "kl/mixed_precision.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <set>

#include "base/cpu_topology.h"
#include "base/thread_pool.h"
#include "calibration/input_moments.h"
#include "calibration/trial.h"
#include "checkpoint/checkpoint.h"
#include "convert/conversion.h"
#include "kl/error.h"
#include "weights/pack.h"
#include "weights/packed_name.h"
#include "weights/quantization_config.h"
#include "weights/sanitize.h"

namespace kl {
namespace {

constexpr std::size_t kMomentBytes = std::size_t{2} << 30;  // of moments kept at once
constexpr std::int64_t kMostOwnInputs = 16384;              // of all experts of a layer together
constexpr int kMeasuredTokens = 8192;                       // on which divergences are measured
constexpr float kLargestWeight = 65504;                     // so that an f16 scale never overflows

/// Modules that get the same number of bits.
struct Group {
  GroupChoice choice;
  std::vector<const MatrixModule*> modules;
  std::int64_t bytes_4 = 0, bytes_8 = 0, bytes_as_is = 0;
  int bits_as_is = 0;

  std::int64_t bytes(int bits) const { return bits == 4 ? bytes_4 : bits == 8 ? bytes_8 : bytes_as_is; }
  double kl(int bits) const { return bits == 4 ? choice.kl_4 : bits == 8 ? choice.kl_8 : 0; }
};

/// One way to round: it decides how far errors are moved to other inputs, and which format 4 bits take.
struct Rounding {
  double damping;
  int groups;  ///< 32, 64, or 0: whichever leaves less
};

// The first is where all begin; the others are tried on the whole.
constexpr Rounding kRoundings[] = {{0.01, 0}, {0.03, 32}, {0.03, 64}, {0.003, 32}, {0.003, 64}, {0.3, 0}};

/// The path with the expert's number left out.
std::string group_name(const std::string& module) {
  constexpr std::string_view kExperts = ".experts.";
  const std::size_t at = module.find(kExperts);
  if (at == module.npos) return module;
  const std::size_t number = at + kExperts.size();
  return module.substr(0, number) + "*" + module.substr(module.find('.', number));
}

/// Whose inputs a module shares, or nothing for the embedding, which multiplies nothing.
///
/// A routed expert's w3 reads what its w1 does; where each of them has few tokens or moments would take much memory, as
/// `experts_share` says, both are taken to read what the router does.
std::string input_of(const std::string& module, bool experts_share) {
  if (module == "model.embed_tokens") return {};
  const std::size_t dot = module.rfind('.');
  const std::string_view role = std::string_view(module).substr(dot + 1);
  const std::string parent = module.substr(0, dot + 1);
  if (!experts_share && module.find(".experts.") != module.npos) return role == "w3" ? parent + "w1" : module;
  const std::size_t moe = module.find("block_sparse_moe.");
  constexpr std::string_view kReadBlock[] = {"w1", "w3", "gate_proj", "up_proj"};
  constexpr std::string_view kReadLayer[] = {"k_proj",   "v_proj", "f_a_proj",
                                             "g_a_proj", "b_proj", "kv_a_proj_with_mqa"};
  const auto is_one_of = [&](auto& roles) {
    return std::find(std::begin(roles), std::end(roles), role) != std::end(roles);
  };
  if (is_one_of(kReadBlock))
    return moe == module.npos ? parent + "gate_proj" : module.substr(0, moe) + "block_sparse_moe.gate";
  return is_one_of(kReadLayer) ? parent + "q_proj" : module;
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

/// Packs modules with the moments of their inputs.
class Packer {
 public:
  Packer(Trial& trial, ThreadPool& pool, const ModelArgs& args)
      : trial_(trial), pool_(pool), experts_share_(args.num_experts * args.hidden_size > kMostOwnInputs) {
    for (const MatrixModule& module : trial.modules()) by_name_[module.name] = &module;
  }

  /// Reads the text for the moments of these groups, forgetting others.
  void learn(std::span<const Group> groups) {
    moments_.reset();
    moments_.emplace(trial_.kernels());
    for (const std::string& input : inputs_of(groups)) {
      for (const WeightMatrix& w : by_name_.at(input)->matrices) moments_->watch(w);
    }
    trial_.read_with(moments_->kernels());
  }

  /// Bytes of moments.
  std::size_t moment_bytes(const Group& group) const {
    std::size_t bytes = 0;
    for (const std::string& input : inputs_of({&group, 1})) {
      for (const WeightMatrix& w : by_name_.at(input)->matrices)
        bytes += sizeof(double) * static_cast<std::size_t>(w.K * w.K);
    }
    return bytes;
  }

  /// Adds the group's modules.
  void pack(const Group& group, int bits, const Rounding& rounding, PackedModel& packed) {
    std::string input;
    std::vector<std::vector<float>> factors;
    for (const MatrixModule* module : group.modules) {
      const std::string own = input_of(module->name);
      if (own.empty())
        factors = {moments_of_readers(trial_.weights(), trial_.kernels()).inverse_factor(rounding.damping)};
      if (own != input) {
        input = own;
        factors.clear();
        for (const WeightMatrix& w : by_name_.at(input)->matrices)
          factors.push_back(moments_->of(w).inverse_factor(rounding.damping));
      }
      PackedTensor best;
      double least = INFINITY;
      for (const int group_size : {32, 64}) {
        if (module->matrices[0].K % group_size != 0) continue;
        if (group_size == 64 && (bits == 8 || rounding.groups == 32)) continue;
        if (group_size == 32 && bits == 4 && rounding.groups == 64 && module->matrices[0].K % 64 == 0) continue;
        auto [tensor, loss] = pack(*module, packed_format({bits, group_size}), factors);
        if (loss < least) best = std::move(tensor), least = loss;
      }
      packed[module->name] = std::move(best);
    }
  }

 private:
  std::string input_of(const std::string& module) const { return kl::input_of(module, experts_share_); }

  std::set<std::string> inputs_of(std::span<const Group> groups) const {
    std::set<std::string> inputs;
    for (const Group& group : groups) {
      for (const MatrixModule* module : group.modules) inputs.insert(input_of(module->name));
    }
    inputs.erase(std::string());
    return inputs;
  }

  std::pair<PackedTensor, double> pack(const MatrixModule& module, const PackedFormat& format,
                                       const std::vector<std::vector<float>>& factors) {
    PackedTensor tensor{format, {}};
    double loss = 0;
    for (std::size_t i = 0; i < module.matrices.size(); ++i) {
      const WeightMatrix& w = module.matrices[i];
      const auto bytes = static_cast<std::size_t>(format.matrix_bytes(w.N, w.K));
      auto* to = reinterpret_cast<std::byte*>(tensor.matrices.emplace_back(bytes / sizeof(float)).data());
      loss += pack_matrix(module.name, w, format, factors[i], to);
    }
    return {std::move(tensor), loss};
  }

  double pack_matrix(const std::string& name, const WeightMatrix& w, const PackedFormat& format,
                     std::span<const float> factor, std::byte* to) {
    const std::ptrdiff_t blocks = (w.N + kTileOutputs - 1) / kTileOutputs;
    std::vector<double> losses(static_cast<std::size_t>(blocks));
    std::atomic<bool> is_sound{true};
    pool_.parallel_for(blocks, [&](std::ptrdiff_t b, int) {
      const std::ptrdiff_t n0 = b * kTileOutputs, n = std::min(kTileOutputs, w.N - n0);
      std::vector<float> rows(static_cast<std::size_t>(n * w.K));
      for (std::ptrdiff_t r = 0; r < n; ++r) trial_.kernels().weight_row(w, n0 + r, rows.data() + r * w.K);
      const auto fits = [](float x) { return std::fabs(x) <= kLargestWeight; };
      if (!std::all_of(rows.begin(), rows.end(), fits)) {
        is_sound = false;
      } else {
        losses[static_cast<std::size_t>(b)] =
            pack_block_for(factor, rows.data(), n, w.K, format, to + b * format.block_bytes(w.K));
      }
    });
    if (!is_sound) {
      throw Error(ErrorCode::kCorrupt,
                  fmt::format("{}: expected finite weights up to {}, got others", name, kLargestWeight));
    }
    double loss = 0;  // in order, whatever the threads
    for (const double l : losses) loss += l;
    return loss;
  }

  Trial& trial_;
  ThreadPool& pool_;
  const bool experts_share_;
  std::map<std::string, const MatrixModule*> by_name_;
  std::optional<InputMoments> moments_;
};

/// Calls f(groups) for runs of groups whose moments fit together.
template <class F>
void for_each_run(const Packer& packer, std::span<Group> groups, F&& f) {
  for (std::size_t first = 0; first < groups.size();) {
    std::size_t last = first, bytes = 0;
    do {
      bytes += packer.moment_bytes(groups[last]);
      ++last;
    } while (last < groups.size() && bytes + packer.moment_bytes(groups[last]) <= kMomentBytes);
    f(groups.subspan(first, last - first));
    first = last;
  }
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
        pool_(options.threads > 0 ? options.threads : num_usable_cores()),
        packer_(trial, pool_, args) {}

  std::vector<Group>& groups() { return groups_; }
  const PackedModel& packed() const { return packed_; }

  /// Each group alone in 4 and in 8 bits.
  void measure() {
    std::int64_t done = 0;
    for_each_run(packer_, groups_, [&](std::span<Group> run) {
      packer_.learn(run);
      for (Group& group : run) {
        for (const int bits : {4, 8}) {
          PackedModel alone;
          packer_.pack(group, bits, kRoundings[0], alone);
          (bits == 4 ? group.choice.kl_4 : group.choice.kl_8) = trial_.divergence_with(alone);
          report("measuring", ++done, 2 * std::ssize(groups_));
        }
      }
    });
  }

  /// All groups with the bits chosen for them.
  void pack() {
    for_each_run(packer_, groups_, [&](std::span<Group> run) {
      packer_.learn(run);
      for (const Group& group : run) {
        if (group.choice.bits <= 8) packer_.pack(group, group.choice.bits, kRoundings[0], packed_);
      }
    });
  }

  /// Errors of groups add up only nearly: each takes the rounding with which the whole is nearest to the source.
  /// Returns the divergence of the whole.
  double refine() {
    double least = trial_.divergence_with(packed_);
    std::int64_t done = 0;
    for_each_run(packer_, groups_, [&](std::span<Group> run) {
      packer_.learn(run);
      for (const Group& group : run) {
        report("rounding", ++done, std::ssize(groups_));
        if (group.choice.bits > 4) continue;
        for (const Rounding& rounding : std::span(kRoundings).subspan(1)) least = try_rounding(group, rounding, least);
      }
    });
    return least;
  }

  void report(const char* what, std::int64_t done, std::int64_t total) const {
    if (options_.progress) options_.progress(what, done, total);
  }

 private:
  double try_rounding(const Group& group, const Rounding& rounding, double least) {
    PackedModel other;
    packer_.pack(group, 4, rounding, other);
    for (auto& [module, tensor] : other) std::swap(tensor, packed_.at(module));
    const double kl = trial_.divergence_with(packed_);
    if (kl < least) return kl;
    for (auto& [module, tensor] : other) std::swap(tensor, packed_.at(module));
    return least;
  }

  Trial& trial_;
  const MixedOptions& options_;
  std::vector<Group> groups_;
  ThreadPool pool_;
  Packer packer_;
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
  mixer.pack();
  result.kl = mixer.refine();
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
  writing.progress = [&](std::int64_t done, std::int64_t total) { mixer.report("writing", done, total); };
  const Packing packing{{writing.bits, writing.group_size}, &mixer.packed()};
  result.written =
      quantize_by(from, to, writing, packing, fmt::format("kl quantize --target-bpw {}", options.target_bits));
  return result;
}

}  // namespace kl
