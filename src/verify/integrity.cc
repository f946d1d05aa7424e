#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <system_error>
#include <utility>

#include "base/cpu_topology.h"
#include "base/printable.h"
#include "base/problems.h"
#include "base/read_file.h"
#include "base/run_tasks.h"
#include "checkpoint/checkpoint.h"
#include "folder/checksums.h"
#include "kl/inspect.h"
#include "kl/verify.h"
#include "verify/suspicions.h"
#include "weights/sanitize.h"

namespace kl {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxChecksumBytes = 64u << 20;
constexpr std::size_t kPieceBytes = 4u << 20;  // of a tensor, for one task
constexpr std::size_t kFewPartBytes = 4096;    // parts of a stacked tensor that are smaller are not told apart

void problem(FindingRule rule, std::string file, std::string text, IntegrityReport& report) {
  report.findings.push_back({rule, std::move(file), {}, std::move(text), true});
}

/// SHA256SUMS beside the folder's files.
class Checksums {
 public:
  Checksums(const fs::path& dir, IntegrityReport& report) : dir_(dir), report_(report) {
    std::error_code ignored;
    if (!fs::is_directory(dir, ignored) || !fs::exists(fs::symlink_status(dir / kChecksumFile, ignored))) return;
    report.has_checksums = true;
    const auto read = [&] {
      lines_ = parse_checksums(read_file(dir / kChecksumFile, kMaxChecksumBytes), (dir / kChecksumFile).string());
      compare_names();
    };
    if (const auto error = problem_of(read)) problem(FindingRule::kChecksum, kChecksumFile, error->what(), report);
    found_.resize(lines_.size());
  }

  /// Hashing of a file's bytes; the tasks keep the object in use.
  void add_tasks(const std::string& file, std::atomic<std::int64_t>& done, std::vector<LongTask>& tasks) {
    for (std::size_t i = 0; i < lines_.size(); ++i) {
      if (lines_[i].file != file && !file.empty()) continue;
      if (std::exchange(found_[i].is_planned, true)) continue;
      tasks.emplace_back([this, i, &done](const std::atomic<bool>& stop) {
        const auto hash = [&] { found_[i].digest = hash_file(dir_ / lines_[i].file, done, stop); };
        if (const auto error = problem_of(hash)) found_[i].problem = error->what();
      });
    }
  }

  std::int64_t bytes() const {
    std::int64_t sum = 0;
    std::error_code error;
    for (const ChecksumLine& line : lines_) {
      const std::uintmax_t size = fs::file_size(dir_ / line.file, error);
      if (!error) sum += static_cast<std::int64_t>(size);
    }
    return sum;
  }

  void report() {
    for (std::size_t i = 0; i < lines_.size(); ++i) {
      if (!found_[i].problem.empty()) {
        problem(FindingRule::kChecksum, lines_[i].file, found_[i].problem, report_);
      } else if (found_[i].digest != lines_[i].digest) {
        problem(FindingRule::kChecksum, lines_[i].file,
                fmt::format("expected SHA-256 {}, got {}", lines_[i].digest, found_[i].digest), report_);
      }
    }
    report_.files_hashed = static_cast<std::int64_t>(lines_.size());
  }

 private:
  struct Found {
    bool is_planned = false;
    std::string digest, problem;
  };

  /// Reports files that are named and not there, or the other way round, and forgets the first kind.
  void compare_names() {
    std::vector<std::string> files = files_to_sum(dir_);
    std::erase_if(lines_, [&](const ChecksumLine& line) {
      const auto it = std::lower_bound(files.begin(), files.end(), line.file);
      std::error_code ignored;
      if (it != files.end() && *it == line.file) {
        files.erase(it);
      } else if (!fs::is_regular_file(dir_ / line.file, ignored)) {  // a name that begins with a dot may be listed
        problem(FindingRule::kMissing, line.file, "expected a file, as SHA256SUMS names it, got none", report_);
        return true;
      }
      return false;
    });
    for (std::string& file : files) {
      report_.findings.push_back(
          {FindingRule::kExtra, std::move(file), {}, "expected to be named in SHA256SUMS, got no line for it", false});
    }
  }

  fs::path dir_;
  IntegrityReport& report_;
  std::vector<ChecksumLine> lines_;
  std::vector<Found> found_;  // as lines_
};

/// A tensor as it is judged: whole, or one unit for each matrix of a stack.
std::vector<Unit> units_of(const std::string& name, const FileTensor& tensor, const std::string& file) {
  std::size_t parts = 1;
  const bool is_stack = tensor.shape.size() == 3 || tensor.shape.size() == 4;
  if (is_stack && tensor.shape[0] > 1) {
    const auto n = static_cast<std::size_t>(tensor.shape[0]);
    if (tensor.bytes % n == 0 && tensor.bytes / n >= kFewPartBytes) parts = n;
  }
  const NumberLayout layout = number_layout(name, tensor);
  // Packed matrices are stacks of blocks of rows, not of matrices, unless they have a fourth dimension.
  if (!layout.is_plain() && layout.count > 0 && tensor.shape.size() == 3 && tensor.dtype == "U8") parts = 1;
  std::vector<Unit> units(parts);
  for (std::size_t i = 0; i < parts; ++i) {
    units[i] = {parts == 1 ? name : fmt::format("{}[{}]", name, i), role_of(name),        file,   tensor.dtype,
                tensor.data + i * (tensor.bytes / parts),           tensor.bytes / parts, layout, {}};
  }
  return units;
}

/// All tensors that the model computes with, file after file in the order of their bytes.
std::vector<Unit> list_units(const Checkpoint& checkpoint) {
  std::vector<Unit> units;
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    if (is_left_alone(name, tensor.data)) continue;
    const std::string file = fs::path(checkpoint.shards()[tensor.shard].name).filename().string();
    for (Unit& unit : units_of(name, tensor.data, file)) units.push_back(std::move(unit));
  }
  std::sort(units.begin(), units.end(), [](const Unit& a, const Unit& b) {
    return std::pair(std::string_view(a.file), a.data) < std::pair(std::string_view(b.file), b.data);
  });
  return units;
}

/// The scan of every unit in pieces, each piece a result of its own.
class Scan {
 public:
  explicit Scan(std::vector<Unit> units) : units_(std::move(units)), pieces_(units_.size()) {}

  const std::vector<Unit>& units() const { return units_; }
  std::int64_t bytes() const {
    std::int64_t sum = 0;
    for (const Unit& u : units_) sum += static_cast<std::int64_t>(u.bytes);
    return sum;
  }

  void add_tasks(std::size_t unit, std::atomic<std::int64_t>& done, std::vector<LongTask>& tasks) {
    const Unit& u = units_[unit];
    const std::size_t step = std::max<std::size_t>(1, kPieceBytes / u.layout.block_bytes) * u.layout.block_bytes;
    pieces_[unit].resize((u.bytes + step - 1) / step);
    for (std::size_t p = 0; p < pieces_[unit].size(); ++p) {
      tasks.emplace_back([this, unit, p, step, &done](const std::atomic<bool>&) {
        const Unit& of = units_[unit];
        const std::size_t bytes = std::min(step, of.bytes - p * step);
        pieces_[unit][p] = scan(of.layout, of.data + p * step, bytes);
        done += static_cast<std::int64_t>(bytes);
      });
    }
  }

  void collect() {
    for (std::size_t u = 0; u < units_.size(); ++u)
      for (const TensorStats& piece : pieces_[u]) units_[u].stats.append(piece);
  }

 private:
  std::vector<Unit> units_;
  std::vector<std::vector<TensorStats>> pieces_;
};

/// Hashes and scans: each file's hash is begun just before its tensors are, so that both read it while it is in memory.
void read_everything(Checksums& checksums, Scan& tensors, const IntegrityOptions& options, IntegrityReport& report) {
  report.bytes_hashed = checksums.bytes();
  report.bytes_scanned = tensors.bytes();
  std::atomic<std::int64_t> done{0};
  std::vector<LongTask> tasks;
  for (std::size_t u = 0; u < tensors.units().size(); ++u) {
    checksums.add_tasks(tensors.units()[u].file, done, tasks);
    tensors.add_tasks(u, done, tasks);
  }
  checksums.add_tasks({}, done, tasks);  // the rest: files without tensors
  const auto tick = [&] { options.progress("reading", done, report.bytes_hashed + report.bytes_scanned); };
  run_tasks(tasks, thread_count(options.threads), options.progress ? std::function<void()>(tick) : nullptr);
  tensors.collect();
}

}  // namespace

const char* name_of(FindingRule rule) {
  constexpr const char* kNames[] = {"structure", "checksum", "missing", "extra", "not_finite", "zero",
                                    "equal",     "huge",     "outlier", "peers", "duplicate"};
  return kNames[static_cast<std::size_t>(rule)];
}

std::int64_t IntegrityReport::num_problems() const {
  return std::count_if(findings.begin(), findings.end(), [](const Finding& f) { return f.is_problem; });
}

IntegrityReport verify_integrity(const fs::path& path, const IntegrityOptions& options) {
  IntegrityReport report;
  report.path = path.string();
  const ModelReport structure = inspect(path);
  report.notes = structure.notes;
  for (const std::string& line : structure.problems) problem(FindingRule::kStructure, {}, line, report);
  report.tensors = static_cast<std::int64_t>(structure.tensors.size());

  Checksums checksums(path, report);
  Problems told_already;
  const auto checkpoint = Checkpoint::open(path, told_already);
  Scan tensors(list_units(*checkpoint));
  read_everything(checksums, tensors, options, report);
  checksums.report();
  find_not_finite(tensors.units(), report.findings);
  find_suspicions(tensors.units(), structure.args && structure.args->tie_word_embeddings, report.findings);
  std::stable_partition(report.findings.begin(), report.findings.end(), [](const Finding& f) { return f.is_problem; });
  return report;
}

}  // namespace kl
