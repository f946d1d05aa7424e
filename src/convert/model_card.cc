#include "convert/model_card.h"

#include <fmt/format.h>

#include <map>

#include "encodings/mlx_matrices.h"
#include "kl/version.h"
#include "packing/packed_name.h"

namespace kl {
namespace {

/// "affine, 4 bits, groups of 64", "BF16": how a module's numbers are held.
std::string encoding_of(const OutputModule& module) {
  if (module.mlx) return mlx_encoding_text(*module.mlx);
  const TensorSpec& spec = module.tensors.front().spec;
  if (spec.dtype != "U8") return spec.dtype;
  return spec.name.substr(spec.name.rfind('.') + 1);
}

/// A text in the quotes of YAML.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) >= ' ') out += c;
  }
  return out + '"';
}

std::string library_of(TargetFormat format) {
  switch (format) {
    case TargetFormat::kHf:
      return "transformers";
    case TargetFormat::kMlx:
      return "mlx";
    case TargetFormat::kGguf:
      return "gguf";
    case TargetFormat::kKl:
      break;
  }
  return "kl";
}

}  // namespace

std::string model_card(const SourceModel& source, const std::vector<OutputModule>& modules,
                       const ConvertOptions& options, const std::string& name) {
  std::map<std::string, std::int64_t> weights;  // by encoding
  double bits = 0, total = 0;
  for (const OutputModule& module : modules) {
    weights[encoding_of(module)] += module.source.size();
    total += static_cast<double>(module.source.size());
    bits += 8 * static_cast<double>(module.bytes());
  }
  const std::string base = source.path().lexically_normal().filename().empty()
                               ? source.path().lexically_normal().parent_path().filename().string()
                               : source.path().filename().string();
  std::string text = fmt::format(
      "---\nbase_model: {}\nlibrary_name: {}\npipeline_tag: text-generation\ntags:\n- kimi_linear\n- {}\nkl_version: "
      "\"{}\"\n"
      "bits_per_weight: {:.2f}\n",
      quoted(base), library_of(options.to), library_of(options.to), kVersion, bits / total);
  if (!options.command.empty()) text += "command: " + quoted(options.command) + "\n";
  text +=
      fmt::format("---\n\n# {}\n\n{} in the {} format, written by kl {}", name, base, name_of(options.to), kVersion);
  if (!options.command.empty()) text += fmt::format(":\n\n    {}", options.command);
  text += "\n\n| numbers | weights |\n|---|---|\n";
  for (const auto& [encoding, count] : weights) text += fmt::format("| {} | {} |\n", encoding, count);
  text += fmt::format("\n{:.2f} bits a weight. `sha256sum -c SHA256SUMS` checks the files.\n", bits / total);
  return text;
}

}  // namespace kl
