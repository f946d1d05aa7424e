#include "convert/encoder_choice.h"

#include <fmt/format.h>

#include <algorithm>

#include "kl/error.h"
#include "packing/packed_name.h"

namespace kl {
namespace {

/// The type a flag names, if it is one of single floats.
std::optional<DType> float_type(const std::string& type) {
  if (type == "f32") return DType::kF32;
  if (type == "f16") return DType::kF16;
  if (type == "bf16") return DType::kBF16;
  return {};
}

bool is_quantised(const TargetModule& module) {
  return std::any_of(module.parts.begin(), module.parts.end(), [](const SourceMatrix& m) { return m.is_quantised(); });
}

/// The packed format that holds all parts as they are, if there is one.
std::optional<PackedFormat> common_format(const TargetModule& module) {
  const HeldForm form = module.parts.front().form();
  if (form.type != DType::kPacked) return {};
  const bool is_common =
      std::all_of(module.parts.begin(), module.parts.end(), [&](const SourceMatrix& m) { return m.form() == form; });
  return is_common ? std::optional(form.format) : std::nullopt;
}

[[noreturn]] void refuse(const TargetModule& module, const std::string& what) {
  throw Error(ErrorCode::kUnsupported, fmt::format("{}: {}", module.parts.front().tensor(), what));
}

/// Numbers of few bits would be rounded a second time.
void require_unquantised(const TargetModule& module, const std::string& hint) {
  const auto found =
      std::find_if(module.parts.begin(), module.parts.end(), [](const SourceMatrix& m) { return m.is_quantised(); });
  if (found == module.parts.end()) return;
  refuse(module, fmt::format("expected weights that are not quantised yet, got {} ones; {}", found->family(), hint));
}

}  // namespace

std::string module_path(const std::string& tensor) { return tensor.substr(0, tensor.rfind('.')); }

std::int64_t OutputModule::units() const {
  std::int64_t units = 0;
  for (const SourceMatrix& m : source.parts) units += (m.rows() + encoder->unit() - 1) / encoder->unit();
  return units;
}

std::int64_t OutputModule::bytes(std::size_t tensor) const {
  // A vector or convolution is one row of its source, whatever its shape.
  if (is_vector(*source.rule)) {
    const EncodedTensor& only = tensors.front();
    return only.row_bytes * (source.size() / source.shape.back());
  }
  return units() * tensors[tensor].row_bytes;
}

std::int64_t OutputModule::bytes() const {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) sum += bytes(i);
  return sum;
}

/// The type that all parts have or that holds all, unless the options name one.
DType EncoderChoice::plain_type(const TargetModule& module) const {
  if (const auto type = float_type(options_.type); type && cast_predicate(module.name)) return *type;
  const DType first = module.parts.front().form().type;
  const bool is_common = std::all_of(module.parts.begin(), module.parts.end(),
                                     [&](const SourceMatrix& m) { return m.form().type == first; });
  return is_common && first != DType::kPacked ? first : DType::kF32;
}

EncoderPtr EncoderChoice::choose_hf(const OutputModule& out) const {
  if (is_quantised(out.source) && !float_type(options_.type))
    refuse(out.source,
           "expected weights that are not quantised, which is all this format holds, got quantised ones; "
           "--type bf16 or f32 decodes them");
  return plain_encoder(plain_type(out.source));
}

EncoderPtr EncoderChoice::choose_mlx(OutputModule& out) const {
  const DType type = plain_type(out.source);
  const std::int64_t cols = out.source.shape.back();
  if (options_.mlx) {
    require_unquantised(out.source, "without --bits, --group-size and --mode their numbers are kept");
    const MlxSettings base{options_.mlx->is_mxfp4 ? MlxMode::kMxfp4 : MlxMode::kAffine, options_.mlx->bits,
                           options_.mlx->group_size};
    const auto rule =
        quant_predicate(out.source.name, is_vector(*out.source.rule) ? 1 : 2, cols, {base.bits, base.group_size});
    if (!rule || cols % base.group_size != 0) return plain_encoder(type);
    const bool is_router = out.source.rule->role == "moe.router";
    out.mlx = is_router ? MlxSettings{MlxMode::kAffine, rule->bits, rule->group_size} : base;
    return mlx_encoder(*out.mlx, type);
  }
  if (out.kept && !float_type(options_.type)) {
    if (cols % out.kept->group != 0) refuse(out.source, "expected rows of whole groups, got others");
    out.mlx = MlxSettings{MlxMode::kAffine, out.kept->bits, out.kept->group};
    return mlx_keeper(*out.kept);
  }
  out.kept.reset();
  return plain_encoder(type);
}

EncoderPtr EncoderChoice::choose_kl(OutputModule& out) const {
  if (is_vector(*out.source.rule)) return plain_encoder(DType::kF32);  // as the engine reads them: mapped
  if (packing_) {
    require_unquantised(out.source, "kl convert --to kl keeps their numbers");
    if (packing_->chosen != nullptr) {
      const auto it = packing_->chosen->find(module_path(out.source.name));
      if (it == packing_->chosen->end()) return plain_encoder(plain_type(out.source));
      return prepacked_encoder(it->second, out.source.parts.data());
    }
    const auto rule = quant_predicate(out.source.name, 2, out.source.shape.back(), packing_->rule);
    return rule ? packing_encoder(packed_format(*rule)) : plain_encoder(plain_type(out.source));
  }
  return out.kept ? packing_keeper(*out.kept) : plain_encoder(plain_type(out.source));
}

EncoderPtr EncoderChoice::choose_gguf(OutputModule& out) const {
  const std::string_view role = out.source.rule->role;
  // llama.cpp wants vectors, convolutions and the router in f32, whatever the rest is in.
  if (is_vector(*out.source.rule) || role == "moe.router") {
    out.kept.reset();
    return plain_encoder(DType::kF32, role == "kda.A_log");
  }
  if (options_.type == "q8_0" || options_.type == "q4_0") {
    require_unquantised(out.source, "--type keep keeps their numbers");
    const bool is_q8 = options_.type == "q8_0" || role == "lm_head";
    if (out.source.shape.back() % 32 != 0) return plain_encoder(plain_type(out.source));
    return ggml_encoder(*find_ggml_type(std::string_view(is_q8 ? "Q8_0" : "Q4_0")));
  }
  if (out.kept && options_.type == "keep") {
    if (EncoderPtr keeper = ggml_keeper(*out.kept)) return keeper;
    refuse(out.source,
           fmt::format("expected numbers that Q4_0, Q4_1 or Q8_0 hold as they are, got {}; --type bf16 or f32 "
                       "decodes them",
                       packed_suffix(*out.kept)));
  }
  out.kept.reset();
  return plain_encoder(plain_type(out.source));
}

OutputModule EncoderChoice::choose(TargetModule module) const {
  OutputModule out{std::move(module), {}, {}, {}, {}};
  out.kept = common_format(out.source);
  // Numbers in groups of 16 have a place in kl's files only.
  if (out.kept && out.kept->group == 16 && options_.to != TargetFormat::kKl) out.kept.reset();
  switch (options_.to) {
    case TargetFormat::kHf:
      out.kept.reset();
      out.encoder = choose_hf(out);
      break;
    case TargetFormat::kMlx:
      out.encoder = choose_mlx(out);
      break;
    case TargetFormat::kKl:
      out.encoder = choose_kl(out);
      break;
    case TargetFormat::kGguf:
      out.encoder = choose_gguf(out);
  }
  out.tensors = out.encoder->tensors(out.source.name, out.source.shape);
  return out;
}

}  // namespace kl
