#include "checkpoint/safetensors_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <utility>

#include "base/json.h"
#include "base/numbers.h"
#include "base/printable.h"
#include "base/problems.h"
#include "base/utf8.h"
#include "kl/error.h"
#include "kl/safetensors.h"

namespace kl {
namespace {

constexpr std::size_t kMaxNameBytes = 1024;

/// Types that are no NumberType, which a file may have all the same.
constexpr std::array<std::pair<std::string_view, int>, 7> kOtherBits{
    {{"BOOL", 8}, {"U64", 64}, {"F8_E4M3FNUZ", 8}, {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"F4", 4}, {"C64", 64}}};

[[noreturn]] void fail(const std::string& what) { throw Error(ErrorCode::kCorrupt, what); }

/// Reads the header while the parser walks over it; no tree of the JSON is ever built.
class HeaderReader final : public JsonEvents {
 public:
  explicit HeaderReader(SafetensorsHeader& header) : header_(header) {}

  void null() override { unexpected("null"); }
  void boolean(bool) override { unexpected("a boolean"); }
  void integer(std::int64_t value) override { unexpected(std::to_string(value)); }
  void number(double) override { unexpected("a number with a fraction or exponent"); }

  void unsigned_integer(std::uint64_t value) override {
    if (value > std::uint64_t{std::numeric_limits<std::int64_t>::max()}) unexpected(std::to_string(value));
    if (place_ == Place::kShape) {
      if (entry_.shape.size() == kMaxTensorRank)
        fail(subject() + fmt::format("expected at most {} dimensions", kMaxTensorRank));
      entry_.shape.push_back(static_cast<std::int64_t>(value));
    } else if (place_ == Place::kOffsets) {
      if (num_offsets_ == 2) fail(subject() + "expected 2 data_offsets, got more");
      (num_offsets_++ == 0 ? entry_.begin : entry_.end) = value;
    } else {
      unexpected(std::to_string(value));
    }
  }

  void string(std::string&& value) override {
    if (place_ == Place::kMetadata) {
      header_.metadata[key_] = std::move(value);
    } else if (place_ == Place::kTensor && key_ == "dtype") {
      if (safetensors_dtype_bits(value) == 0)
        fail(subject() + fmt::format("unknown dtype \"{}\"", printable(value, 40)));
      entry_.dtype = std::move(value);
    } else {
      unexpected("\"" + printable(value, 40) + "\"");
    }
  }

  void begin_object() override {
    if (place_ == Place::kOutside) {
      place_ = Place::kTop;
    } else if (place_ == Place::kTop) {
      place_ = tensor_ == "__metadata__" ? Place::kMetadata : Place::kTensor;
      entry_ = {};
      num_offsets_ = 0;
      has_shape_ = false;
    } else {
      unexpected("an object");
    }
  }

  void key(std::string&& name) override {
    if (place_ == Place::kTop) {
      if (const std::string problem = tensor_name_problem(name); !problem.empty()) {
        fail(fmt::format("tensor {}: {}", printable(name, 60), problem));
      }
      tensor_ = std::move(name);
      return;
    }
    key_ = std::move(name);
    if (place_ == Place::kTensor && key_ != "dtype" && key_ != "shape" && key_ != "data_offsets") {
      fail(subject() + fmt::format("expected dtype, shape and data_offsets, got \"{}\"", printable(key_, 40)));
    }
  }

  void end_object() override {
    if (place_ == Place::kTensor) {
      if (entry_.dtype.empty()) fail(subject() + "dtype is missing");
      if (!has_shape_) fail(subject() + "shape is missing");
      if (num_offsets_ != 2) fail(subject() + fmt::format("expected 2 data_offsets, got {}", num_offsets_));
      header_.tensors.emplace(tensor_, std::move(entry_));
    }
    place_ = place_ == Place::kTop ? Place::kOutside : Place::kTop;
  }

  void begin_array() override {
    if (place_ != Place::kTensor || key_ == "dtype") unexpected("an array");
    place_ = key_ == "shape" ? Place::kShape : Place::kOffsets;
    has_shape_ = has_shape_ || place_ == Place::kShape;
  }
  void end_array() override { place_ = Place::kTensor; }

 private:
  enum class Place { kOutside, kTop, kMetadata, kTensor, kShape, kOffsets };

  std::string subject() const { return fmt::format("tensor {}: ", printable(tensor_)); }

  [[noreturn]] void unexpected(const std::string& what) const {
    switch (place_) {
      case Place::kOutside:
        fail("expected an object of tensors, got " + what);
      case Place::kTop:
        fail(subject() + "expected an object, got " + what);
      case Place::kMetadata:
        fail(fmt::format("__metadata__: \"{}\": expected a string, got {}", printable(key_, 40), what));
      case Place::kTensor:
        fail(subject() + fmt::format("{}: got {}", printable(key_, 40), what));
      default:
        fail(subject() + fmt::format("{}: expected unsigned integers, got {}", printable(key_, 40), what));
    }
  }

  SafetensorsHeader& header_;
  Place place_ = Place::kOutside;
  std::string tensor_;  // key of the top object
  std::string key_;     // key inside it
  TensorEntry entry_;
  int num_offsets_ = 0;
  bool has_shape_ = false;
};

/// Bytes of a tensor; nothing, with the problem reported, if they overflow or are no whole number.
std::optional<std::size_t> checked_size(const std::string& tensor, const TensorEntry& entry, Problems& problems) {
  std::uint64_t bits = static_cast<std::uint64_t>(safetensors_dtype_bits(entry.dtype));
  for (const std::int64_t dim : entry.shape) {
    if (__builtin_mul_overflow(bits, static_cast<std::uint64_t>(dim), &bits)) {
      problems.add(fmt::format("tensor {}: size of {} {} overflows 64 bits", printable(tensor), entry.dtype,
                               shape_text(entry.shape)));
      return {};
    }
  }
  if (bits % 8 != 0) {
    problems.add(fmt::format("tensor {}: {} {} is no whole number of bytes", printable(tensor), entry.dtype,
                             shape_text(entry.shape)));
    return {};
  }
  return bits / 8;
}

/// Sizes, order, holes, overlaps and the end of the file.
void check_geometry(const SafetensorsHeader& header, std::size_t data_bytes, Problems& problems) {
  std::vector<std::pair<const std::string*, const TensorEntry*>> by_offset;
  for (const auto& [tensor, entry] : header.tensors) {
    by_offset.emplace_back(&tensor, &entry);
    if (entry.end < entry.begin) {
      problems.add(
          fmt::format("tensor {}: data_offsets [{}, {}] run backwards", printable(tensor), entry.begin, entry.end));
    } else if (const auto size = checked_size(tensor, entry, problems); size && *size != entry.end - entry.begin) {
      problems.add(fmt::format("tensor {}: expected {} bytes for {} {}, got data_offsets [{}, {}]", printable(tensor),
                               *size, entry.dtype, shape_text(entry.shape), entry.begin, entry.end));
    }
    if (entry.end > data_bytes) {
      problems.add(fmt::format("tensor {}: expected data_offsets within the {} data bytes of the file, got [{}, {}]",
                               printable(tensor), data_bytes, entry.begin, entry.end));
    }
  }
  if (!problems.empty()) return;
  std::sort(by_offset.begin(), by_offset.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second->begin, a.second->end) < std::pair(b.second->begin, b.second->end);
  });
  std::size_t expected = 0;
  for (const auto& [tensor, entry] : by_offset) {
    if (entry->begin != expected) {
      problems.add(fmt::format("tensor {}: expected to begin at byte {}, got {}: {}", printable(*tensor), expected,
                               entry->begin,
                               entry->begin > expected ? "a hole before it" : "it overlaps another tensor"));
    }
    expected = std::max(expected, entry->end);
  }
  if (expected != data_bytes) {
    problems.add(fmt::format("expected {} bytes of tensor data, got {}", expected, data_bytes));
  }
}

}  // namespace

std::string tensor_name_problem(std::string_view name) {
  if (name.empty()) return "expected a name, got an empty one";
  if (name.size() > kMaxNameBytes)
    return fmt::format("expected a name of at most {} bytes, got {}", kMaxNameBytes, name.size());
  if (well_formed_prefix(name) != name.size()) return "expected a name in UTF-8";
  const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  if (std::any_of(name.begin(), name.end(), is_control)) return "expected a name without control characters";
  return {};
}

int safetensors_dtype_bits(std::string_view dtype) {
  if (const auto type = parse_number_type(dtype)) return 8 * static_cast<int>(size_of(*type));
  for (const auto& [name, bits] : kOtherBits) {
    if (name == dtype) return bits;
  }
  return 0;
}

std::string shape_text(const std::vector<std::int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

SafetensorsHeader parse_safetensors_header(std::string_view file, const std::string& name) {
  if (file.size() < 8) {
    throw Error(ErrorCode::kCorrupt,
                fmt::format("{}: expected a safetensors file of at least 8 bytes, got {}", name, file.size()));
  }
  std::uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | static_cast<unsigned char>(file[static_cast<std::size_t>(i)]);
  if (length > kMaxSafetensorsHeader) {
    throw Error(ErrorCode::kCorrupt,
                fmt::format("{}: expected a header of at most {} bytes, got {}", name, kMaxSafetensorsHeader, length));
  }
  if (length > file.size() - 8) {
    throw Error(ErrorCode::kCorrupt,
                fmt::format("{}: expected a header of {} bytes, got a file of {} bytes (truncated?)", name, length,
                            file.size()));
  }
  const std::string_view json = file.substr(8, length);
  if (json.empty() || json.front() != '{') {
    throw Error(ErrorCode::kCorrupt, name + ": expected a header that begins with '{'");
  }
  SafetensorsHeader header;
  header.data_offset = 8 + length;
  HeaderReader reader(header);
  parse_json_events(json, name + ": header", reader, {.max_depth = 4});
  Problems problems;
  check_geometry(header, file.size() - header.data_offset, problems);
  problems.throw_if_any(name);
  return header;
}

}  // namespace kl
