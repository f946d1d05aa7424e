#pragma once
// What a model's matrices multiply, while it reads a text.
#include <cstddef>
#include <map>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "calibration/pack_for_inputs.h"
#include "kernels/kernels.h"
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

/// Keeps the inputs of chosen matrices.
///
/// Role      a table of kernels whose matmul keeps what comes by, and is otherwise another table.  Every product begins
///           with a call for output 0, which is the one that counts.
/// Threads   matrices are told apart by where their data begins; one matrix is only ever multiplied by one thread at a
///           time as far as output 0 is concerned, so rows have one order.  One recorder may be at work in a process:
///           entries of the table know nothing but their arguments.
class InputRecorder {
 public:
  explicit InputRecorder(const Kernels& kernels);
  ~InputRecorder();
  InputRecorder(const InputRecorder&) = delete;
  InputRecorder& operator=(const InputRecorder&) = delete;

  /// From now on inputs of this matrix, which is not packed, are kept, up to `most` rows.
  void watch(const WeightMatrix& w, std::ptrdiff_t most);
  const Kernels& kernels() const { return table_; }

  /// The rows this matrix, which is watched, has multiplied since they were last taken.
  std::vector<float> take(const WeightMatrix& w);

 private:
  struct Kept {
    std::vector<float> rows;
    std::size_t most = 0;
  };

  static void record_and_multiply(const MatmulArgs& a, std::ptrdiff_t n0, std::ptrdiff_t n1) noexcept;
  void keep(const MatmulArgs& a) noexcept;

  static InputRecorder* at_work_;
  const Kernels& kernels_;
  Kernels table_;
  std::map<const void*, Kept> kept_;
};

/// What reads the residual stream: an error e in an embedding shifts sum (W norm e)^2 of it, over layers and rows of W.
/// The routed experts are left out.
Moments moments_of_readers(const ModelWeights& weights, const Kernels& kernels, ThreadPool& pool);

}  // namespace kl
