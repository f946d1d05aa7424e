#pragma once
// Vocabularies of our own: the trained one in tests/golden/text, and ones written on the spot.
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "tests/text/goldens.h"

namespace kl::test {

inline std::filesystem::path small_model_dir() {
  return std::filesystem::path(KL_SOURCE_DIR) / "tests" / "golden" / "text";
}

inline std::string base64_of(std::string_view bytes) {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string base64;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t bits = 0;
    for (std::size_t k = 0; k < 3; ++k)
      bits = bits << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0);
    for (std::size_t k = 0; k < 4; ++k) base64 += i + k <= bytes.size() ? kAlphabet[bits >> (18 - 6 * k) & 63] : '=';
  }
  return base64;
}

/// A tiktoken.model of the 256 single bytes, rank = byte.
inline std::string bytes_only_model() {
  std::string text;
  for (int byte = 0; byte < 256; ++byte) {
    text += base64_of(std::string(1, static_cast<char>(byte))) + " " + std::to_string(byte) + "\n";
  }
  return text;
}

/// A folder that lasts as long as this object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "kl-text-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make a temporary folder");
    path_ = pattern;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::filesystem::path& path() const { return path_; }
  void write(const std::string& file, const std::string& text) const {
    std::ofstream(path_ / file, std::ios::binary) << text;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace kl::test
