#include "weights/repack.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/thread_pool.h"
#include "weights/pack.h"

namespace kl {
namespace {

constexpr std::int64_t kRowsPerTask = 128;  // whole blocks of packed rows

bool all_finite(const float* x, std::int64_t n) {
  return std::all_of(x, x + n, [](float v) { return std::isfinite(v); });
}

}  // namespace

struct Repacking::Scratch {
  std::vector<float> row, scale, minimum;  // [cols] of the widest matrix
  std::vector<std::uint8_t> q;
};

WeightMatrix Repacking::add(std::shared_ptr<const StoredMatrix> stored, const RowRange& rows, std::string tensor) {
  HeldForm form = stored->held_as();
  if (rows.is_transposed && form.type == DType::kPacked) form = {};
  WeightMatrix m{nullptr, form.type, rows.count, stored->cols(), stored->cols(), form.format};
  if (rows.is_transposed) std::swap(m.N, m.K), m.stride = m.K;
  const auto bytes =
      static_cast<std::size_t>(m.type == DType::kPacked ? m.format.matrix_bytes(m.N, m.K)
                                                        : m.N * m.K * static_cast<std::ptrdiff_t>(size_of(m.type)));
  bytes_ += bytes;
  if (only_sizes_) return m;
  AlignedBuffer& buffer = buffers_.emplace_back((bytes + 3) / 4);
  m.data = buffer.data();
  jobs_.emplace_back(std::move(stored), rows, m, reinterpret_cast<std::byte*>(buffer.data()), std::move(tensor));
  return m;
}

/// Rows first .. first + count - 1 of a job's file rows; answers whether all weights are finite.
bool Repacking::convert(const Job& job, std::int64_t first, std::int64_t count, Scratch& s) noexcept {
  const WeightMatrix& m = job.matrix;
  const std::int64_t cols = job.stored->cols();
  bool is_finite = true;
  for (std::int64_t r = first; r < first + count; ++r) {
    if (m.type == DType::kPacked) {
      std::byte* block = job.data + r / kTileOutputs * m.format.block_bytes(cols);
      if (r % kTileOutputs == 0 && job.rows.count - r < kTileOutputs)
        std::fill_n(block, m.format.block_bytes(cols), std::byte{0});
      const PackedRow row{s.q.data(), s.scale.data(), s.minimum.data()};
      job.stored->packed_row(job.rows.first + r, row);
      const std::int64_t groups = (cols + m.format.group - 1) / m.format.group;
      if (!m.format.has_minimum) {
        for (std::int64_t g = 0; g < groups; ++g)
          s.minimum[static_cast<std::size_t>(g)] = -std::ldexp(row.scale[g], m.format.bits - 1);
      }
      is_finite = is_finite && all_finite(row.scale, groups) && all_finite(row.minimum, groups);
      put_packed_row(row, cols, m.format, r % kTileOutputs, block);
      continue;
    }
    job.stored->decode_row(job.rows.first + r, s.row.data());
    is_finite = is_finite && all_finite(s.row.data(), cols);
    const std::int64_t start = job.rows.is_transposed ? r : r * cols, step = job.rows.is_transposed ? m.K : 1;
    for (std::int64_t k = 0; k < cols; ++k) {
      const float w = s.row[static_cast<std::size_t>(k)];
      if (m.type == DType::kBF16) {
        reinterpret_cast<std::uint16_t*>(job.data)[start + k * step] = f32_to_bf16(w);
      } else {
        reinterpret_cast<float*>(job.data)[start + k * step] = w;
      }
    }
  }
  return is_finite;
}

std::vector<std::string> Repacking::run() {
  struct Task {
    Job* job;
    std::int64_t first;
  };
  std::vector<Task> tasks;
  std::int64_t widest = 0;
  for (Job& job : jobs_) {
    widest = std::max(widest, job.stored->cols());
    for (std::int64_t r = 0; r < job.rows.count; r += kRowsPerTask) tasks.push_back({&job, r});
  }
  std::vector<std::string> bad;
  if (tasks.empty()) return bad;

  ThreadPool pool(static_cast<int>(std::min<std::size_t>(static_cast<std::size_t>(num_usable_cores()), tasks.size())));
  std::vector<Scratch> scratch(static_cast<std::size_t>(pool.size()));
  for (Scratch& s : scratch) {
    const auto n = static_cast<std::size_t>(widest + kTileInputs);
    s.row.resize(n), s.scale.resize(n), s.minimum.resize(n), s.q.resize(n);
  }
  pool.parallel_for(static_cast<std::ptrdiff_t>(tasks.size()), [&](std::ptrdiff_t i, int worker) {
    const auto [job, first] = tasks[static_cast<std::size_t>(i)];
    const std::int64_t count = std::min(kRowsPerTask, job->rows.count - first);
    if (!convert(*job, first, count, scratch[static_cast<std::size_t>(worker)])) job->is_finite = false;
  });
  for (const Job& job : jobs_)
    if (!job.is_finite) bad.push_back(job.tensor);
  jobs_.clear();
  return bad;
}

}  // namespace kl
