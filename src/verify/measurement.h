#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kl/model.h"
#include "kl/verify.h"
#include "verify/dump.h"

namespace kl {

/// How far kl is from one array of a dump, row by row.
struct MeasuredArray {
  const DumpArray* array = nullptr;
  std::vector<double> differences;  ///< [rows] largest absolute one of a row; of router_ids the number of other experts
  std::vector<double> scales;       ///< [rows] largest magnitude in the dump's row
  std::vector<std::int32_t> ids;    ///< [rows, cols] of router_ids: what kl chose

  /// Difference of each row divided by the larger of its own scale and the rows' median one.
  ///
  /// A row's own scale, as one token may have entries a thousand times those of the others; not less than the median, as a row
  /// that happens to be small inherits the rounding of the rows it was made from.
  std::vector<double> relative() const;
};

/// Receives what the model computes for the dump's sequences and keeps nothing but the differences.
class Measurement : public ForwardObserver {
 public:
  /// All must outlive the object.  `what`: the work's name to `progress`.
  Measurement(const Dump& dump, int num_layers, const std::string& what, const Progress& progress);

  const std::vector<MeasuredArray>& arrays() const { return arrays_; }
  void compare_state(int sequence, const SequenceState& state);

  bool wants_layers() const override { return wants_layers_; }
  void on_logits(int sequence, std::int64_t index, std::span<const float> logits) override;
  void on_hidden(int layer, int sequence, std::int64_t index, std::span<const float> hidden) override;
  void on_router(int layer, int sequence, std::int64_t index, std::span<const std::int32_t> ids,
                 std::span<const float> weights) override;
  bool on_progress(std::int64_t done, std::int64_t total) override;

 private:
  MeasuredArray* find(DumpKind kind, int layer, int sequence);
  void compare_row(MeasuredArray& to, std::int64_t row, std::span<const float> values);
  void compare_all(DumpKind kind, int layer, int sequence, const std::vector<float>& values);

  const Dump& dump_;
  int num_layers_;
  const std::string& what_;
  const Progress& progress_;
  bool wants_layers_ = false;
  std::vector<MeasuredArray> arrays_;
  std::vector<std::vector<int>> places_;  // [sequence][(layer + 1) * kinds + kind]: index into arrays_, -1 = none
  std::vector<double> row_;               // of the dump
};

/// Opens the model and measures it against the dump; `what` is the work's name to `progress`.
std::vector<MeasuredArray> measure(const std::filesystem::path& dir, const ModelOptions& options, const Dump& dump,
                                   const std::string& what, const Progress& progress);

}  // namespace kl
