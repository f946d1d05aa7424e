#include "packing/packed_name.h"

#include <fmt/format.h>

namespace kl {
namespace {

constexpr std::string_view name_of_scale(DType type) {
  return type == DType::kF16 ? "f16" : type == DType::kBF16 ? "bf16" : "f32";
}

}  // namespace

std::string packed_suffix(const PackedFormat& f) {
  return fmt::format("q{}_g{}{}_{}", f.bits, f.group, f.has_minimum ? "m" : "", name_of_scale(f.scale_type));
}

std::string held_text(const HeldForm& form) {
  return form.type == DType::kPacked ? packed_suffix(form.format) : name_of(form.type);
}

std::optional<PackedFormat> parse_packed_suffix(std::string_view suffix) {
  for (const std::uint8_t bits : {4, 6, 8}) {
    for (const std::uint8_t group : {16, 32, 64}) {
      for (const bool has_minimum : {false, true}) {
        for (const DType type : {DType::kF16, DType::kBF16, DType::kF32}) {
          const PackedFormat format{bits, group, has_minimum, type};
          if (format.exists() && packed_suffix(format) == suffix) return format;
        }
      }
    }
  }
  return {};
}

std::vector<std::int64_t> packed_shape(const PackedFormat& format, std::int64_t count, std::int64_t N, std::int64_t K) {
  std::vector<std::int64_t> shape{(N + kTileOutputs - 1) / kTileOutputs, format.tiles(K), format.tile_bytes()};
  if (count > 1) shape.insert(shape.begin(), count);
  return shape;
}

PackedFormat packed_format(const QuantRule& rule) {
  return {static_cast<std::uint8_t>(rule.bits), static_cast<std::uint8_t>(rule.group_size), rule.group_size == 64,
          DType::kF16};
}

}  // namespace kl
