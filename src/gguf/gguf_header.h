#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/ggml_type.h"

namespace kl {

/// What a metadata value of a GGUF file is; the numbers are the file's.
enum class GgufType : std::uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64
};

/// A metadata value, where it lies in the file.  Nothing is copied until somebody asks: the vocabulary of a model is an
/// array of 163,840 texts, which most commands never look at.
struct GgufValue {
  GgufType type = GgufType::kU8;
  std::string_view bytes;            ///< of the number; of the text without its length; of all elements
  GgufType element = GgufType::kU8;  ///< of an array
  std::uint64_t count = 0;           ///< elements of an array

  /// The value if it is of the kind asked for, else nothing.  An integer beyond 2^63 is none.
  std::optional<std::int64_t> integer() const;
  std::optional<double> number() const;  ///< an integer, or a float that is finite
  std::optional<bool> boolean() const;
  std::optional<std::string_view> text() const;
  std::optional<std::vector<std::int64_t>> integers() const;
  std::optional<std::vector<std::string_view>> texts() const;

  /// What it is, for messages: "8", "\"gpt2\"", "an array of 3 strings".
  std::string describe() const;
};

/// What a GGUF file says about one tensor, checked.
struct GgufTensor {
  const GgmlType* type = nullptr;
  std::vector<std::int64_t> shape;  ///< the slowest dimension first, which is the reverse of the file's order
  std::size_t begin = 0;            ///< in the file
  std::size_t bytes = 0;
};

/// A header that kept all the rules of parse_gguf_header().
struct GgufHeader {
  std::map<std::string, GgufValue, std::less<>> metadata;
  std::map<std::string, GgufTensor, std::less<>> tensors;
};

/// Most dimensions of a tensor, and bytes of its name.
inline constexpr std::uint32_t kMaxGgufRank = 4;
inline constexpr std::size_t kMaxGgufTensorName = 64;

/// Reads and checks everything but the tensor data of a GGUF file given the whole file's bytes.
///
///     "GGUF" | u32 version 3 | u64 tensors | u64 values | {key, u32 type, value} | {name, u32 rank, u64 dims[rank], u32 type,
///     u64 offset} | padding | tensor data, each padded to general.alignment (32 unless stated)
///
/// Rules    little-endian, version 3; no more values and tensors than the rest of the file has room for; keys 1 to 65,535
///          bytes of printable ASCII, none twice; known value types, booleans 0 or 1, no array of arrays, every text and
///          array within the file; general.alignment a power of two from 8 to 65,536; tensor names 1 to 64 bytes of UTF-8
///          without control characters, none twice; rank 1 to 4, dimensions at least 1; known type; rows of whole blocks;
///          sizes without overflow; offsets multiples of the alignment; in order of offset the tensors follow one another
///          from 0 with nothing but padding between, to the end of the file.
/// Memory   in proportion to what the file really holds, never to what it claims.
/// Errors   Error(kCorrupt) at the first breach in the order of the file, with all breaches of tensors at once; kUnsupported
///          for another version or byte order.  `name` stands for the file.
/// Source   ggml's docs/gguf.md and gguf.cpp, and stricter where those are silent.
GgufHeader parse_gguf_header(std::string_view file, const std::string& name);

}  // namespace kl
