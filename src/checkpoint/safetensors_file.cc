#include <fmt/format.h>

#include <cstring>
#include <optional>

#include "base/dtype.h"
#include "base/mapped_file.h"
#include "base/printable.h"
#include "checkpoint/safetensors_header.h"
#include "kl/error.h"
#include "kl/safetensors.h"

namespace kl {

/// The mapping and what its header says; shared by copies.
struct SafetensorsFile::Contents {
  explicit Contents(const std::filesystem::path& path) : file(path) {}
  MappedFile file;
  std::map<std::string, FileTensor, std::less<>> tensors;
  std::map<std::string, std::string> metadata;
};

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) {
  auto contents = std::make_shared<Contents>(path);
  const MappedFile& file = contents->file;
  SafetensorsHeader header =
      parse_safetensors_header({reinterpret_cast<const char*>(file.data()), file.size()}, file.name());
  for (auto& [name, entry] : header.tensors) {
    contents->tensors.emplace_hint(contents->tensors.end(), name,
                                   FileTensor{std::move(entry.dtype), std::move(entry.shape),
                                              file.data() + header.data_offset + entry.begin, entry.end - entry.begin});
  }
  contents->metadata = std::move(header.metadata);
  contents_ = std::move(contents);
}

const std::string& SafetensorsFile::name() const { return contents_->file.name(); }
std::size_t SafetensorsFile::bytes() const { return contents_->file.size(); }
const std::map<std::string, FileTensor, std::less<>>& SafetensorsFile::tensors() const { return contents_->tensors; }
const std::map<std::string, std::string>& SafetensorsFile::metadata() const { return contents_->metadata; }

const FileTensor& SafetensorsFile::at(std::string_view tensor) const {
  const auto it = contents_->tensors.find(tensor);
  if (it == contents_->tensors.end()) {
    throw Error(ErrorCode::kNotFound, fmt::format("{}: tensor {}: missing", name(), printable(tensor)));
  }
  return it->second;
}

namespace {

/// Copies element i out of possibly unaligned data.
template <class T>
T element(const FileTensor& tensor, std::size_t i) {
  T value;
  std::memcpy(&value, tensor.data + i * sizeof(T), sizeof(T));
  return value;
}

/// All elements of a tensor of T, converted.
template <class T, class Out, class Convert>
std::vector<Out> convert(const FileTensor& tensor, Convert to) {
  std::vector<Out> out(tensor.bytes / sizeof(T));
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<Out>(to(element<T>(tensor, i)));
  return out;
}

[[noreturn]] void refuse(const std::string& file, std::string_view tensor, const char* expected,
                         const std::string& dtype) {
  throw Error(ErrorCode::kUnsupported,
              fmt::format("{}: tensor {}: expected {}, got {}", file, printable(tensor), expected, dtype));
}

}  // namespace

std::vector<double> SafetensorsFile::numbers(std::string_view tensor) const {
  const FileTensor& t = at(tensor);
  const auto same = [](auto value) { return value; };
  if (t.dtype == "F64") return convert<double, double>(t, same);
  if (t.dtype == "F32") return convert<float, double>(t, same);
  if (t.dtype == "BF16") return convert<std::uint16_t, double>(t, bf16_to_f32);
  if (t.dtype == "F16") return convert<std::uint16_t, double>(t, f16_to_f32);
  refuse(name(), tensor, "floating point numbers", t.dtype);
}

std::vector<std::int64_t> SafetensorsFile::integers(std::string_view tensor) const {
  const FileTensor& t = at(tensor);
  const auto same = [](auto value) { return value; };
  if (t.dtype == "I64") return convert<std::int64_t, std::int64_t>(t, same);
  if (t.dtype == "I32") return convert<std::int32_t, std::int64_t>(t, same);
  if (t.dtype == "I16") return convert<std::int16_t, std::int64_t>(t, same);
  if (t.dtype == "I8") return convert<std::int8_t, std::int64_t>(t, same);
  if (t.dtype == "U32") return convert<std::uint32_t, std::int64_t>(t, same);
  if (t.dtype == "U16") return convert<std::uint16_t, std::int64_t>(t, same);
  if (t.dtype == "U8" || t.dtype == "BOOL") return convert<std::uint8_t, std::int64_t>(t, same);
  refuse(name(), tensor, "integers", t.dtype);
}

}  // namespace kl
