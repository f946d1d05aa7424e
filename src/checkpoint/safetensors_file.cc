#include <fmt/format.h>

#include <utility>

#include "base/mapped_file.h"
#include "base/numbers.h"
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

/// All elements of a tensor of numbers that `is_wanted`, converted.
template <class T>
std::vector<T> convert(const SafetensorsFile& file, std::string_view tensor, bool (*is_wanted)(NumberType),
                       const char* expected) {
  const FileTensor& t = file.at(tensor);
  const auto type = t.dtype == "BOOL" ? NumberType::kU8 : parse_number_type(t.dtype);
  if (!type || !is_wanted(*type)) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("{}: tensor {}: expected {}, got {}", file.name(), printable(tensor), expected, t.dtype));
  }
  std::vector<T> out(t.bytes / size_of(*type));
  read_numbers(*type, t.data, out.size(), out.data());
  return out;
}

}  // namespace

std::vector<double> SafetensorsFile::numbers(std::string_view tensor) const {
  return convert<double>(*this, tensor, is_float, "floating point numbers");
}

std::vector<std::int64_t> SafetensorsFile::integers(std::string_view tensor) const {
  return convert<std::int64_t>(*this, tensor, is_integer, "integers");
}

}  // namespace kl
