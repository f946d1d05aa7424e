#include "base/base64.h"

#include <openssl/evp.h>

namespace kl {

bool append_base64(std::string_view base64, std::string& out) {
  if (base64.size() % 4 != 0) return false;
  const std::size_t padding = base64.ends_with("==") ? 2 : base64.ends_with('=') ? 1 : 0, begin = out.size();
  out.resize(begin + base64.size() / 4 * 3);
  const auto* text = reinterpret_cast<const unsigned char*>(base64.data());
  auto* bytes = reinterpret_cast<unsigned char*>(out.data() + begin);
  const int decoded = EVP_DecodeBlock(bytes, text, static_cast<int>(base64.size()));
  // OpenSSL skips blanks around the text, and takes = for six zero bits wherever it stands.
  const bool is_whole = decoded >= 0 && begin + static_cast<std::size_t>(decoded) == out.size();
  if (!is_whole || base64.substr(0, base64.size() - padding).find('=') != base64.npos) return false;
  const bool is_clean = out.find_first_not_of('\0', out.size() - padding) == out.npos;  // no bits beyond the last byte
  out.resize(out.size() - padding);
  return is_clean;
}

std::string to_base64(std::string_view bytes) {
  std::string text((bytes.size() + 2) / 3 * 4, '\0');
  EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), reinterpret_cast<const unsigned char*>(bytes.data()),
                  static_cast<int>(bytes.size()));
  return text;
}

}  // namespace kl
