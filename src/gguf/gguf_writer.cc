#include "gguf/gguf_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "gguf/gguf_header.h"
#include "kl/error.h"

namespace kl {
namespace {

constexpr std::size_t kAlignment = 32;  // what a file has that does not say otherwise
constexpr std::size_t kMaxName = 63;    // llama.cpp's buffer holds a zero behind it

template <class T>
void append(std::string& bytes, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) bytes += static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * i));
}

void append_text(std::string& bytes, std::string_view text) {
  append<std::uint64_t>(bytes, text.size());
  bytes += text;
}

std::uint32_t number_of(GgufType type) { return static_cast<std::uint32_t>(type); }

std::size_t padding_after(std::size_t bytes) { return (kAlignment - bytes % kAlignment) % kAlignment; }

std::size_t bytes_of(const GgufTensorSpec& tensor) {
  std::int64_t rows = 1;
  for (std::size_t i = 0; i + 1 < tensor.shape.size(); ++i) rows *= tensor.shape[i];
  const std::int64_t cols = tensor.shape.back();
  if (cols % tensor.type->values != 0 || tensor.name.size() > kMaxName || tensor.shape.size() > kMaxGgufRank) {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("tensor {}: expected rows of whole blocks of {}, got {}",
                                                         tensor.name, tensor.type->name, cols));
  }
  return static_cast<std::size_t>(rows * (cols / tensor.type->values) * tensor.type->bytes);
}

}  // namespace

void GgufMetadata::add_key(std::string_view key, std::uint32_t type) {
  ++count_;
  append_text(bytes_, key);
  append(bytes_, type);
}

void GgufMetadata::add_u16(std::string_view key, std::uint16_t value) {
  add_key(key, number_of(GgufType::kU16));
  append(bytes_, value);
}

void GgufMetadata::add_u32(std::string_view key, std::uint32_t value) {
  add_key(key, number_of(GgufType::kU32));
  append(bytes_, value);
}

void GgufMetadata::add_i32(std::string_view key, std::int32_t value) {
  add_key(key, number_of(GgufType::kI32));
  append(bytes_, static_cast<std::uint32_t>(value));
}

void GgufMetadata::add_f32(std::string_view key, float value) {
  add_key(key, number_of(GgufType::kF32));
  append(bytes_, std::bit_cast<std::uint32_t>(value));
}

void GgufMetadata::add_bool(std::string_view key, bool value) {
  add_key(key, number_of(GgufType::kBool));
  append<std::uint8_t>(bytes_, value ? 1 : 0);
}

void GgufMetadata::add_text(std::string_view key, std::string_view value) {
  add_key(key, number_of(GgufType::kString));
  append_text(bytes_, value);
}

void GgufMetadata::add_i32s(std::string_view key, std::span<const std::int32_t> values) {
  add_key(key, number_of(GgufType::kArray));
  append(bytes_, number_of(GgufType::kI32));
  append<std::uint64_t>(bytes_, values.size());
  for (const std::int32_t value : values) append(bytes_, static_cast<std::uint32_t>(value));
}

void GgufMetadata::add_texts(std::string_view key, std::span<const std::string> values) {
  add_key(key, number_of(GgufType::kArray));
  append(bytes_, number_of(GgufType::kString));
  append<std::uint64_t>(bytes_, values.size());
  for (const std::string& value : values) append_text(bytes_, value);
}

GgufWriter::GgufWriter(const std::filesystem::path& path, const GgufMetadata& metadata,
                       std::vector<GgufTensorSpec> tensors, bool wants_sha256)
    : file_(path, wants_sha256) {
  std::string header = "GGUF";
  append<std::uint32_t>(header, 3);
  append<std::uint64_t>(header, tensors.size());
  append<std::uint64_t>(header, metadata.count());
  header += metadata.bytes();
  std::uint64_t offset = 0;
  for (const GgufTensorSpec& tensor : tensors) {
    append_text(header, tensor.name);
    append<std::uint32_t>(header, static_cast<std::uint32_t>(tensor.shape.size()));
    for (auto dim = tensor.shape.rbegin(); dim != tensor.shape.rend(); ++dim)
      append<std::uint64_t>(header, static_cast<std::uint64_t>(*dim));
    append<std::uint32_t>(header, tensor.type->id);
    append<std::uint64_t>(header, offset);
    bytes_.push_back(bytes_of(tensor));
    offset += bytes_.back() + padding_after(bytes_.back());
  }
  header.resize(header.size() + padding_after(header.size()), '\0');
  file_.write(header.data(), header.size());
}

void GgufWriter::write(const void* data, std::size_t bytes) {
  const char* p = static_cast<const char*>(data);
  while (bytes > 0) {
    if (at_ == bytes_.size()) {
      throw Error(ErrorCode::kInvalidArgument, file_.name() + ": expected the bytes of its tensors, got more");
    }
    const std::size_t n = std::min(bytes, bytes_[at_] - written_);
    file_.write(p, n);
    p += n, bytes -= n, written_ += n;
    if (written_ == bytes_[at_]) pad();
  }
}

/// Ends a tensor.
void GgufWriter::pad() {
  constexpr char kZeros[kAlignment] = {};
  file_.write(kZeros, padding_after(written_));
  ++at_;
  written_ = 0;
}

void GgufWriter::finish() {
  if (at_ < bytes_.size())
    throw Error(ErrorCode::kInvalidArgument, file_.name() + ": expected the bytes of all its tensors, got fewer");
  file_.commit();
}

}  // namespace kl
