#pragma once
// What a model's matrices multiply, while it reads a text.
#include <cstddef>
#include <map>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "calibration/pack_for_inputs.h"
#include "layers/context.h"
#include "weights/weights.h"

namespace kl {

/// Second moments of vectors x [K], and how far they have drifted from what they should be.
struct Moments {
  explicit Moments(std::ptrdiff_t size = 0) : K(size), sum(static_cast<std::size_t>(size * size)) {}

  /// Adds rows [.., K]; `meant` holds what they should be, or nothing if that is not known.  Each number of the result is
  /// added up in the order of the rows.
  void add(std::span<const float> rows, std::span<const float> meant, ThreadPool& pool);

  /// For pack_block_for(): `damping` times the mean diagonal is added to the diagonal of the moments.
  InputKnowledge knowledge(double damping, ThreadPool& pool) const;

  std::ptrdiff_t K;
  std::vector<double> sum;    ///< sum x x^T: the upper half of [K, K]
  std::vector<double> drift;  ///< sum (meant - x) x^T [K, K]; empty while nothing is known of it
};

/// Keeps the inputs of chosen matrices, which it tells apart by where their data begins.
class InputRecorder : public ProductObserver {
 public:
  /// From now on inputs of this matrix, which is not packed, are kept, up to `most` rows.
  void watch(const WeightMatrix& w, std::ptrdiff_t most);

  /// The rows this matrix, which is watched, has multiplied since they were last taken.
  std::vector<float> take(const WeightMatrix& w);

  void on_product(const MatmulArgs& product) noexcept override;

 private:
  struct Kept {
    std::vector<float> rows;
    std::size_t most = 0;
  };
  std::map<const void*, Kept> kept_;
};

/// What reads the residual stream: an error e in an embedding shifts sum (W norm e)^2 of it, over layers and rows of W.
/// The routed experts are left out.
Moments moments_of_readers(const ModelWeights& weights, const Kernels& kernels, ThreadPool& pool);

}  // namespace kl
