#include "packing/repack.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "base/cpu_topology.h"
#include "base/thread_pool.h"
#include "packing/pack.h"

namespace kl {
namespace {

constexpr std::int64_t kRowsPerTask = 128;  // whole blocks of packed rows

bool all_finite(const float* x, std::int64_t n) {
  constexpr std::uint32_t kExponent = 0x7f800000u;
  std::uint32_t found = 0;
  for (std::int64_t i = 0; i < n; ++i) found |= (std::bit_cast<std::uint32_t>(x[i]) & kExponent) == kExponent ? 1u : 0u;
  return found == 0;
}

/// Puts n weights `step` elements apart.   REQUIRES: they fit the type exactly.
void put_floats(const float* w, std::int64_t n, DType type, std::int64_t step, std::byte* to) {
  if (type == DType::kBF16) {
    auto* bf16 = reinterpret_cast<std::uint16_t*>(to);
    for (std::int64_t k = 0; k < n; ++k)
      bf16[k * step] = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(w[k]) >> 16);
  } else {
    auto* f32 = reinterpret_cast<float*>(to);
    for (std::int64_t k = 0; k < n; ++k) f32[k * step] = w[k];
  }
}

}  // namespace

struct Repacking::Scratch {
  std::vector<float> row, scale, minimum;  // [cols] of the widest matrix
  std::vector<std::uint8_t> q;
};

/// Matrices share large buffers: these lie in large pages, which kernels read faster (docs/benchmarks.md).
std::byte* Repacking::take(std::size_t bytes) {
  constexpr std::size_t kBufferBytes = std::size_t{256} << 20, kLine = AlignedBuffer::kAlignment;
  const std::size_t whole = (bytes + kLine - 1) / kLine * kLine;
  if (buffers_.empty() || whole > left_) {
    left_ = std::max(whole, kBufferBytes);
    buffers_.emplace_back(left_ / sizeof(float));
  }
  const AlignedBuffer& buffer = buffers_.back();
  auto* data = reinterpret_cast<std::byte*>(buffers_.back().data()) + buffer.size() * sizeof(float) - left_;
  left_ -= whole;
  return data;
}

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
  std::byte* data = take(bytes);
  m.data = data;
  jobs_.emplace_back(std::move(stored), rows, m, data, std::move(tensor));
  return m;
}

/// Row r of a job's, packed; answers whether all its weights are finite.
bool Repacking::convert_packed(const Job& job, std::int64_t r, Scratch& s) noexcept {
  const PackedFormat& f = job.matrix.format;
  const std::int64_t cols = job.stored->cols(), groups = (cols + f.group - 1) / f.group;
  std::byte* block = job.data + r / kTileOutputs * f.block_bytes(cols);
  if (r % kTileOutputs == 0 && job.rows.count - r < kTileOutputs) std::fill_n(block, f.block_bytes(cols), std::byte{0});
  const PackedRow row{s.q.data(), s.scale.data(), s.minimum.data()};
  job.stored->packed_row(job.rows.first + r, row);
  if (!f.has_minimum) {
    const float middle = -std::ldexp(1.0f, f.bits - 1);
    for (std::int64_t g = 0; g < groups; ++g) row.minimum[g] = middle * row.scale[g];
  }
  put_packed_row(row, cols, f, r % kTileOutputs, block);
  return all_finite(row.scale, groups) && all_finite(row.minimum, groups);
}

/// The same in single floats.
bool Repacking::convert_floats(const Job& job, std::int64_t r, Scratch& s) noexcept {
  const WeightMatrix& m = job.matrix;
  const std::int64_t cols = job.stored->cols(), size = static_cast<std::int64_t>(size_of(m.type));
  job.stored->decode_row(job.rows.first + r, s.row.data());
  if (job.rows.is_transposed) {
    put_floats(s.row.data(), cols, m.type, m.K, job.data + r * size);
  } else {
    put_floats(s.row.data(), cols, m.type, 1, job.data + r * cols * size);
  }
  return all_finite(s.row.data(), cols);
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
    const auto convert = job->matrix.type == DType::kPacked ? convert_packed : convert_floats;
    for (std::int64_t r = first; r < first + count; ++r)
      if (!convert(*job, r, scratch[static_cast<std::size_t>(worker)])) job->is_finite = false;
  });
  for (const Job& job : jobs_)
    if (!job.is_finite) bad.push_back(job.tensor);
  jobs_.clear();
  return bad;
}

}  // namespace kl
