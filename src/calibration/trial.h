#pragma once
// A model some of whose matrices are replaced, compared with itself as it was.
#include <functional>
#include <span>
#include <vector>

#include "calibration/matrix_modules.h"
#include "convert/packed_model.h"
#include "evaluation/saved_probabilities.h"
#include "evaluation/windows.h"
#include "kernels/kernels.h"
#include "kl/model.h"
#include "layers/context.h"

namespace kl {

/// Measures what replacing matrices does to a model's distribution on a text.
///
/// Role      holds what the model says at every position of the text, and a copy of its weights' addresses to change.
class Trial {
 public:
  /// Divergences are measured on the first `measured` tokens.
  Trial(const ModelArgs& args, const ModelWeights& weights, std::span<const Token> text, int measured, int threads);

  /// The modules of the model as they were.
  const std::vector<MatrixModule>& modules() const { return modules_; }
  const ModelWeights& weights() const { return weights_; }
  const Kernels& kernels() const { return kernels_; }

  /// Mean KL divergence on the text with these modules packed.
  double divergence_with(const PackedModel& packed);

  /// Reads all of the text, a part after the other: the unchanged model, then the one with these
  /// modules packed.  `products` hears of both; the functions are called after each, every time.  Without packed modules
  /// only the latter reads.
  void read_with(const PackedModel& packed, ProductObserver& products, const std::function<void()>& source_read,
                 const std::function<void()>& changed_read);

  /// Tokens of a part at most.
  static std::int64_t part_tokens();

  std::int64_t positions() const { return windows_.count * windows_.positions(); }

 private:
  void change(const PackedModel& packed);
  void read(const ModelWeights& weights, const Windows& windows, const ModelOptions& options, const OnScored& f);

  const ModelArgs& args_;
  ModelWeights weights_, changed_;
  std::vector<MatrixModule> modules_, changed_modules_;
  std::span<const Token> text_;
  Windows all_, windows_;
  int threads_;
  const Kernels& kernels_;
  std::vector<std::vector<std::uint16_t>> codes_;  // [positions][vocabulary]
  std::vector<CodedRow> rows_;
};

}  // namespace kl
