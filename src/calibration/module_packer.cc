#include "calibration/module_packer.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>

#include "calibration/pack_for_inputs.h"
#include "kl/error.h"
#include "packing/packed_name.h"

namespace kl {
namespace {

constexpr std::int64_t kMostOwnInputs = 16384;  // of all experts of a layer together
constexpr float kLargestWeight = 65504;         // so that an f16 scale never overflows
constexpr double kDamping = 0.01;

bool is_routed(const std::string& module) { return module.find(".experts.") != module.npos; }

}  // namespace

ModulePacker::ModulePacker(Trial& trial, ThreadPool& pool, const ModelArgs& args)
    : trial_(trial), pool_(pool), experts_share_(args.num_experts * args.hidden_size > kMostOwnInputs) {
  for (const MatrixModule& module : trial.modules()) by_name_[module.name] = &module;
}

/// Modules that read the same follow each other, and the first of them is what their inputs are called by: so none of
/// them is packed when they are learnt.  A routed expert's w3 reads what its w1 does; where each expert has few tokens
/// or moments would take much memory, as `experts_share_` says, both are taken to read what the router does.
std::string ModulePacker::input_of(const std::string& module) const {
  constexpr std::string_view kReadLayer[] = {"k_proj",   "v_proj", "f_a_proj",
                                             "g_a_proj", "b_proj", "kv_a_proj_with_mqa"};
  if (module == "model.embed_tokens") return {};
  const std::size_t dot = module.rfind('.');
  const std::string_view role = std::string_view(module).substr(dot + 1);
  const std::string parent = module.substr(0, dot + 1);
  if (role == "w1" || role == "w3")
    return experts_share_ ? module.substr(0, module.find("experts.")) + "gate" : parent + "w1";
  if (role == "up_proj") return parent + "gate_proj";
  const bool reads_layer = std::find(std::begin(kReadLayer), std::end(kReadLayer), role) != std::end(kReadLayer);
  return reads_layer ? parent + "q_proj" : module;
}

std::set<std::string> ModulePacker::inputs_of(Modules modules) const {
  std::set<std::string> inputs;
  for (const MatrixModule* module : modules) inputs.insert(input_of(module->name));
  return inputs;
}

std::size_t ModulePacker::moment_bytes(Modules modules) const {
  std::size_t bytes = 0;
  for (const std::string& input : inputs_of(modules)) {
    if (input.empty()) continue;
    const std::size_t kept = is_routed(input) ? 1 : 2;  // sum, drift
    for (const WeightMatrix& w : by_name_.at(input)->matrices)
      bytes += kept * sizeof(double) * static_cast<std::size_t>(w.K * w.K);
  }
  return bytes;
}

void ModulePacker::learn(Modules modules, const PackedModel& packed) {
  known_.clear();
  std::map<const WeightMatrix*, Moments> moments;
  std::map<const WeightMatrix*, std::vector<float>> meant;
  std::set<std::string> inputs = inputs_of(modules);
  if (inputs.erase(std::string()) > 0)
    known_[""].push_back(moments_of_readers(trial_.weights(), trial_.kernels(), pool_).knowledge(kDamping, pool_));
  if (inputs.empty()) return;

  InputRecorder recorder;
  for (const std::string& input : inputs) {
    for (const WeightMatrix& w : by_name_.at(input)->matrices) {
      recorder.watch(w, Trial::part_tokens());
      moments.emplace(&w, w.K);
      // A routed expert may meet other tokens than it did: what they should be is not known.
      if (!packed.empty() && !is_routed(input)) meant[&w];
    }
  }
  const auto source_read = [&] {
    for (auto& [w, m] : moments) {
      std::vector<float> rows = recorder.take(*w);
      if (const auto it = meant.find(w); it != meant.end()) it->second = std::move(rows);
    }
  };
  const auto changed_read = [&] {
    for (auto& [w, m] : moments) {
      const auto it = meant.find(w);
      m.add(recorder.take(*w), it == meant.end() ? std::span<const float>() : it->second, pool_);
    }
  };
  trial_.read_with(packed, recorder, source_read, changed_read);
  for (const std::string& input : inputs) {
    for (const WeightMatrix& w : by_name_.at(input)->matrices)
      known_[input].push_back(moments.extract(&w).mapped().knowledge(kDamping, pool_));
  }
}

void ModulePacker::pack(Modules modules, int bits, PackedModel& packed) {
  for (const MatrixModule* module : modules) {
    PackedTensor best;
    double least = 0;
    for (const int group_size : {32, 64}) {
      if (module->matrices[0].K % group_size != 0 || (bits == 8 && group_size == 64)) continue;
      double loss = 0;
      PackedTensor tensor = pack(*module, packed_format({bits, group_size}), loss);
      if (best.matrices.empty() || loss < least) best = std::move(tensor), least = loss;
    }
    packed[module->name] = std::move(best);
  }
}

PackedTensor ModulePacker::pack(const MatrixModule& module, const PackedFormat& format, double& loss) {
  const std::vector<InputKnowledge>& inputs = known_.at(input_of(module.name));
  PackedTensor tensor{format, {}};
  for (std::size_t i = 0; i < module.matrices.size(); ++i) {
    const WeightMatrix& w = module.matrices[i];
    const auto bytes = static_cast<std::size_t>(format.matrix_bytes(w.N, w.K));
    auto* to = reinterpret_cast<std::byte*>(tensor.matrices.emplace_back(bytes / sizeof(float)).data());
    loss += pack_matrix(module.name, w, format, inputs[i], to);
  }
  return tensor;
}

double ModulePacker::pack_matrix(const std::string& name, const WeightMatrix& w, const PackedFormat& format,
                                 const InputKnowledge& inputs, std::byte* to) {
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
          pack_block_for(inputs, rows.data(), n, w.K, format, to + b * format.block_bytes(w.K));
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

}  // namespace kl
