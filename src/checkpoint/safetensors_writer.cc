#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/output_file.h"
#include "base/printable.h"
#include "checkpoint/safetensors_header.h"
#include "kl/error.h"
#include "kl/safetensors.h"

namespace kl {
namespace {

constexpr std::size_t kDataAlignment = 64;  // of the first tensor in the file; the format allows padding with spaces

[[noreturn]] void refuse(const std::string& tensor, const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, fmt::format("tensor {}: {}", printable(tensor), what));
}

std::size_t checked_bytes(const TensorSpec& spec) {
  const int bits = safetensors_dtype_bits(spec.dtype);
  if (bits == 0) refuse(spec.name, fmt::format("unknown dtype {}", printable(spec.dtype)));
  if (spec.shape.size() > kMaxTensorRank)
    refuse(spec.name, fmt::format("expected at most {} dimensions", kMaxTensorRank));
  std::int64_t product = bits;
  for (const std::int64_t dim : spec.shape) {
    if (dim < 0 || __builtin_mul_overflow(product, dim, &product))
      refuse(spec.name, "impossible shape " + shape_text(spec.shape));
  }
  if (product % 8 != 0)
    refuse(spec.name, fmt::format("{} {} is no whole number of bytes", spec.dtype, shape_text(spec.shape)));
  return static_cast<std::size_t>(product / 8);
}

}  // namespace

/// The file being written and how far it is.
struct SafetensorsWriter::State {
  State(const std::filesystem::path& path, std::vector<TensorSpec> specs, bool wants_sha256)
      : file(path, wants_sha256), tensors(std::move(specs)) {}

  OutputFile file;
  std::vector<TensorSpec> tensors;
  std::vector<std::size_t> ends;  // of each tensor, in bytes of data
  std::size_t total = 0;
  std::size_t written = 0;
};

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorSpec> tensors,
                                     const std::map<std::string, std::string>& metadata, bool wants_sha256) {
  std::set<std::string_view> names;
  std::vector<std::size_t> ends;
  std::size_t total = 0;
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  for (const TensorSpec& spec : tensors) {
    if (const std::string problem = tensor_name_problem(spec.name); !problem.empty()) refuse(spec.name, problem);
    if (spec.name == "__metadata__") refuse(spec.name, "is no name for a tensor");
    if (!names.insert(spec.name).second) refuse(spec.name, "declared twice");
    const std::size_t begin = total;
    if (__builtin_add_overflow(total, checked_bytes(spec), &total))
      refuse(spec.name, "the file would exceed 2^64 bytes");
    // push_back on an ordered_json object would search all keys before it: 20,493 tensors are many.
    header.get_ref<nlohmann::ordered_json::object_t&>().push_back(
        {spec.name, {{"dtype", spec.dtype}, {"shape", spec.shape}, {"data_offsets", {begin, total}}}});
    ends.push_back(total);
  }
  std::string text = header.dump();
  text.resize((8 + text.size() + kDataAlignment - 1) / kDataAlignment * kDataAlignment - 8, ' ');
  if (text.size() > kMaxSafetensorsHeader) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: the header would exceed {} bytes", path.string(), kMaxSafetensorsHeader));
  }
  state_ = std::make_unique<State>(path, std::move(tensors), wants_sha256);
  state_->ends = std::move(ends);
  state_->total = total;
  std::array<unsigned char, 8> length{};
  for (std::size_t i = 0; i < 8; ++i) length[i] = static_cast<unsigned char>(text.size() >> (8 * i));
  state_->file.write(length.data(), length.size());
  state_->file.write(text.data(), text.size());
}

SafetensorsWriter::~SafetensorsWriter() = default;
SafetensorsWriter::SafetensorsWriter(SafetensorsWriter&&) noexcept = default;
SafetensorsWriter& SafetensorsWriter::operator=(SafetensorsWriter&&) noexcept = default;

void SafetensorsWriter::write(const void* data, std::size_t bytes) {
  if (bytes > state_->total - state_->written) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: expected {} bytes of tensor data, got more", state_->file.name(), state_->total));
  }
  state_->file.write(data, bytes);
  state_->written += bytes;
}

void SafetensorsWriter::finish() {
  if (state_->written < state_->total) {
    const auto first =
        std::upper_bound(state_->ends.begin(), state_->ends.end(), state_->written) - state_->ends.begin();
    refuse(state_->tensors[static_cast<std::size_t>(first)].name,
           fmt::format("incomplete: {} of {} bytes of the file were written", state_->written, state_->total));
  }
  state_->file.commit();
}

const std::string& SafetensorsWriter::sha256() const { return state_->file.sha256(); }

}  // namespace kl
