#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace kl {

/// Largest JSON header accepted, as in the reference implementation.
inline constexpr std::size_t kMaxSafetensorsHeader = 100'000'000;

/// Most dimensions of a tensor.
inline constexpr std::size_t kMaxTensorRank = 8;

/// What is wrong with a tensor's name; empty if nothing: 1 to 1,024 bytes of UTF-8 without control characters.
std::string tensor_name_problem(std::string_view name);

/// What a safetensors header says about one tensor, checked.
struct TensorEntry {
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::size_t begin = 0;  ///< bytes from the end of the header
  std::size_t end = 0;
};

/// A header that kept all the rules of parse_safetensors_header().
struct SafetensorsHeader {
  std::size_t data_offset = 0;  ///< of the first tensor byte in the file
  std::map<std::string, TensorEntry, std::less<>> tensors;
  std::map<std::string, std::string> metadata;
};

/// Reads and checks the header of a safetensors file given the whole file's bytes.
///
///     u64 little-endian N | N bytes JSON {name: {"dtype", "shape", "data_offsets"}} | tensor data
///
/// Rules    file >= 8 bytes; N <= 100,000,000 and 8 + N <= file size; strict JSON starting with '{'; names printable
///          and at most 1,024 bytes; exactly the three fields; known dtype; rank <= 8; size = product of shape * dtype
///          without overflow, a whole number of bytes, equal to end - begin; in order of offset the tensors follow one
///          another from 0 to the end of the file without hole or overlap; __metadata__ maps strings to strings.
/// Errors   Error(kCorrupt) with all violated geometry rules, each naming its tensor.  `name` stands for the file.
/// Source   safetensors/src/tensor.rs, and stricter where that is silent.
SafetensorsHeader parse_safetensors_header(std::string_view file, const std::string& name);

}  // namespace kl
