#pragma once
#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "encodings/stored_matrix.h"
#include "kernels/kernels.h"

namespace kl {

/// Which rows of a stored matrix make a matrix of the model.
struct RowRange {
  std::int64_t first = 0;
  std::int64_t count = 0;
  bool is_transposed = false;  ///< the file's rows are the matrix's columns
};

/// Brings encoded matrices into the form the kernels read: collected while the model is bound, carried out at once over
/// all cores.
class Repacking {
 public:
  /// With `only_sizes` nothing is allocated or converted: matrices have no data, bytes() is what they would take.
  explicit Repacking(bool only_sizes) : only_sizes_(only_sizes) {}

  /// Those rows as a matrix.  Its data is memory of this object, filled by run().
  /// Forms     as stored.held_as() says; transposed ones are never packed, but f32 instead.
  WeightMatrix add(std::shared_ptr<const StoredMatrix> stored, const RowRange& rows, std::string tensor);

  /// Fills everything.  Returns the names of tensors that have weights which are infinite or no numbers.
  std::vector<std::string> run();

  std::size_t bytes() const { return bytes_; }
  std::vector<AlignedBuffer> take_buffers() { return std::move(buffers_); }

 private:
  struct Job {
    std::shared_ptr<const StoredMatrix> stored;
    RowRange rows;
    WeightMatrix matrix;
    std::byte* data;
    std::string tensor;
    std::atomic<bool> is_finite{true};

    Job(std::shared_ptr<const StoredMatrix> s, const RowRange& r, const WeightMatrix& m, std::byte* d, std::string t)
        : stored(std::move(s)), rows(r), matrix(m), data(d), tensor(std::move(t)) {}
  };

  /// Numbers of one row on their way, one set a thread.
  struct Scratch;

  std::byte* take(std::size_t bytes);
  static bool convert_packed(const Job& job, std::int64_t r, Scratch& s) noexcept;
  static bool convert_floats(const Job& job, std::int64_t r, Scratch& s) noexcept;

  bool only_sizes_;
  std::size_t bytes_ = 0;
  std::deque<Job> jobs_;  // atomics do not move
  std::vector<AlignedBuffer> buffers_;
  std::size_t left_ = 0;  // bytes of the last buffer that nobody has
};

}  // namespace kl
