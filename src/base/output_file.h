#pragma once
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

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
  explicit OutputFile(const std::filesystem::path& path);
  ~OutputFile();
  OutputFile(OutputFile&&) = delete;

  void write(const void* data, std::size_t bytes);
  void commit();

  const std::string& name() const { return name_; }

 private:
  [[noreturn]] void fail(int error) const;
  void write_through(const char* data, std::size_t bytes);

  std::string name_;
  std::filesystem::path path_;
  std::filesystem::path temporary_;  // empty once it is gone
  UniqueFd fd_;
  std::vector<char> buffer_;
};

/// Writes a small file the same way.
void write_file(const std::filesystem::path& path, std::string_view text);

}  // namespace kl
