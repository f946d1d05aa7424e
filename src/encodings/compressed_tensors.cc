#include "encodings/compressed_tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/printable.h"
#include "encodings/compressed_matrices.h"
#include "encodings/require_tensor.h"

namespace kl {
namespace {

using Kind = CompressedScheme::Kind;

constexpr int kNvfp4Group = 16;

/// What a format must say of its weights.
struct FormatRule {
  std::string_view format;
  Kind kind;
  std::string_view type;
  std::vector<std::string_view> strategies;
  std::vector<int> bits;
};

const FormatRule* find_format(std::string_view format) {
  static const FormatRule kFormats[] = {
      {"pack-quantized", Kind::kInt, "int", {"group", "channel"}, {4, 8}},
      {"float-quantized", Kind::kFp8, "float", {"channel", "tensor"}, {8}},
      {"nvfp4-pack-quantized", Kind::kNvfp4, "float", {"tensor_group"}, {4}},
  };
  const auto it = std::find_if(std::begin(kFormats), std::end(kFormats),
                               [=](const FormatRule& rule) { return rule.format == format; });
  return it == std::end(kFormats) ? nullptr : it;
}

/// Reads the settings of one group's weights, complaining about each that this kind of format does not have.
class SchemeReader {
 public:
  SchemeReader(const Json& weights, std::string name, Problems& problems)
      : weights_(weights), name_(std::move(name)), problems_(problems) {}

  std::optional<CompressedScheme> read(const FormatRule& rule) {
    CompressedScheme s{.kind = rule.kind};
    expect_text("type", {rule.type});
    const std::string strategy = expect_text("strategy", rule.strategies);
    s.bits = static_cast<int>(expect_number("num_bits", rule.bits));
    s.is_per_tensor = strategy == "tensor";
    if (strategy == "group") s.group_size = expect_number("group_size", {32, 64, 128, 256, 512, 1024});
    if (strategy == "tensor_group") s.group_size = expect_number("group_size", {kNvfp4Group});
    const Json* symmetric = weights_.find("symmetric");
    s.is_symmetric = symmetric == nullptr || symmetric->boolean().value_or(true);
    if (!s.is_symmetric && s.kind != Kind::kInt) refuse("symmetric", "true", symmetric);
    if (const Json* order = weights_.find("actorder");
        order != nullptr && !order->is_null() && order->boolean() != false) {
      const std::string* text = order->string();
      if (text == nullptr || (*text != "weight" && *text != "static"))
        refuse("actorder", "null, static or weight", order);
    }
    if (!is_sound_) return {};
    return s;
  }

 private:
  std::string expect_text(std::string_view field, const std::vector<std::string_view>& allowed) {
    const Json* value = weights_.find(field);
    const std::string* text = value ? value->string() : nullptr;
    if (text != nullptr && std::find(allowed.begin(), allowed.end(), *text) != allowed.end()) return *text;
    refuse(field, fmt::format("{}", fmt::join(allowed, " or ")), value);
    return {};
  }

  std::int64_t expect_number(std::string_view field, const std::vector<int>& allowed) {
    const Json* value = weights_.find(field);
    const auto number = value ? value->integer() : std::nullopt;
    if (number && std::find(allowed.begin(), allowed.end(), *number) != allowed.end()) return *number;
    refuse(field, fmt::format("{}", fmt::join(allowed, ", ")), value);
    return allowed.front();
  }

  void refuse(std::string_view field, const std::string& expected, const Json* got) {
    is_sound_ = false;
    problems_.add(ErrorCode::kUnsupported, fmt::format("{}.{}: expected {}, got {}", name_, field, expected,
                                                       got != nullptr ? got->describe() : "nothing"));
  }

  const Json& weights_;
  std::string name_;
  Problems& problems_;
  bool is_sound_ = true;
};

/// Takes the tensors of a module together, complaining about each that is not what the scheme asks for.
class PartsReader {
 public:
  PartsReader(const CompressedScheme& scheme, const std::string& module, const std::vector<std::int64_t>& shape,
              TensorSource& source)
      : s_(scheme), module_(module), shape_(shape), source_(source), why_(scheme.text()) {}

  std::optional<CompressedParts> read() {
    const std::int64_t cols = shape_.back(), scale_cols = s_.group_size > 0 ? cols / s_.group_size : 1;
    const auto scales = s_.is_per_tensor ? std::vector<std::int64_t>{1} : with_cols(shape_, scale_cols);
    CompressedParts parts{};
    switch (s_.kind) {
      case Kind::kInt:
        parts.weight = take(".weight_packed", "I32", with_cols(shape_, (cols * s_.bits + 31) / 32));
        parts.scale = take(".weight_scale", kAnyFloat, scales);
        if (s_.is_symmetric)
          expect_none(".weight_zero_point", "as config.json says that the integers are symmetric");
        else
          parts.zero_point = take(".weight_zero_point", "I32", {(rows_of(shape_) * s_.bits + 31) / 32, scale_cols});
        check_shape(take(".weight_shape", "I64", {2}));
        break;
      case Kind::kFp8:
        parts.weight = take(".weight", "F8_E4M3", shape_);
        parts.scale = take(".weight_scale", kAnyFloat, scales);
        break;
      case Kind::kNvfp4:
        parts.weight = take(".weight_packed", "U8", with_cols(shape_, cols / 2));
        parts.scale = take(".weight_scale", "F8_E4M3", scales);
        parts.global_scale = take(".weight_global_scale", "F32", {1});
        break;
    }
    if (!is_sound_) return {};
    return parts;
  }

 private:
  const FileTensor* take(const char* suffix, std::string_view dtype, const std::vector<std::int64_t>& shape) {
    const FileTensor* tensor = require_tensor(source_, module_ + suffix, dtype, shape, why_);
    is_sound_ = is_sound_ && tensor != nullptr;
    return tensor;
  }

  void expect_none(const char* suffix, const std::string& why) {
    if (source_.find(module_ + suffix) == nullptr) return;
    is_sound_ = false;
    source_.complain(ErrorCode::kCorrupt, module_ + suffix, "expected none, " + why);
  }

  void check_shape(const FileTensor* stated) {
    if (stated == nullptr) return;
    std::vector<std::int64_t> numbers(2);
    std::memcpy(numbers.data(), stated->data, 2 * sizeof(std::int64_t));
    if (numbers == shape_) return;
    is_sound_ = false;
    source_.complain(ErrorCode::kCorrupt, module_ + ".weight_shape",
                     fmt::format("expected {}, got {}", shape_text(shape_), shape_text(numbers)));
  }

  const CompressedScheme& s_;
  const std::string& module_;
  const std::vector<std::int64_t>& shape_;
  TensorSource& source_;
  std::string why_;
  bool is_sound_ = true;
};

/// The format of a group: its own, or that of the whole.
const FormatRule* read_format(const Json& block, const Json& group, const std::string& name, Problems& problems) {
  const Json* format = group.find("format");
  if (format == nullptr || format->is_null()) format = block.find("format");
  const FormatRule* rule = format && format->string() ? find_format(*format->string()) : nullptr;
  if (rule == nullptr) {
    problems.add(ErrorCode::kUnsupported,
                 fmt::format("{}.format: expected pack-quantized, float-quantized or nvfp4-pack-quantized, got {}",
                             name, format != nullptr ? format->describe() : "nothing"));
  }
  return rule;
}

/// Settings beside the groups that would change what the weights are.
void check_rest(const Json& block, Problems& problems) {
  const auto refuse = [&](std::string_view field, std::string_view expected, const Json& got) {
    problems.add(ErrorCode::kUnsupported,
                 fmt::format("quantization_config.{}: expected {}, got {}", field, expected, got.describe()));
  };
  const auto is_absent = [](const Json* value) {
    return value == nullptr || value->is_null() || (value->object() != nullptr && value->object()->empty());
  };
  const Json* status = block.find("quantization_status");
  if (!is_absent(status) && !(status->string() && *status->string() == "compressed"))
    refuse("quantization_status", "\"compressed\"", *status);
  if (const Json* transform = block.find("transform_config"); !is_absent(transform))
    refuse("transform_config", "none: weights must not be rotated", *transform);
  const Json* sparsity = block.find("sparsity_config");
  const Json* sparse = sparsity != nullptr ? sparsity->find("format") : nullptr;
  if (!is_absent(sparsity) && !(sparse && sparse->string() && *sparse->string() == "dense"))
    refuse("sparsity_config", "none: weights must be dense", *sparsity);
}

}  // namespace

std::string CompressedScheme::text() const {
  if (kind == Kind::kNvfp4) return "compressed-tensors nvfp4";
  if (kind == Kind::kFp8) return fmt::format("compressed-tensors fp8, a scale a {}", is_per_tensor ? "tensor" : "row");
  return fmt::format("compressed-tensors int, {} bits, {}{}", bits,
                     group_size > 0 ? fmt::format("groups of {}", group_size) : "a scale a row",
                     is_symmetric ? "" : ", zero points");
}

CompressedTensorsEncoding::CompressedTensorsEncoding(const Json& block, Problems& problems) {
  check_rest(block, problems);
  const Json* groups = block.find("config_groups");
  if (groups == nullptr || groups->object() == nullptr || groups->object()->empty()) {
    problems.add(fmt::format("quantization_config.config_groups: expected an object with groups, got {}",
                             groups != nullptr ? groups->describe() : "nothing"));
    return;
  }
  for (const auto& [key, group] : *groups->object()) {
    const std::string name = "quantization_config.config_groups." + printable(key, 60);
    const Json* weights = group.find("weights");
    if (weights == nullptr || weights->object() == nullptr) {
      problems.add(
          fmt::format("{}.weights: expected an object, got {}", name, weights ? weights->describe() : "nothing"));
    } else if (const FormatRule* rule = read_format(block, group, name, problems)) {
      const auto scheme = SchemeReader(*weights, name + ".weights", problems).read(*rule);
      if (scheme) schemes_.push_back(*scheme);
    }
  }
}

/// Of the schemes of this kind the one whose shapes are those of the tensors, or else the first; null if there is none.
const CompressedScheme* CompressedTensorsEncoding::scheme_of(Kind kind, const FileTensor* scale,
                                                             const std::vector<std::int64_t>& shape,
                                                             const FileTensor* packed, bool has_zero_point) const {
  const CompressedScheme* first = nullptr;
  for (const CompressedScheme& s : schemes_) {
    if (s.kind != kind) continue;
    if (first == nullptr) first = &s;
    const std::int64_t cols = shape.back(), scales = s.group_size > 0 ? cols / s.group_size : 1;
    const bool has_bits = kind != Kind::kInt || (packed != nullptr && !packed->shape.empty() &&
                                                 packed->shape.back() == (cols * s.bits + 31) / 32);
    const bool has_scales = scale != nullptr && !scale->shape.empty() && scale->shape.back() == scales &&
                            (scale->shape.size() == 1) == s.is_per_tensor;
    const bool has_zeros = kind != Kind::kInt || s.is_symmetric != has_zero_point;
    if (has_bits && has_scales && has_zeros) return &s;
  }
  return first;
}

StoredModule CompressedTensorsEncoding::find(const std::string& module, const std::vector<std::int64_t>& shape,
                                             TensorSource& source) const {
  const FileTensor* packed = source.find(module + ".weight_packed");
  const FileTensor* scale = source.find(module + ".weight_scale");
  const FileTensor* weight = source.find(module + ".weight");
  const bool is_fp8 = weight != nullptr && weight->dtype == "F8_E4M3";
  if (packed == nullptr && scale == nullptr && !is_fp8) return {};
  for (const char* activations : {".input_scale", ".input_global_scale"}) source.find(module + activations);

  Kind kind = packed == nullptr ? Kind::kFp8 : packed->dtype == "U8" ? Kind::kNvfp4 : Kind::kInt;
  if (packed == nullptr && weight == nullptr && !schemes_.empty())
    kind = schemes_.front().kind;  // names what is missing
  const bool has_zero_point = kind == Kind::kInt && source.find(module + ".weight_zero_point") != nullptr;
  const CompressedScheme* s = scheme_of(kind, scale, shape, packed, has_zero_point);
  const std::int64_t cols = shape.back();
  if (s == nullptr) {
    const FileTensor* tensor = packed != nullptr ? packed : weight;
    source.complain(ErrorCode::kCorrupt, module + (packed != nullptr ? ".weight_packed" : ".weight"),
                    fmt::format("expected one of the formats that config.json lists, got {}",
                                tensor != nullptr ? tensor->dtype : "nothing"));
    return {true, nullptr};
  }
  if (s->group_size > 0 && cols % s->group_size != 0) {
    source.complain(ErrorCode::kCorrupt, module + ".weight_scale",
                    fmt::format("expected none: rows of {} do not divide into groups of {}", cols, s->group_size));
    return {true, nullptr};
  }
  const auto parts = PartsReader(*s, module, shape, source).read();
  if (!parts) return {true, nullptr};
  return {true, compressed_matrix(*s, *parts, rows_of(shape), cols)};
}

}  // namespace kl
