#include "folder/checksums.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <system_error>

#include "base/mapped_file.h"
#include "base/printable.h"
#include "base/problems.h"
#include "base/sha256.h"
#include "kl/error.h"

namespace kl {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPiece = 1u << 20;  // bytes hashed between two looks at `stop`

/// What is wrong with a file's name, empty if nothing.
std::string name_problem(const std::string& file) {
  const fs::path path(file);
  if (file.empty()) return "a name";
  if (path.is_absolute()) return "a name inside the folder";
  if (std::any_of(file.begin(), file.end(), [](unsigned char c) { return c < ' ' && c != '\n' && c != '\r'; }))
    return "a name without control characters";
  const bool leads_out = std::any_of(path.begin(), path.end(), [](const fs::path& part) { return part == ".."; });
  return leads_out ? "a name inside the folder" : std::string();
}

/// The name of an escaped line; nothing is returned for an escape that is none.
std::string unescaped(std::string_view text) {
  std::string name;
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '\\') {
      if (++i == text.size()) return {};
      c = text[i] == 'n' ? '\n' : text[i] == 'r' ? '\r' : text[i] == '\\' ? '\\' : '\0';
      if (c == '\0') return {};
    }
    name += c;
  }
  return name;
}

/// One line; what it should have been goes to `problem`.
ChecksumLine parse_line(std::string_view line, std::string& problem) {
  const bool is_escaped = line.starts_with('\\');
  if (is_escaped) line.remove_prefix(1);
  const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (line.size() < Sha256::kHexDigits + 2 || !std::all_of(line.begin(), line.begin() + Sha256::kHexDigits, is_digit) ||
      line[Sha256::kHexDigits] != ' ' || (line[Sha256::kHexDigits + 1] != ' ' && line[Sha256::kHexDigits + 1] != '*')) {
    problem = "64 hexadecimal digits, two blanks and a name";
    return {};
  }
  ChecksumLine found{std::string(line.substr(0, Sha256::kHexDigits)), std::string(line.substr(Sha256::kHexDigits + 2))};
  if (is_escaped) found.file = unescaped(found.file);
  if (found.file.starts_with("./")) found.file.erase(0, 2);
  problem = name_problem(found.file);
  if (problem.empty() && !is_escaped && found.file.find('\r') != std::string::npos)
    problem = "a name without control characters";
  return found;
}

std::string escaped(const std::string& name) {
  std::string text;
  for (const char c : name) text += c == '\\' ? "\\\\" : c == '\n' ? "\\n" : c == '\r' ? "\\r" : std::string(1, c);
  return text;
}

}  // namespace

std::vector<ChecksumLine> parse_checksums(std::string_view text, const std::string& name) {
  Problems problems;
  std::vector<ChecksumLine> lines;
  std::set<std::string> seen;
  for (std::size_t at = 0, number = 1; at < text.size(); ++number) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    std::string problem;
    ChecksumLine found = parse_line(line, problem);
    if (problem.empty() && !seen.insert(found.file).second) problem = "each name once";
    if (!problem.empty()) {
      problems.add(fmt::format("{}:{}: expected {}, got \"{}\"", name, number, problem, printable(line)));
    }
    lines.push_back(std::move(found));
    at = end + 1;
  }
  if (lines.empty()) problems.add(name + ": expected lines of checksums, got none");
  if (problems.lines().size() == 1) throw Error(ErrorCode::kCorrupt, problems.lines().front());
  problems.throw_if_any(name);
  return lines;
}

std::string checksums_text(const std::vector<ChecksumLine>& lines) {
  std::string text;
  for (const auto& [digest, file] : lines) {
    const std::string name = escaped(file);
    text += fmt::format("{}{}  {}\n", name == file ? "" : "\\", digest, name);
  }
  return text;
}

std::vector<std::string> files_to_sum(const fs::path& dir) {
  std::error_code error;
  if (!fs::is_directory(dir, error)) {
    throw Error(ErrorCode::kNotFound, dir.string() + ": expected a folder, got none");
  }
  std::vector<std::string> files;
  auto it = fs::recursive_directory_iterator(dir, error);
  for (; !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
    std::error_code ignored;
    const std::string name = it->path().filename().string();
    if (name.starts_with('.')) {
      it.disable_recursion_pending();
    } else if (it->is_regular_file(ignored)) {
      std::string file = it->path().lexically_relative(dir).generic_string();
      if (file != kChecksumFile) files.push_back(std::move(file));
    }
  }
  if (error) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: expected a readable folder, got {}", dir.string(), error.message()));
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string hash_file(const fs::path& path, std::atomic<std::int64_t>& done, const std::atomic<bool>& stop) {
  const MappedFile file(path);
  Sha256 hash;
  for (std::size_t at = 0; at < file.size(); at += kPiece) {
    if (stop) return {};
    const std::size_t bytes = std::min(kPiece, file.size() - at);
    hash.update(file.data() + at, bytes);
    done += static_cast<std::int64_t>(bytes);
  }
  return hash.hex();
}

}  // namespace kl
