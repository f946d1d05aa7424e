#include <atomic>
#include <filesystem>
#include <functional>
#include <system_error>
#include <vector>

#include "base/cpu_topology.h"
#include "base/output_file.h"
#include "base/run_tasks.h"
#include "folder/checksums.h"
#include "kl/verify.h"

namespace kl {

namespace fs = std::filesystem;

ChecksumResult write_checksums(const fs::path& dir, const IntegrityOptions& options) {
  std::vector<ChecksumLine> lines;
  ChecksumResult result;
  for (std::string& file : files_to_sum(dir)) {
    std::error_code error;
    result.bytes += static_cast<std::int64_t>(fs::file_size(dir / file, error));
    lines.push_back({{}, std::move(file)});
  }
  result.files = static_cast<std::int64_t>(lines.size());
  std::atomic<std::int64_t> done{0};
  std::vector<LongTask> tasks;
  for (ChecksumLine& line : lines) {
    tasks.emplace_back([&](const std::atomic<bool>& stop) { line.digest = hash_file(dir / line.file, done, stop); });
  }
  const auto tick = [&] { options.progress("hashing", done, result.bytes); };
  run_tasks(tasks, thread_count(options.threads), options.progress ? std::function<void()>(tick) : nullptr);
  write_file(dir / kChecksumFile, checksums_text(lines));
  return result;
}

}  // namespace kl
