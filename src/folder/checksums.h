#pragma once
// SHA256SUMS of a model folder, in sha256sum's format.
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace kl {

inline constexpr const char* kChecksumFile = "SHA256SUMS";

/// One line of the file.
struct ChecksumLine {
  std::string digest;  ///< 64 hexadecimal digits, lower case
  std::string file;    ///< relative to the folder, "/" between its parts
};

/// Reads the file's text; `name` stands for it in messages.
///
/// Rules    each line is 64 lower-case hexadecimal digits, two blanks (or a blank and *) and a name; a line that begins with a
///          backslash has \\, \n and \r in its name; names are relative, lead to no other folder ("..") and come once; there
///          is at least one line.
/// Errors   Error(kCorrupt) naming every line that breaks one.
std::vector<ChecksumLine> parse_checksums(std::string_view text, const std::string& name);

/// The text of such a file.
std::string checksums_text(const std::vector<ChecksumLine>& lines);

/// The files that belong to a folder's checksums, sorted.  Throws Error(kNotFound) if the folder cannot be read.
std::vector<std::string> files_to_sum(const std::filesystem::path& dir);

/// Digest of a file, adding to `done` the bytes as they are read; empty if `stop` became true before the end.
/// Throws as MappedFile does.
std::string hash_file(const std::filesystem::path& path, std::atomic<std::int64_t>& done,
                      const std::atomic<bool>& stop);

}  // namespace kl
