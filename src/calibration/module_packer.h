#pragma once
// Modules packed with knowledge of what they multiply.
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "calibration/input_moments.h"
#include "calibration/matrix_modules.h"
#include "calibration/trial.h"
#include "convert/packed_model.h"

namespace kl {

/// Packs modules so that what they make of their inputs changes little.
///
/// Role      learns the inputs of a few modules at a time from a text that the trial's models read.
class ModulePacker {
 public:
  using Modules = std::span<const MatrixModule* const>;

  /// Both outlive the packer.
  ModulePacker(Trial& trial, ThreadPool& pool, const ModelArgs& args);

  /// Reads the text for the inputs of these modules, forgetting others.  With `packed`, which holds none that they read
  /// from, their inputs are those of the model packed so far, and what they should be those of the model as it was.
  void learn(Modules modules, const PackedModel& packed);

  /// Packs modules that learn() was told of, in 4 or 8 bits; 4 bits in groups of 32 or 64, whichever leaves less error.
  /// Throws Error(kCorrupt) for weights that are no numbers or too large.
  void pack(Modules modules, int bits, PackedModel& packed);

  /// The modules whose inputs these read: their own or those of one that reads the same; "" is the embedding, which
  /// multiplies nothing.
  std::set<std::string> inputs_of(Modules modules) const;

  /// Bytes that learn() needs.
  std::size_t moment_bytes(Modules modules) const;

 private:
  std::string input_of(const std::string& module) const;
  PackedTensor pack(const MatrixModule& module, const PackedFormat& format, double& loss);
  double pack_matrix(const std::string& name, const WeightMatrix& w, const PackedFormat& format,
                     const InputKnowledge& inputs, std::byte* to);

  Trial& trial_;
  ThreadPool& pool_;
  const bool experts_share_;
  std::map<std::string, const MatrixModule*> by_name_;
  std::map<std::string, std::vector<InputKnowledge>> known_;  // by input, one for each of its matrices
};

}  // namespace kl
