#include "convert/module_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "kl/error.h"

namespace kl {
namespace {

constexpr std::int64_t kTaskNumbers = 1 << 16;   // of a task, about
constexpr std::int64_t kRunBytes = 8 << 20;      // encoded between two writes, about
constexpr std::int64_t kForgetAfter = 64 << 20;  // numbers: at most 256 MB of mapped pages

}  // namespace

ModuleWriter::ModuleWriter(const SourceModel& source, int threads, std::function<void(std::int64_t)> on_bytes)
    : source_(source),
      pool_(threads),
      on_bytes_(std::move(on_bytes)),
      scratch_(static_cast<std::size_t>(pool_.size())) {}

/// Columns of what a file has as rows are made whole, as every run of them reads all of it.
std::vector<ModuleWriter::Task> ModuleWriter::tasks_of(const OutputModule& module) {
  std::vector<Task> tasks;
  const std::int64_t unit = module.encoder->unit();
  std::int64_t at = 0;
  for (const SourceMatrix& m : module.source.parts) {
    const std::int64_t few = std::max<std::int64_t>(kTaskNumbers / m.cols() / unit, 1) * unit;
    const std::int64_t step = m.is_transposed() ? m.rows() : few;
    for (std::int64_t r = 0; r < m.rows(); r += step)
      tasks.push_back({&m, r, std::min(step, m.rows() - r), at + r / unit});
    at += (m.rows() + unit - 1) / unit;
  }
  return tasks;
}

void ModuleWriter::write(const OutputModule& module, const Sink& sink) {
  const std::vector<Task> tasks = tasks_of(module);
  std::int64_t largest = 0, cols = 0;
  for (const Task& task : tasks) {
    largest = std::max(largest, task.count * task.matrix->cols());
    // Of a transposed matrix both sides are rows at times.
    cols = std::max({cols, task.matrix->cols(), task.matrix->is_transposed() ? task.matrix->rows() : 0});
  }
  for (RowScratch& scratch : scratch_) scratch.reserve(cols, (largest + cols - 1) / cols);
  rest_.resize(module.tensors.size() - 1);
  for (std::size_t i = 0; i < rest_.size(); ++i) rest_[i].resize(static_cast<std::size_t>(module.bytes(i + 1)));

  const std::int64_t units_at_once = std::max<std::int64_t>(
      kRunBytes / std::max<std::int64_t>(module.bytes(0) / std::max<std::int64_t>(module.units(), 1), 1), 1);
  for (std::size_t first = 0; first < tasks.size();) {
    std::size_t last = first + 1;
    while (last < tasks.size() && tasks[last].unit - tasks[first].unit < units_at_once) ++last;
    run(module, tasks.data() + first, last - first, sink);
    first = last;
  }
  for (const std::vector<std::byte>& bytes : rest_) put(bytes.data(), bytes.size(), sink);
  read_ += module.source.size();
  if (read_ >= kForgetAfter) {
    source_.forget_pages();
    read_ = 0;
  }
}

void ModuleWriter::run(const OutputModule& module, const Task* tasks, std::size_t count, const Sink& sink) {
  const std::int64_t unit = module.encoder->unit(), total_units = module.units(), total = module.bytes(0);
  const auto offset = [&](const Task& task, std::size_t tensor) {
    return tensor == 0 ? task.unit * (total / total_units) : task.unit * module.tensors[tensor].row_bytes;
  };
  const Task& back = tasks[count - 1];
  const std::int64_t begin = offset(tasks[0], 0);
  const std::int64_t end = (back.unit + (back.count + unit - 1) / unit) * (total / total_units);
  buffer_.resize(static_cast<std::size_t>(end - begin));
  std::atomic<const char*> problem{nullptr};
  pool_.parallel_for(static_cast<std::ptrdiff_t>(count), [&](std::ptrdiff_t i, int worker) {
    const Task& task = tasks[i];
    std::byte* out[3] = {buffer_.data() + (offset(task, 0) - begin), nullptr, nullptr};
    for (std::size_t t = 1; t < module.tensors.size(); ++t) out[t] = rest_[t - 1].data() + offset(task, t);
    const char* wrong =
        module.encoder->encode(*task.matrix, task.first, task.count, scratch_[static_cast<std::size_t>(worker)], out);
    if (wrong != nullptr) problem = wrong;
  });
  if (const char* wrong = problem.load()) {
    throw Error(ErrorCode::kCorrupt, fmt::format("{}: {}", module.source.parts.front().tensor(), wrong));
  }
  put(buffer_.data(), buffer_.size(), sink);
}

void ModuleWriter::put(const void* data, std::size_t bytes, const Sink& sink) {
  sink(data, bytes);
  on_bytes_(static_cast<std::int64_t>(bytes));
}

}  // namespace kl
