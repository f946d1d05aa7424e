#include "verify/measurement.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

namespace kl {
namespace {

constexpr int kKinds = static_cast<int>(DumpKind::kLogits) + 1;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// |a - b|, infinite if either is no number.
double difference(double a, double b) {
  const double d = std::abs(a - b);
  return std::isfinite(d) ? d : kInfinity;
}

std::size_t place_of(DumpKind kind, int layer) {
  return static_cast<std::size_t>((layer + 1) * kKinds + static_cast<int>(kind));
}

}  // namespace

std::vector<double> MeasuredArray::relative() const {
  std::vector<double> sorted = scales;
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  const double least = sorted.empty() ? 0 : *middle;
  std::vector<double> result(differences.size());
  for (std::size_t r = 0; r < result.size(); ++r) {
    const double scale = std::max(scales[r], least);
    result[r] = differences[r] == 0 ? 0 : scale > 0 ? differences[r] / scale : kInfinity;
  }
  return result;
}

Measurement::Measurement(const Dump& dump, int num_layers, const std::string& what, const Progress& progress)
    : dump_(dump), num_layers_(num_layers), what_(what), progress_(progress) {
  places_.assign(dump.sequences.size(), std::vector<int>(static_cast<std::size_t>((num_layers + 1) * kKinds), -1));
  for (const DumpArray& array : dump.arrays) {
    const auto rows = static_cast<std::size_t>(array.rows);
    places_[static_cast<std::size_t>(array.sequence)][place_of(array.kind, array.layer)] =
        static_cast<int>(arrays_.size());
    arrays_.push_back({&array, std::vector<double>(rows, kInfinity), std::vector<double>(rows, 0.0), {}});
    if (array.kind == DumpKind::kRouterIds) arrays_.back().ids.resize(rows * static_cast<std::size_t>(array.cols));
    wants_layers_ |=
        array.kind == DumpKind::kHidden || array.kind == DumpKind::kRouterIds || array.kind == DumpKind::kRouterWeights;
  }
}

MeasuredArray* Measurement::find(DumpKind kind, int layer, int sequence) {
  const int at = places_[static_cast<std::size_t>(sequence)][place_of(kind, layer)];
  return at < 0 ? nullptr : &arrays_[static_cast<std::size_t>(at)];
}

void Measurement::compare_row(MeasuredArray& to, std::int64_t row, std::span<const float> values) {
  row_.resize(values.size());
  to.array->read_row(row, row_);
  double largest = 0, scale = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    largest = std::max(largest, difference(values[i], row_[i]));
    if (std::isfinite(row_[i])) scale = std::max(scale, std::abs(row_[i]));
  }
  to.differences[static_cast<std::size_t>(row)] = largest;
  to.scales[static_cast<std::size_t>(row)] = scale;
}

void Measurement::compare_all(DumpKind kind, int layer, int sequence, const std::vector<float>& values) {
  MeasuredArray* to = find(kind, layer, sequence);
  if (to == nullptr) return;
  const auto cols = static_cast<std::size_t>(to->array->cols);
  for (std::int64_t row = 0; row < to->array->rows; ++row)
    compare_row(*to, row, std::span(values).subspan(static_cast<std::size_t>(row) * cols, cols));
}

void Measurement::compare_state(int sequence, const SequenceState& state) {
  for (int layer = 0; layer < num_layers_; ++layer) {
    compare_all(DumpKind::kConvState, layer, sequence, state.conv_state(layer));
    compare_all(DumpKind::kKdaState, layer, sequence, state.kda_state(layer));
    compare_all(DumpKind::kMlaLatent, layer, sequence, state.mla_latent(layer));
    compare_all(DumpKind::kMlaKPe, layer, sequence, state.mla_k_pe(layer));
  }
}

void Measurement::on_logits(int sequence, std::int64_t index, std::span<const float> logits) {
  const std::vector<std::int64_t>& positions = dump_.sequences[static_cast<std::size_t>(sequence)].positions;
  const auto it = std::lower_bound(positions.begin(), positions.end(), index);
  if (it == positions.end() || *it != index) return;
  compare_row(*find(DumpKind::kLogits, -1, sequence), it - positions.begin(), logits);
}

void Measurement::on_hidden(int layer, int sequence, std::int64_t index, std::span<const float> hidden) {
  if (MeasuredArray* to = find(DumpKind::kHidden, layer, sequence)) compare_row(*to, index, hidden);
}

/// The dump may name its experts in any order: weights belong to ids, and an expert that is not chosen has weight 0.
void Measurement::on_router(int layer, int sequence, std::int64_t index, std::span<const std::int32_t> ids,
                            std::span<const float> weights) {
  MeasuredArray* to_ids = find(DumpKind::kRouterIds, layer, sequence);
  MeasuredArray* to_weights = find(DumpKind::kRouterWeights, layer, sequence);
  if (to_ids == nullptr) {
    if (to_weights != nullptr) compare_row(*to_weights, index, weights);
    return;
  }
  const auto row = static_cast<std::size_t>(index);
  std::vector<double> their_ids(ids.size()), their_weights(ids.size(), 0.0);
  to_ids->array->read_row(index, their_ids);
  if (to_weights != nullptr) to_weights->array->read_row(index, their_weights);
  std::copy(ids.begin(), ids.end(), to_ids->ids.begin() + static_cast<std::ptrdiff_t>(row * ids.size()));

  std::map<std::int64_t, std::pair<double, double>> both;  // expert -> weight in the dump, weight here
  double scale = 0, largest = 0;
  std::int64_t others = 0;
  for (std::size_t a = 0; a < ids.size(); ++a) {
    both[static_cast<std::int64_t>(their_ids[a])].first += their_weights[a];
    both[ids[a]].second += static_cast<double>(weights[a]);
    if (std::isfinite(their_weights[a])) scale = std::max(scale, std::abs(their_weights[a]));
    others += std::find(their_ids.begin(), their_ids.end(), ids[a]) == their_ids.end();
  }
  for (const auto& [id, pair] : both) largest = std::max(largest, difference(pair.first, pair.second));
  to_ids->differences[row] = static_cast<double>(others);
  if (to_weights == nullptr) return;
  to_weights->differences[row] = largest;
  to_weights->scales[row] = scale;
}

bool Measurement::on_progress(std::int64_t done, std::int64_t total) {
  if (progress_) progress_(what_, done, total);
  return true;
}

std::vector<MeasuredArray> measure(const std::filesystem::path& dir, const ModelOptions& options, const Dump& dump,
                                   const std::string& what, const Progress& progress) {
  Model model = Model::open(dir, options);
  Measurement measurement(dump, model.args().num_hidden_layers, what, progress);
  std::vector<SequenceState> states(dump.sequences.size());
  std::vector<SequenceInput> batch;
  for (std::size_t s = 0; s < states.size(); ++s) {
    const DumpSequence& sequence = dump.sequences[s];
    const bool is_last_only = sequence.positions.size() == 1 &&
                              sequence.positions[0] + 1 == static_cast<std::int64_t>(sequence.tokens.size());
    states[s] = model.make_cache();
    batch.push_back({&states[s], sequence.tokens, is_last_only ? WantLogits::kLast : WantLogits::kAll});
  }
  model.forward(batch, measurement);
  for (std::size_t s = 0; s < states.size(); ++s) measurement.compare_state(static_cast<int>(s), states[s]);
  return measurement.arrays();
}

}  // namespace kl
