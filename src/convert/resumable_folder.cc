#include "convert/resumable_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "base/output_file.h"
#include "base/read_file.h"
#include "folder/checksums.h"
#include "kl/error.h"

namespace kl {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kJournal = ".kl-unfinished";

[[noreturn]] void refuse(const fs::path& dir, const std::string& what) {
  throw Error(ErrorCode::kCannotWrite, dir.string() + ": " + what);
}

/// A temporary file of OutputFile, which a process that was killed has left.
bool is_leftover(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.starts_with('.') && name.find(".tmp.") != name.npos;
}

/// Names of the fields in which two jobs differ.
std::string differences(const json& ours, const json& theirs) {
  std::vector<std::string> names;
  for (const auto& [key, value] : ours.items())
    if (!theirs.contains(key) || theirs[key] != value) names.push_back(key);
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

ResumableFolder::ResumableFolder(const fs::path& dir, std::string job) : dir_(dir), job_(std::move(job)) {
  make_or_lock();
  try {
    read_journal();
    remove_leftovers();
    write_file(dir_ / kJournal, json{{"job", json::parse(job_)}, {"complete", complete_}}.dump() + "\n");
  } catch (...) {
    for (const fs::path& folder : created_) {
      std::error_code ignored;
      fs::remove(folder, ignored);
    }
    throw;
  }
}

void ResumableFolder::make_or_lock() {
  std::error_code error;
  for (fs::path missing = dir_; !missing.empty() && !fs::exists(missing, error); missing = missing.parent_path()) {
    created_.push_back(missing);
  }
  if (!created_.empty()) fs::create_directories(dir_, error);
  if (error) {
    take_back();
    refuse(dir_, fmt::format("expected to make a folder, got {}", error.message()));
  }
  if (!fs::is_directory(dir_, error)) refuse(dir_, "expected a new or empty folder, got one in use");
  lock_ = UniqueFd(::open(dir_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (lock_.get() < 0) refuse(dir_, fmt::format("expected to open the folder, got {}", std::strerror(errno)));
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    refuse(dir_, "expected a folder that no other kl is writing to, got one that is being written");
}

/// What an earlier run left, if it is what this one would make.
void ResumableFolder::read_journal() {
  std::error_code error;
  if (!fs::exists(dir_ / kJournal, error)) {
    for (const auto& entry : fs::directory_iterator(dir_, error))
      if (!is_leftover(entry.path())) refuse(dir_, "expected a new or empty folder, got one in use");
    return;
  }
  const json journal = json::parse(read_file(dir_ / kJournal, 256u << 20), nullptr, false);
  if (!journal.is_object() || !journal.contains("job") || !journal.contains("complete"))
    refuse(dir_, "expected a new or empty folder, got one in use");
  const json job = json::parse(job_);
  if (journal["job"] != job) {
    refuse(dir_,
           fmt::format("expected a new or empty folder, or what this same command left unfinished, got an unfinished "
                       "one that differs in: {}",
                       differences(job, journal["job"])));
  }
  for (const auto& [file, digest] : journal["complete"].items())
    if (digest.is_string()) complete_[file] = digest.get<std::string>();
}

void ResumableFolder::remove_leftovers() const {
  std::error_code ignored;
  std::vector<fs::path> leftovers;
  for (const auto& entry : fs::directory_iterator(dir_, ignored))
    if (is_leftover(entry.path())) leftovers.push_back(entry.path());
  for (const fs::path& path : leftovers) fs::remove(path, ignored);
}

ResumableFolder::~ResumableFolder() {
  if (is_finished_) return;
  if (complete_.empty() || is_given_up_) take_back();
}

void ResumableFolder::take_back() {
  std::error_code ignored;
  for (const std::string& file : files_) fs::remove(dir_ / file, ignored);
  for (const auto& [file, digest] : complete_) fs::remove(dir_ / file, ignored);
  fs::remove(dir_ / kJournal, ignored);
  for (const fs::path& folder : created_) fs::remove(folder, ignored);
}

void ResumableFolder::require_space(std::int64_t bytes) const {
  std::error_code error;
  const fs::space_info space = fs::space(dir_, error);
  if (!error && space.available < static_cast<std::uintmax_t>(bytes))
    refuse(dir_, fmt::format("expected {} bytes of free space, got {}", bytes, space.available));
}

bool ResumableFolder::has(const std::string& file) {
  const auto found = complete_.find(file);
  std::error_code error;
  if (found == complete_.end()) return false;
  std::atomic<std::int64_t> done{0};
  const std::atomic<bool> stop{false};
  if (fs::is_regular_file(dir_ / file, error) && hash_file(dir_ / file, done, stop) == found->second) return true;
  complete_.erase(found);
  return false;
}

fs::path ResumableFolder::add(const std::string& file) {
  files_.push_back(file);
  return dir_ / file;
}

void ResumableFolder::record(const std::string& file, const std::string& sha256) {
  complete_[file] = sha256;
  write_file(dir_ / kJournal, json{{"job", json::parse(job_)}, {"complete", complete_}}.dump() + "\n");
}

void ResumableFolder::finish() {
  std::error_code error;
  if (!fs::remove(dir_ / kJournal, error) && error)
    refuse(dir_, fmt::format("expected to remove {}, got {}", kJournal, error.message()));
  is_finished_ = true;
}

}  // namespace kl
