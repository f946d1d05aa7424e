#pragma once
// Encoded tensors held in memory, and what an encoding makes of them.
#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "encodings/encoding.h"
#include "tests/support/random.h"
#include "tests/support/tensor_file.h"

namespace kl::test {

/// A checkpoint of a few tensors; gathers complaints.
class MemoryTensors : public TensorSource {
 public:
  void put(const std::string& name, TestTensor tensor) { tensors_[name] = std::move(tensor); }

  const FileTensor* find(const std::string& name) override {
    const auto it = tensors_.find(name);
    if (it == tensors_.end()) return nullptr;
    const TestTensor& t = it->second;
    return &(views_[name] = {t.dtype, t.shape, reinterpret_cast<const std::byte*>(t.bytes.data()), t.bytes.size()});
  }
  void complain(ErrorCode, const std::string& tensor, const std::string& what) override {
    complaints.push_back(tensor + ": " + what);
  }

  std::vector<std::string> complaints;

 private:
  std::map<std::string, TestTensor> tensors_;
  std::map<std::string, FileTensor> views_;
};

inline std::string random_bytes(std::size_t n, Random& random) {
  std::string bytes(n, '\0');
  for (char& c : bytes) c = static_cast<char>(random.bits());
  return bytes;
}

/// n floats of a type: healthy scales of either sign, some of them zero.
inline std::string random_floats(const std::string& dtype, std::size_t n, Random& random) {
  std::string bytes;
  for (std::size_t i = 0; i < n; ++i) {
    const auto x = random.below(20) == 0 ? 0.0f : static_cast<float>(random.uniform(-0.1, 0.1));
    const std::uint16_t half = dtype == "BF16" ? f32_to_bf16(x) : f32_to_f16(x);
    const bool is_full = dtype == "F32";
    bytes.append(is_full ? reinterpret_cast<const char*>(&x) : reinterpret_cast<const char*>(&half), is_full ? 4 : 2);
  }
  return bytes;
}

}  // namespace kl::test
