#include "gguf/gguf_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <optional>
#include <system_error>

#include "base/mapped_file.h"
#include "base/printable.h"
#include "kl/error.h"
#include "kl/gguf.h"

namespace kl {
namespace {

namespace fs = std::filesystem;

/// What the name of a part says: PREFIX-00002-of-00005.gguf.
struct PartName {
  std::string prefix;
  std::int64_t number = 0, count = 0;
};

std::optional<PartName> parse_part_name(const std::string& file) {
  constexpr std::string_view kPattern = "-00000-of-00000.gguf";
  if (file.size() <= kPattern.size()) return {};
  PartName name{file.substr(0, file.size() - kPattern.size())};
  const std::string_view end = std::string_view(file).substr(name.prefix.size());
  for (std::size_t i = 0; i < kPattern.size(); ++i) {
    const bool is_digit = end[i] >= '0' && end[i] <= '9';
    if (kPattern[i] == '0' ? !is_digit : end[i] != kPattern[i]) return {};
  }
  std::from_chars(end.data() + 1, end.data() + 6, name.number);
  std::from_chars(end.data() + 10, end.data() + 15, name.count);
  if (name.number < 1 || name.number > name.count) return {};
  return name;
}

/// The integer of a key, or nothing if the file has no such key.
std::optional<std::int64_t> integer(const GgufFile::Metadata& metadata, const std::string& file, const char* key) {
  const auto found = metadata.find(key);
  if (found == metadata.end()) return {};
  const auto value = found->second.integer();
  if (!value) {
    throw Error(ErrorCode::kCorrupt,
                fmt::format("{}: {}: expected an integer, got {}", file, key, found->second.describe()));
  }
  return value;
}

[[noreturn]] void fail(const std::string& file, const std::string& what) {
  throw Error(ErrorCode::kCorrupt, fmt::format("{}: {}", file, what));
}

}  // namespace

bool is_gguf(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return false;
  if (path.extension() == ".gguf") return true;
  char magic[4] = {};
  std::ifstream(path, std::ios::binary).read(magic, sizeof magic);
  return std::string_view(magic, 4) == "GGUF";
}

std::vector<fs::path> gguf_parts(const fs::path& path) {
  const auto name = parse_part_name(path.filename().string());
  if (!name) return {path};
  std::vector<fs::path> parts;
  for (std::int64_t i = 1; i <= name->count; ++i) {
    parts.push_back(path.parent_path() / fmt::format("{}-{:05}-of-{:05}.gguf", name->prefix, i, name->count));
  }
  return parts;
}

const GgufValue* GgufFile::find(std::string_view key) const {
  const auto found = metadata_.find(key);
  return found == metadata_.end() ? nullptr : &found->second;
}

/// Maps a file and takes in its tensors; hands back the rest of its header.
GgufHeader GgufFile::add_part(const fs::path& path) {
  const auto file = std::make_shared<const MappedFile>(path);
  return add_part({reinterpret_cast<const char*>(file->data()), file->size()}, file->name(), file);
}

GgufHeader GgufFile::add_part(std::string_view bytes, const std::string& name, std::shared_ptr<const void> file) {
  GgufHeader header = parse_gguf_header(bytes, name);
  const auto* data = reinterpret_cast<const std::byte*>(bytes.data());
  for (auto& [tensor_name, tensor] : header.tensors) {
    const auto [it, is_new] = tensors_.emplace(
        tensor_name, Tensor{tensor.type, std::move(tensor.shape), data + tensor.begin, tensor.bytes, parts_.size()});
    if (!is_new) {
      fail(name, fmt::format("tensor {}: also in {}", printable(tensor_name), parts_[it->second.part].name));
    }
  }
  parts_.push_back({name, bytes.size(), header.tensors.size(), std::move(file)});
  return header;
}

/// Reads a model of `count` parts again from the first, since that is where the metadata are.
void GgufFile::add_other_parts(const fs::path& path, std::int64_t count) {
  const std::vector<fs::path> files = gguf_parts(path);
  tensors_.clear();
  parts_.clear();
  std::int64_t announced = -1;
  for (std::size_t i = 0; i < files.size(); ++i) {
    GgufHeader header = add_part(files[i]);
    const std::string& file = parts_.back().name;
    const auto expect = [&](const char* key, std::int64_t expected) {
      const auto got = integer(header.metadata, file, key);
      if (got == expected) return;
      fail(file, fmt::format("{}: expected {}, got {}", key, expected, got ? std::to_string(*got) : "nothing"));
    };
    expect("split.no", static_cast<std::int64_t>(i));
    expect("split.count", count);
    announced = integer(header.metadata, file, "split.tensors.count").value_or(announced);
    if (i == 0) metadata_ = std::move(header.metadata);
  }
  if (announced != static_cast<std::int64_t>(tensors_.size())) {
    fail(name_,
         fmt::format("split.tensors.count: expected {}, the tensors of all parts, got {}", tensors_.size(), announced));
  }
}

std::shared_ptr<const GgufFile> GgufFile::parse(std::string_view bytes, const std::string& name) {
  const std::shared_ptr<GgufFile> gguf(new GgufFile);
  gguf->name_ = name;
  gguf->metadata_ = gguf->add_part(bytes, name, nullptr).metadata;
  return gguf;
}

std::shared_ptr<const GgufFile> GgufFile::open(const fs::path& path) {
  const std::shared_ptr<GgufFile> gguf(new GgufFile);
  gguf->name_ = path.string();
  gguf->metadata_ = gguf->add_part(path).metadata;
  const std::int64_t by_name = parse_part_name(path.filename().string()).value_or(PartName{{}, 1, 1}).count;
  const std::int64_t count = integer(gguf->metadata_, gguf->name_, "split.count").value_or(1);
  if (count < 1) fail(gguf->name_, fmt::format("split.count: expected at least 1, got {}", count));
  if (count != by_name) {
    fail(gguf->name_, fmt::format("split.count: expected {} by the name of the file, got {}", by_name, count));
  }
  if (count > 1) gguf->add_other_parts(path, count);
  return gguf;
}

}  // namespace kl
