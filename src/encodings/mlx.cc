#include "encodings/mlx.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/printable.h"
#include "encodings/mlx_matrices.h"
#include "encodings/require_tensor.h"

namespace kl {
namespace {

/// A mode with the bits and groups it comes in, the usual ones first.
struct MlxModeRule {
  std::string_view name;
  MlxMode mode;
  std::array<int, 6> bits;  // zeros: none
  std::array<int, 3> groups;
};

constexpr MlxModeRule kModes[] = {
    {"affine", MlxMode::kAffine, {4, 2, 3, 5, 6, 8}, {64, 32, 128}},
    {"mxfp4", MlxMode::kMxfp4, {4}, {32}},
    {"mxfp8", MlxMode::kMxfp8, {8}, {32}},
    {"nvfp4", MlxMode::kNvfp4, {4}, {16}},
};

/// Reads a whole number that must be one of `allowed`; missing is the first of them.
template <std::size_t n>
int read_choice(const Json& block, std::string_view field, const std::array<int, n>& allowed, std::string_view mode,
                const std::string& name, Problems& problems) {
  const Json* value = block.find(field);
  if (value == nullptr || value->is_null()) return allowed.front();
  const auto number = value->integer();
  if (number && *number > 0 && std::find(allowed.begin(), allowed.end(), *number) != allowed.end())
    return static_cast<int>(*number);
  std::vector<int> choices;
  for (const int choice : allowed)
    if (choice > 0) choices.push_back(choice);
  std::sort(choices.begin(), choices.end());
  problems.add(ErrorCode::kUnsupported, fmt::format("{}.{}: expected {} for mode {}, got {}", name, field,
                                                    fmt::join(choices, ", "), mode, value->describe()));
  return allowed.front();
}

MlxSettings read_settings(const Json& block, const std::string& name, Problems& problems) {
  const Json* mode = block.find("mode");
  const MlxModeRule* rule = kModes;
  if (mode != nullptr && !mode->is_null()) {
    const auto is_it = [&](const MlxModeRule& r) { return mode->string() != nullptr && r.name == *mode->string(); };
    rule = std::find_if(std::begin(kModes), std::end(kModes), is_it);
    if (rule == std::end(kModes)) {
      problems.add(ErrorCode::kUnsupported,
                   fmt::format("{}.mode: expected affine, mxfp4, mxfp8 or nvfp4, got {}", name, mode->describe()));
      return {};
    }
  }
  return {rule->mode, read_choice(block, "bits", rule->bits, rule->name, name, problems),
          read_choice(block, "group_size", rule->groups, rule->name, name, problems)};
}

}  // namespace

MlxEncoding::MlxEncoding(const Json& block, const std::string& name, Problems& problems)
    : general_(read_settings(block, name, problems)) {
  for (const auto& [key, value] : *block.object()) {
    if (key == "group_size" || key == "bits" || key == "mode" || key == "quant_method" || value.is_null()) continue;
    const std::string path = name + "." + printable(key);
    if (value.object() != nullptr) {
      modules_[key] = read_settings(value, path, problems);
    } else if (value.boolean()) {
      modules_[key] = *value.boolean() ? std::optional(MlxSettings{}) : std::nullopt;
    } else {
      problems.add(fmt::format("{}: expected settings or false, got {}", path, value.describe()));
    }
  }
}

StoredModule MlxEncoding::find(const std::string& module, const std::vector<std::int64_t>& shape,
                               TensorSource& source) const {
  const FileTensor* scales = source.find(module + ".scales");
  const FileTensor* weight = source.find(module + ".weight");
  const auto entry = modules_.find(module);
  if (entry != modules_.end() && !entry->second) {
    if (scales != nullptr)
      source.complain(ErrorCode::kCorrupt, module + ".scales",
                      "expected none, as config.json says the module is not quantised");
    return {};
  }
  if (scales == nullptr && (weight == nullptr || (entry == modules_.end() && weight->dtype != "U32"))) return {};

  const MlxSettings s = entry != modules_.end() ? *entry->second : general_;
  const std::string why = mlx_encoding_text(s);
  const std::int64_t cols = shape.back();
  if (cols % s.group_size != 0) {
    source.complain(ErrorCode::kCorrupt, module + ".scales",
                    fmt::format("expected none: rows of {} do not divide into groups of {}", cols, s.group_size));
    return {true, nullptr};
  }
  const auto words = with_cols(shape, cols * s.bits / 32), groups = with_cols(shape, cols / s.group_size);
  const bool is_affine = s.mode == MlxMode::kAffine;
  MlxParts parts{require_tensor(source, module + ".weight", "U32", words, why),
                 require_tensor(source, module + ".scales", is_affine ? kAnyFloat : "U8", groups, why), nullptr};
  if (is_affine)
    parts.biases =
        require_tensor(source, module + ".biases", parts.scales ? parts.scales->dtype : kAnyFloat, groups, why);
  if (parts.weight == nullptr || parts.scales == nullptr || (is_affine && parts.biases == nullptr))
    return {true, nullptr};
  return {true, mlx_matrix(s, parts, rows_of(shape), cols)};
}

void MlxEncoding::check_modules(const std::function<bool(std::string_view)>& is_module, TensorSource& source) const {
  for (const auto& [module, settings] : modules_) {
    if (!is_module(module))
      source.complain(ErrorCode::kCorrupt, module,
                      "expected a module of the model, as config.json has settings for it, got none");
  }
}

}  // namespace kl
