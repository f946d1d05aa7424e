#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kl {

/// One tensor of a safetensors file, where it lies: row-major, little-endian, possibly not aligned to its element size.
struct FileTensor {
  std::string dtype;                ///< as the file spells it: "F32", "BF16", "I64", ...
  std::vector<std::int64_t> shape;  ///< empty for a scalar
  const std::byte* data = nullptr;  ///< lives as long as the SafetensorsFile
  std::size_t bytes = 0;
};

/// Bits of one element of a safetensors dtype, 0 if there is no such dtype.
int safetensors_dtype_bits(std::string_view dtype);

/// "[2, 3]": for messages.
std::string shape_text(const std::vector<std::int64_t>& shape);

/// A safetensors file mapped into memory with its header checked: every tensor lies inside the file, has the size its
/// dtype and shape ask for, and the tensors fill the file without holes or overlaps.
///
/// Thread safety: immutable after construction; copies share the mapping.
class SafetensorsFile {
 public:
  /// Throws Error(kNotFound) if there is no such file and Error(kCorrupt) with every violated rule, naming the tensors.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::string& name() const;                                        ///< the path, for messages
  std::size_t bytes() const;                                              ///< size of the file
  const std::map<std::string, FileTensor, std::less<>>& tensors() const;  ///< by name
  const std::map<std::string, std::string>& metadata() const;             ///< the header's __metadata__

  /// Throws Error(kNotFound) naming file and tensor if there is none.
  const FileTensor& at(std::string_view tensor) const;

  /// The elements converted: F16, BF16, F32 and F64 to double; integers to int64.  For tests and tools.
  /// Throws Error(kUnsupported) for any other dtype.
  std::vector<double> numbers(std::string_view tensor) const;
  std::vector<std::int64_t> integers(std::string_view tensor) const;

 private:
  struct Contents;
  std::shared_ptr<const Contents> contents_;
};

/// What the writer has to know of a tensor before its data.
struct TensorSpec {
  std::string name;
  std::string dtype;
  std::vector<std::int64_t> shape;
};

/// Writes a safetensors file as a stream: first the list of tensors, then their data in the same order.
///
/// The file appears under its name only when finish() returns: until then it is a temporary file beside it, removed if
/// anything fails or the writer is destroyed.
class SafetensorsWriter {
 public:
  /// Throws Error(kInvalidArgument) for a duplicate name, unknown dtype or impossible shape, and Error(kCannotWrite) if
  /// the file cannot be made.  With `wants_sha256` the file is hashed on its way.
  SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorSpec> tensors,
                    const std::map<std::string, std::string>& metadata = {}, bool wants_sha256 = false);
  ~SafetensorsWriter();
  SafetensorsWriter(SafetensorsWriter&&) noexcept;
  SafetensorsWriter& operator=(SafetensorsWriter&&) noexcept;

  /// Appends data: any number of bytes of the tensors in order.  Throws Error(kCannotWrite), naming the file and the
  /// reason, and Error(kInvalidArgument) for more data than declared.
  void write(const void* data, std::size_t bytes);

  /// Flushes to disk and gives the file its name.  Throws Error(kCannotWrite), or Error(kInvalidArgument) naming the
  /// first incomplete tensor.
  void finish();

  /// Of the finished file, in hexadecimal; empty unless asked for.
  const std::string& sha256() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace kl
