#include "model/fingerprint.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "base/sha256.h"

namespace kl {
namespace {

/// Digests weights in the order of the model.
class WeightDigest {
 public:
  /// Shape and type, and a page from the middle of its data.
  void matrix(const WeightMatrix& w) {
    text(fmt::format("{} {} {} {} {} {} {};", w.N, w.K, static_cast<int>(w.type), w.format.bits, w.format.group,
                     w.format.has_minimum, static_cast<int>(w.format.scale_type)));
    const std::ptrdiff_t bytes = w.type == DType::kPacked
                                     ? w.format.matrix_bytes(w.N, w.K)
                                     : ((w.N - 1) * w.stride + w.K) * static_cast<std::ptrdiff_t>(size_of(w.type));
    const std::ptrdiff_t count = std::min(bytes, kPage);
    hash_.update(static_cast<const std::byte*>(w.data) + (bytes - count) / 2, static_cast<std::size_t>(count));
  }

  /// All of a vector [count].
  void vector(const float* v, std::ptrdiff_t count) {
    hash_.update(v, static_cast<std::size_t>(count) * sizeof(float));
  }

  /// Text, and what has come of everything so far.
  void text(std::string_view t) { hash_.update(t.data(), t.size()); }
  std::string hex() { return hash_.hex(); }

 private:
  static constexpr std::ptrdiff_t kPage = 4096;
  Sha256 hash_;
};

/// The weights of a layer's half.
void add(WeightDigest& d, const ModelArgs& args, const KdaWeights& w) {
  const std::ptrdiff_t H = args.kda_num_heads, C = H * args.kda_head_dim, W = args.kda_conv_size;
  for (const WeightMatrix* m :
       {&w.q_proj, &w.k_proj, &w.v_proj, &w.f_a_proj, &w.f_b_proj, &w.b_proj, &w.g_a_proj, &w.g_b_proj, &w.o_proj}) {
    d.matrix(*m);
  }
  for (const float* taps : {w.q_conv, w.k_conv, w.v_conv}) d.vector(taps, W * C);
  d.vector(w.A_log, H);
  d.vector(w.dt_bias, C);
  d.vector(w.o_norm, args.kda_head_dim);
}

/// W_UK and W_UV of the first head stand for those of all.
void add(WeightDigest& d, const ModelArgs& args, const MlaWeights& w) {
  for (const WeightMatrix* m : {&w.q_proj, &w.kv_a_proj, &w.o_proj}) d.matrix(*m);
  d.vector(w.kv_a_norm, args.kv_lora_rank);
  for (const WeightMatrix* m : {&w.w_uk.front(), &w.w_uv.front()}) d.matrix(*m);
}

/// A dense layer, or an expert.
void add(WeightDigest& d, const ModelArgs&, const MlpWeights& w) {
  for (const WeightMatrix* m : {&w.gate_proj, &w.up_proj, &w.down_proj}) d.matrix(*m);
}

/// The first expert and the one in the middle stand for all.
void add(WeightDigest& d, const ModelArgs& args, const MoeWeights& w) {
  d.matrix(w.router);
  d.vector(w.correction_bias, args.num_experts);
  for (const std::size_t e : {std::size_t{0}, w.experts.size() / 2}) add(d, args, w.experts[e]);
  if (w.shared) add(d, args, *w.shared);
}

/// What the mathematics depends on: neither what the text side reads nor what is told for information.
std::string dimensions(ModelArgs args) {
  args.model_max_length = 0;
  args.bos_token_id = args.pad_token_id = -1;
  args.eos_token_ids.clear();
  args.dtype.clear();
  args.unknown_keys.clear();
  return args.to_json();
}

/// "model=" of the fingerprint.
std::string digest_of(const ModelArgs& args, const ModelWeights& weights) {
  WeightDigest d;
  d.text(dimensions(args));
  d.matrix(weights.embed_tokens);
  for (const LayerWeights& layer : weights.layers) {
    d.vector(layer.input_norm, args.hidden_size);
    std::visit([&](const auto& w) { add(d, args, w); }, layer.attention);
    d.vector(layer.post_attention_norm, args.hidden_size);
    std::visit([&](const auto& w) { add(d, args, w); }, layer.feed_forward);
  }
  d.vector(weights.norm, args.hidden_size);
  d.matrix(weights.lm_head);
  return d.hex();
}

/// As --cache-type spells it.
const char* name_of(LatentType type) {
  return type == LatentType::kF32 ? "f32" : type == LatentType::kBf16 ? "bf16" : "int8";
}

/// As --mla spells it.
const char* name_of(MlaForm form) {
  return form == MlaForm::kAuto ? "auto" : form == MlaForm::kAbsorbed ? "absorbed" : "expanded";
}

}  // namespace

std::string fingerprint_of(const ModelArgs& args, const ModelWeights& weights, const ModelOptions& options,
                           const ModelChoices& choices, const char* isa) {
  const bool is_reference = std::string_view(isa) == "reference";
  return fmt::format(
      "model={}\n--cache-type={}\n--state-type={}\n--compute={}\n--mla={}\n--router-weights={}\n--kv-a-eps={}\n"
      "--l2-eps={}\nKL_ISA={}\n",
      digest_of(args, weights), name_of(choices.settings.latents),
      choices.settings.kda_state == DType::kF32 ? "f32" : "bf16", options.compute == Compute::kAuto ? "auto" : "f32",
      name_of(options.mla_form), options.router_weights == RouterWeights::kHf ? "hf" : "unbiased", args.kv_a_norm_eps,
      args.l2_norm_eps, is_reference ? "reference" : "not reference");
}

}  // namespace kl
