#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "base/thread_pool.h"
#include "convert/encoder_choice.h"

namespace kl {

/// Encodes tensors over all cores, some megabytes at a time, and hands their bytes on in order.
class ModuleWriter {
 public:
  using Sink = std::function<void(const void* data, std::size_t bytes)>;

  /// `on_bytes` is called with bytes as they are written.  All must outlive the object.
  ModuleWriter(const SourceModel& source, int threads, std::function<void(std::int64_t)> on_bytes);

  /// Throws Error(kCorrupt) naming the tensor if its weights cannot be encoded, and whatever `sink` and on_bytes throw.
  void write(const OutputModule& module, const Sink& sink);

 private:
  struct Task {
    const SourceMatrix* matrix;
    std::int64_t first, count;  // rows
    std::int64_t unit;          // of the module, where they begin
  };

  static std::vector<Task> tasks_of(const OutputModule& module);
  void run(const OutputModule& module, const Task* tasks, std::size_t count, const Sink& sink);
  void put(const void* data, std::size_t bytes, const Sink& sink);

  const SourceModel& source_;
  ThreadPool pool_;
  std::function<void(std::int64_t)> on_bytes_;
  std::vector<RowScratch> scratch_;           // [workers]
  std::vector<std::byte> buffer_;             // a run of the first tensor
  std::vector<std::vector<std::byte>> rest_;  // the others whole: scales and biases, which follow it in the file
  std::int64_t read_ = 0;                     // numbers since pages were forgotten
};

}  // namespace kl
