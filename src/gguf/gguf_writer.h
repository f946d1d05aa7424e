#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/output_file.h"
#include "gguf/ggml_type.h"

namespace kl {

/// Metadata of a GGUF file in the making.
class GgufMetadata {
 public:
  void add_u16(std::string_view key, std::uint16_t value);
  void add_u32(std::string_view key, std::uint32_t value);
  void add_i32(std::string_view key, std::int32_t value);
  void add_f32(std::string_view key, float value);
  void add_bool(std::string_view key, bool value);
  void add_text(std::string_view key, std::string_view value);
  void add_i32s(std::string_view key, std::span<const std::int32_t> values);
  void add_texts(std::string_view key, std::span<const std::string> values);

  /// What another object has collected.
  void add_all(std::string_view bytes, std::uint64_t count) {
    bytes_ += bytes;
    count_ += count;
  }

  std::uint64_t count() const { return count_; }
  const std::string& bytes() const { return bytes_; }  ///< keys and values as the file has them

 private:
  void add_key(std::string_view key, std::uint32_t type);

  std::uint64_t count_ = 0;
  std::string bytes_;
};

/// What the writer has to know of a tensor before its data.
struct GgufTensorSpec {
  std::string name;
  const GgmlType* type = nullptr;
  std::vector<std::int64_t> shape;  ///< the slowest dimension first
};

/// Writes a GGUF file (version 3) as a stream: metadata, list of tensors, then their data in the same order.
///
/// The file appears under its name only when finish() returns, as with SafetensorsWriter.
class GgufWriter {
 public:
  /// Throws Error(kInvalidArgument) for rows that are no whole blocks and names beyond 63 bytes, which llama.cpp cannot read, and
  /// Error(kCannotWrite).
  GgufWriter(const std::filesystem::path& path, const GgufMetadata& metadata, std::vector<GgufTensorSpec> tensors,
             bool wants_sha256 = false);

  /// Appends data: any number of bytes of the tensors in order.  Throws as SafetensorsWriter::write().
  void write(const void* data, std::size_t bytes);
  void finish();

  /// Of the finished file, in hexadecimal; empty unless asked for.
  const std::string& sha256() const { return file_.sha256(); }

 private:
  void pad();

  OutputFile file_;
  std::vector<std::size_t> bytes_;  // of each tensor
  std::size_t at_ = 0;              // the tensor being written
  std::size_t written_ = 0;         // of it
};

}  // namespace kl
