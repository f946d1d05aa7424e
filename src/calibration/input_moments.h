#pragma once
// What a model's matrices multiply, while it reads a text.
#include <cstddef>
#include <functional>
#include <map>
#include <span>
#include <vector>

#include "kernels/kernels.h"
#include "weights/weights.h"

namespace kl {

/// Second moments sum x x^T of vectors [K]: the upper half of [K, K].
struct Moments {
  explicit Moments(std::ptrdiff_t size = 0) : K(size), sum(static_cast<std::size_t>(size * size)) {}
  void add(const float* x) noexcept;

  /// Upper U [K, K] with U^T U = (sum x x^T + damping x its mean diagonal)^-1, as pack_block_for() wants it.
  std::vector<float> inverse_factor(double damping) const;

  std::ptrdiff_t K;
  std::vector<double> sum;
};

/// Second moments of the inputs of chosen matrices.
///
/// Role      a table of kernels whose matmul adds up what comes by, and is otherwise another table.  Every product begins
///           with a call for output 0, which is the one that counts.
/// Threads   matrices are told apart by where their data begins; one matrix is only ever multiplied by one thread at a
///           time as far as output 0 is concerned, so sums have one order.  One recorder may be at work in a process:
///           entries of the table know nothing but their arguments.
class InputMoments {
 public:
  explicit InputMoments(const Kernels& kernels);
  ~InputMoments();
  InputMoments(const InputMoments&) = delete;
  InputMoments& operator=(const InputMoments&) = delete;

  /// From now on inputs of this matrix count.
  void watch(const WeightMatrix& w);
  const Kernels& kernels() const { return table_; }

  /// What this matrix, which is watched, has multiplied.
  const Moments& of(const WeightMatrix& w) const { return moments_.at(w.data); }

 private:
  static void record_and_multiply(const MatmulArgs& a, std::ptrdiff_t n0, std::ptrdiff_t n1) noexcept;
  void add(const MatmulArgs& a) noexcept;

  static InputMoments* at_work_;
  const Kernels& kernels_;
  Kernels table_;
  std::map<const void*, Moments> moments_;
};

/// What reads the residual stream: an error e in an embedding shifts sum (W norm e)^2 of it, over layers and rows of W.
/// The routed experts are left out.
Moments moments_of_readers(const ModelWeights& weights, const Kernels& kernels);

}  // namespace kl
