#pragma once
// Reads golden files made with other people's tokenizers.
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace kl::test {

using nlohmann::json;

/// The tokenizer goldens that need the real vocabulary, which is not ours to commit: $KL_SHARED/oracle/tokenizer or the
/// same beside the repository.
inline std::optional<std::filesystem::path> shared_tokenizer() {
  const char* shared = std::getenv("KL_SHARED");
  const std::filesystem::path root = shared ? shared : std::filesystem::path(KL_SOURCE_DIR) / ".." / "shared";
  const std::filesystem::path dir = root / "oracle" / "tokenizer";
  if (!std::filesystem::exists(dir / "tiktoken.model")) return std::nullopt;
  return dir;
}

/// The text of a file; of what it packs if its name ends in .gz.
inline std::string read_text(const std::filesystem::path& file) {
  if (file.extension() != ".gz") {
    std::ifstream in(file, std::ios::binary);
    if (!in) throw std::runtime_error("cannot open " + file.string());
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
  }
  std::FILE* pipe = ::popen(("gzip -dc '" + file.string() + "'").c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error("cannot run gzip");
  std::string text;
  std::array<char, 65536> buffer;
  while (const std::size_t n = std::fread(buffer.data(), 1, buffer.size(), pipe)) text.append(buffer.data(), n);
  if (::pclose(pipe) != 0) throw std::runtime_error("gzip cannot read " + file.string());
  return text;
}

/// One JSON value a line.
inline std::vector<json> read_lines(const std::filesystem::path& file) {
  std::istringstream in(read_text(file));
  std::vector<json> values;
  for (std::string line; std::getline(in, line);) values.push_back(json::parse(line));
  if (values.empty()) throw std::runtime_error(file.string() + " holds nothing");
  return values;
}

inline std::string bytes_of_hex(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

/// A failure message for two lists: where they part, and what is there.
template <class List>
std::string first_difference(const List& expected, const List& got) {
  std::size_t i = 0;
  while (i < expected.size() && i < got.size() && expected[i] == got[i]) ++i;
  if (i == expected.size() && i == got.size()) return {};
  const auto at = [i](const List& list) { return i < list.size() ? std::to_string(list[i]) : std::string("the end"); };
  return "position " + std::to_string(i) + ": expected " + at(expected) + ", got " + at(got);
}

}  // namespace kl::test
