#pragma once
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "kl/safetensors.h"
#include "tests/support/temp_dir.h"

namespace kl {

/// A tensor held in memory, free to be renamed, reshaped and broken.
struct TestTensor {
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::string bytes;
};

/// The contents of a safetensors file.
using TestTensors = std::map<std::string, TestTensor>;

inline TestTensors read_tensors(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  TestTensors tensors;
  for (const auto& [name, tensor] : file.tensors()) {
    tensors[name] = {tensor.dtype, tensor.shape, std::string(reinterpret_cast<const char*>(tensor.data), tensor.bytes)};
  }
  return tensors;
}

inline void write_tensors(const std::filesystem::path& path, const TestTensors& tensors) {
  std::vector<TensorSpec> specs;
  for (const auto& [name, tensor] : tensors) specs.push_back({name, tensor.dtype, tensor.shape});
  SafetensorsWriter writer(path, std::move(specs));
  for (const auto& [name, tensor] : tensors) writer.write(tensor.bytes.data(), tensor.bytes.size());
  writer.finish();
}

/// A safetensors file made of any header text, sound or not.
inline std::string raw_safetensors(const std::string& header, std::size_t data_bytes) {
  std::string file(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) file[i] = static_cast<char>(header.size() >> (8 * i));
  return file + header + std::string(data_bytes, '\0');
}

}  // namespace kl
