#pragma once
#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/sha256.h"
#include "base/unique_fd.h"

namespace kl {

/// A file that appears under its name complete or not at all.
///
/// Data goes to a hidden temporary file in the same folder; commit() flushes it to disk and renames it.  If anything
/// fails before that, or the object is destroyed, the temporary file is removed and a file already under the name stays
/// as it was.
/// Errors    Error(kCannotWrite) naming file and reason, from every member.
class OutputFile {
 public:
  /// With `wants_sha256` what is written is hashed on its way.
  explicit OutputFile(const std::filesystem::path& path, bool wants_sha256 = false);
  ~OutputFile();
  OutputFile(OutputFile&&) = delete;

  void write(const void* data, std::size_t bytes);

  /// A large file leaves the page cache, unless it is `read_soon`: what was written lies in memory in small pages.  Dropped and
  /// read again through a mapping it comes in large ones, which the kernels read faster (docs/benchmarks.md), but at the
  /// speed of the disk.
  void commit(bool read_soon = false);

  const std::string& name() const { return name_; }

  /// Of the committed file, in hexadecimal; empty unless asked for.
  const std::string& sha256() const { return sha256_; }

 private:
  [[noreturn]] void fail(int error) const;
  void write_through(const char* data, std::size_t bytes);
  void forget_temporary() noexcept;

  std::string name_;
  std::filesystem::path path_;
  std::filesystem::path temporary_;  // empty once it is gone
  int slot_ = -1;                    // in the table of remove_unfinished_files()
  UniqueFd fd_;
  std::vector<char> buffer_;
  std::unique_ptr<Sha256> hash_;  // null unless asked for
  std::string sha256_;
};

/// Removes the temporary file of every OutputFile that is neither committed nor destroyed.  For a process that a signal
/// is about to end: safe inside a signal handler.
void remove_unfinished_files() noexcept;

/// Writes a small file the same way.
void write_file(const std::filesystem::path& path, std::string_view text);

}  // namespace kl
