#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace kl {

/// SHA-256 (FIPS 180-4) of bytes that come in pieces; libcrypto's, which uses the CPU's instructions for it.
class Sha256 {
 public:
  /// Throws Error(kOutOfMemory).
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void update(const void* data, std::size_t bytes);

  /// 64 hexadecimal digits, lower case.  Ends the object's work.
  std::string hex();

  /// Digits of such a text.
  static constexpr std::size_t kHexDigits = 64;

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

/// Of one text.
std::string sha256_hex(std::string_view text);

}  // namespace kl
