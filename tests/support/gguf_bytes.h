#pragma once
// Makes the bytes of GGUF files, sound or broken, without the code under test.
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kl::test {

/// Little-endian bytes of a number.
template <class T>
std::string le(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

inline std::string gguf_text(std::string_view text) { return le(std::uint64_t{text.size()}) + std::string(text); }

/// Values with their type in front.
inline std::string u8(std::uint8_t v) { return le(0u) + le(v); }
inline std::string u16(std::uint16_t v) { return le(2u) + le(v); }
inline std::string u32(std::uint32_t v) { return le(4u) + le(v); }
inline std::string i32(std::int32_t v) { return le(5u) + le(v); }
inline std::string f32(float v) { return le(6u) + le(v); }
inline std::string boolean(std::uint8_t v) { return le(7u) + le(v); }
inline std::string text(std::string_view v) { return le(8u) + gguf_text(v); }
inline std::string u64(std::uint64_t v) { return le(10u) + le(v); }

inline std::string array_head(std::uint32_t element, std::uint64_t count) { return le(9u) + le(element) + le(count); }

inline std::string texts(const std::vector<std::string>& values) {
  std::string bytes = array_head(8, values.size());
  for (const std::string& value : values) bytes += gguf_text(value);
  return bytes;
}
inline std::string i32s(const std::vector<std::int32_t>& values) {
  std::string bytes = array_head(5, values.size());
  for (const std::int32_t value : values) bytes += le(value);
  return bytes;
}

/// A GGUF file in parts that a test may change one by one before bytes() puts them together.
struct GgufBytes {
  struct Tensor {
    std::string name;
    std::vector<std::uint64_t> dims;  ///< the fastest first
    std::uint32_t type = 0;
    std::string data;
    std::int64_t offset = -1;  ///< stated; -1: where it really goes
    std::int64_t rank = -1;    ///< stated; -1: the number of dims
  };

  std::string magic = "GGUF";
  std::uint32_t version = 3;
  std::int64_t num_tensors = -1, num_values = -1;  ///< stated; -1: as many as there are
  std::vector<std::pair<std::string, std::string>> values;
  std::vector<Tensor> tensors;
  std::uint64_t alignment = 32;
  std::string tail;  ///< behind the last tensor's padding

  GgufBytes& set(const std::string& key, const std::string& value) {
    for (auto& [k, v] : values) {
      if (k != key) continue;
      v = value;
      return *this;
    }
    values.emplace_back(key, value);
    return *this;
  }
  GgufBytes& drop(const std::string& key) {
    std::erase_if(values, [&](const auto& value) { return value.first == key; });
    return *this;
  }
  Tensor& tensor(const std::string& name) {
    for (Tensor& t : tensors) {
      if (t.name == name) return t;
    }
    return tensors.emplace_back(Tensor{name, {}, 0, ""});
  }

  std::string header() const {
    const auto stated = [](std::int64_t value, std::size_t real) {
      return value < 0 ? std::uint64_t{real} : static_cast<std::uint64_t>(value);
    };
    std::string bytes =
        magic + le(version) + le(stated(num_tensors, tensors.size())) + le(stated(num_values, values.size()));
    for (const auto& [key, value] : values) bytes += gguf_text(key) + value;
    std::uint64_t at = 0;
    for (const Tensor& t : tensors) {
      bytes += gguf_text(t.name) + le(static_cast<std::uint32_t>(stated(t.rank, t.dims.size())));
      for (const std::uint64_t dim : t.dims) bytes += le(dim);
      bytes += le(t.type) + le(stated(t.offset, at));
      at += padded(t.data.size());
    }
    return bytes;
  }

  std::string bytes() const {
    std::string bytes = header();
    bytes.resize(padded(bytes.size()));
    for (const Tensor& t : tensors) bytes += t.data + std::string(padded(t.data.size()) - t.data.size(), '\0');
    return bytes + tail;
  }

 private:
  std::size_t padded(std::size_t n) const { return (n + alignment - 1) / alignment * alignment; }
};

}  // namespace kl::test
