#include "config/tensor_table.h"

#include <fmt/format.h>

#include <functional>
#include <numeric>
#include <set>
#include <utility>

namespace kl {
namespace {

using Shapes = std::vector<std::vector<std::int64_t>>;

/// Released name under block_sparse_moe., which transformers calls mlp. in memory.
std::vector<Spelling> under_moe(const std::string& name, const Shapes& shapes) {
  return {{Naming::kReleased, "block_sparse_moe." + name, shapes}, {Naming::kAny, "mlp." + name, shapes}};
}

std::vector<Spelling> operator+(std::vector<Spelling> a, std::vector<Spelling> b) {
  for (Spelling& spelling : b) a.push_back(std::move(spelling));
  return a;
}

bool is_top(Part part) { return part == Part::kTop || part == Part::kLmHead; }

}  // namespace

std::vector<TensorRule> tensor_rules(const ModelArgs& a) {
  // Letters as in docs/notation.md; besides, I: width of a dense MLP, h: KDA heads, C = h K, S: width of the shared
  // expert.
  const std::int64_t vocab = a.vocab_size, D = a.hidden_size, I = a.intermediate_size;
  const std::int64_t h = a.kda_num_heads, K = a.kda_head_dim, W = a.kda_conv_size, C = h * K;
  const std::int64_t H = a.num_attention_heads, R = a.kv_lora_rank, N = a.qk_nope_head_dim, P = a.qk_rope_head_dim,
                     V = a.v_head_dim;
  const std::int64_t E = a.num_experts, F = a.moe_intermediate_size, S = F * a.num_shared_experts;

  using enum Naming;
  using enum Part;

  // A weight of a linear layer, spelled alike everywhere but in GGUF files.
  const auto linear = [](Part part, std::string_view role, const std::string& name, const std::string& gguf,
                         std::int64_t rows, std::int64_t cols) {
    const Shapes shapes{{rows, cols}};
    return TensorRule{part, role, rows, cols, {{kAny, name + ".weight", shapes}, {kGguf, gguf + ".weight", shapes}}};
  };
  const auto norm = [](Part part, std::string_view role, const std::string& name, const std::string& gguf,
                       std::int64_t n) {
    return TensorRule{part, role, n, 1, {{kAny, name + ".weight", {{n}}}, {kGguf, gguf + ".weight", {{n}}}}};
  };
  // Those of q, k and v may be one tensor in a GGUF file.
  const auto kda_stream = [&](std::string_view role, const std::string& stream, std::int64_t index) {
    TensorRule rule = linear(kKda, role, "self_attn." + stream + "_proj", "attn_" + stream, C, D);
    rule.spellings.push_back({kGguf, "attn_qkv.weight", {{3 * C, D}}, index * C});
    return rule;
  };
  // transformers moves the forget gate into a module of its own.
  const auto forget_gate = [](std::string_view role, const std::string& name, const std::string& gguf,
                              std::int64_t rows, std::int64_t cols, const Shapes& shapes) {
    return TensorRule{kKda,
                      role,
                      rows,
                      cols,
                      {{kReleased, "self_attn." + name, shapes},
                       {kNative, "self_attn.forget_gate." + name, shapes},
                       {kGguf, gguf, shapes, 0, 0, false, name == "A_log"}}};
  };
  // Taps vary fastest in all layouts.  transformers stacks the three streams q, k, v in memory.
  const auto conv = [&](std::string_view role, const std::string& stream, std::int64_t index) {
    const Shapes one{{C, 1, W}, {C, W, 1}, {C, W}}, three{{3 * C, 1, W}, {3 * C, W, 1}, {3 * C, W}};
    const Shapes gguf{{C, 1, W}, {1, C, 1, W}, {C, W}};
    return TensorRule{kKda,
                      role,
                      C,
                      W,
                      {{kReleased, "self_attn." + stream + "_conv1d.weight", one},
                       {kMlx, "self_attn." + stream + "_conv.conv.weight", one},
                       {kNative, "self_attn.conv1d.weight", three, index * C},
                       {kGguf, "ssm_conv1d_" + stream + ".weight", gguf}}};
  };
  // w1 = gate, w3 = up, w2 = down.  Stacked forms hold expert after expert; transformers puts gate above up.
  const auto expert = [&](std::string_view role, const std::string& released, std::int64_t rows, std::int64_t cols,
                          Spelling native) {
    const std::string name(role.substr(role.find('.') + 1));  // gate_proj, up_proj or down_proj
    return TensorRule{
        kExpert, role, rows, cols,
        under_moe("experts.{e}." + released + ".weight", {{rows, cols}}) +
            under_moe("experts.{e}." + name + ".weight", {{rows, cols}}) +
            std::vector<Spelling>{
                {kMlx, "mlp.switch_mlp." + name + ".weight", {{E, rows, cols}}, 0, rows},
                std::move(native),
                {kGguf, "ffn_" + name.substr(0, name.find('_')) + "_exps.weight", {{E, rows, cols}}, 0, rows}}};
  };
  const auto shared = [](const std::string& name, std::int64_t rows, std::int64_t cols) {
    const Shapes shapes{{rows, cols}};
    std::vector<Spelling> spellings = under_moe("shared_experts." + name + "_proj.weight", shapes);
    spellings.push_back({kGguf, "ffn_" + name + "_shexp.weight", shapes});
    return spellings;
  };

  return {
      linear(kTop, "embed_tokens", "model.embed_tokens", "token_embd", vocab, D),

      norm(kLayer, "input_norm", "input_layernorm", "attn_norm", D),
      norm(kLayer, "post_attention_norm", "post_attention_layernorm", "ffn_norm", D),

      kda_stream("kda.q_proj", "q", 0),
      kda_stream("kda.k_proj", "k", 1),
      kda_stream("kda.v_proj", "v", 2),
      conv("kda.q_conv", "q", 0),
      conv("kda.k_conv", "k", 1),
      conv("kda.v_conv", "v", 2),
      forget_gate("kda.A_log", "A_log", "ssm_a", h, 1, {{1, 1, h, 1}, {h}, {h, 1}}),
      forget_gate("kda.dt_bias", "dt_bias", "ssm_dt.bias", C, 1, {{C}, {h, K}}),
      forget_gate("kda.f_a_proj", "f_a_proj.weight", "ssm_f_a.weight", K, D, {{K, D}}),
      forget_gate("kda.f_b_proj", "f_b_proj.weight", "ssm_f_b.weight", C, K, {{C, K}}),
      linear(kKda, "kda.b_proj", "self_attn.b_proj", "ssm_beta", h, D),
      linear(kKda, "kda.g_a_proj", "self_attn.g_a_proj", "ssm_g_a", K, D),
      linear(kKda, "kda.g_b_proj", "self_attn.g_b_proj", "ssm_g_b", C, K),
      norm(kKda, "kda.o_norm", "self_attn.o_norm", "ssm_norm", K),
      linear(kKda, "kda.o_proj", "self_attn.o_proj", "attn_output", D, C),

      linear(kMla, "mla.q_proj", "self_attn.q_proj", "attn_q", H * (N + P), D),
      linear(kMla, "mla.kv_a_proj", "self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa", R + P, D),
      norm(kMla, "mla.kv_a_norm", "self_attn.kv_a_layernorm", "attn_kv_a_norm", R),
      // kv_b_proj [H * (N + V), R] holds, head after head, N rows that make keys and V rows that make values.  mlx-lm
      // stores the halves apart, the keys' transposed.
      {kMla,
       "mla.w_uk",
       R,
       N,
       {{kAny, "self_attn.kv_b_proj.weight", {{H * (N + V), R}}, 0, N + V, true},
        {kMlx, "self_attn.embed_q.weight", {{H, R, N}}, 0, R},
        {kGguf, "attn_k_b.weight", {{H, R, N}}, 0, R},
        {kGguf, "attn_kv_b.weight", {{H * (N + V), R}}, 0, N + V, true}}},
      {kMla,
       "mla.w_uv",
       V,
       R,
       {{kAny, "self_attn.kv_b_proj.weight", {{H * (N + V), R}}, N, N + V},
        {kMlx, "self_attn.unembed_out.weight", {{H, V, R}}, 0, V},
        {kGguf, "attn_v_b.weight", {{H, V, R}}, 0, V},
        {kGguf, "attn_kv_b.weight", {{H * (N + V), R}}, N, N + V}}},
      linear(kMla, "mla.o_proj", "self_attn.o_proj", "attn_output", D, H * V),

      linear(kDense, "mlp.gate_proj", "mlp.gate_proj", "ffn_gate", I, D),
      linear(kDense, "mlp.up_proj", "mlp.up_proj", "ffn_up", I, D),
      linear(kDense, "mlp.down_proj", "mlp.down_proj", "ffn_down", D, I),

      {kMoe, "moe.router", E, D,
       under_moe("gate.weight", {{E, D}}) + std::vector<Spelling>{{kGguf, "ffn_gate_inp.weight", {{E, D}}}}},
      {kMoe, "moe.correction_bias", E, 1,
       under_moe("gate.e_score_correction_bias", {{E}}) +
           std::vector<Spelling>{{kMlx, "mlp.e_score_correction_bias", {{E}}}, {kGguf, "exp_probs_b.bias", {{E}}}},
       true},
      expert("expert.gate_proj", "w1", F, D, {kNative, "mlp.experts.gate_up_proj", {{E, 2 * F, D}}, 0, 2 * F}),
      expert("expert.up_proj", "w3", F, D, {kNative, "mlp.experts.gate_up_proj", {{E, 2 * F, D}}, F, 2 * F}),
      expert("expert.down_proj", "w2", D, F, {kNative, "mlp.experts.down_proj", {{E, D, F}}, 0, D}),
      {kShared, "shared.gate_proj", S, D, shared("gate", S, D)},
      {kShared, "shared.up_proj", S, D, shared("up", S, D)},
      {kShared, "shared.down_proj", D, S, shared("down", D, S)},

      norm(kTop, "norm", "model.norm", "output_norm", D),
      linear(kLmHead, "lm_head", "lm_head", "output", vocab, D),
  };
}

bool layer_has_part(const ModelArgs& args, int layer, Part part) {
  switch (part) {
    case Part::kKda:
      return args.is_kda(layer);
    case Part::kMla:
      return !args.is_kda(layer);
    case Part::kDense:
      return !args.is_moe(layer);
    case Part::kMoe:
    case Part::kExpert:
      return args.is_moe(layer);
    case Part::kShared:
      return args.is_moe(layer) && args.num_shared_experts > 0;
    default:
      return true;
  }
}

std::string tensor_name(const Spelling& spelling, Part part, int layer, std::int64_t expert) {
  if (spelling.naming == Naming::kGguf)
    return is_top(part) ? spelling.name : fmt::format("blk.{}.{}", layer, spelling.name);
  std::string name = is_top(part) ? spelling.name : fmt::format("model.layers.{}.{}", layer, spelling.name);
  if (const std::size_t at = name.find("{e}"); at != name.npos) name.replace(at, 3, std::to_string(expert));
  return name;
}

namespace {

/// Calls f(rule, number of tensors a layer) for every distinct tensor of the released checkpoint.
template <class F>
void for_each_released(const std::vector<TensorRule>& rules, const ModelArgs& args, F&& f) {
  for (const TensorRule& rule : rules) {
    if (rule.role == "mla.w_uv") continue;  // the other half of w_uk's kv_b_proj
    if (rule.part == Part::kLmHead && args.tie_word_embeddings) continue;
    f(rule, rule.part == Part::kExpert ? args.num_experts : 1);
  }
}

/// Counts `copies` tensors of this rule.
void add_size(const TensorRule& rule, double copies, ReleasedSize& size) {
  double elements = 1;
  for (const std::int64_t dim : rule.spellings.front().shapes.front()) elements *= static_cast<double>(dim);
  size.parameters += copies * elements;
  size.tensors += copies;
}

/// The layers first .. last - 1.
ReleasedSize size_of_layers(const ModelArgs& args, int first, int last) {
  ReleasedSize size;
  for_each_released(tensor_rules(args), args, [&](const TensorRule& rule, int copies) {
    if (is_top(rule.part)) return;
    int num_layers = 0;
    for (int layer = first; layer < last; ++layer) num_layers += layer_has_part(args, layer, rule.part);
    add_size(rule, static_cast<double>(copies) * num_layers, size);
  });
  return size;
}

}  // namespace

std::vector<ReleasedTensor> released_tensors(const ModelArgs& args) {
  const std::vector<TensorRule> rules = tensor_rules(args);
  std::vector<ReleasedTensor> tensors;
  const auto add = [&](const TensorRule& rule, int layer, int copies) {
    const Spelling& spelling = rule.spellings.front();
    for (int e = 0; e < copies; ++e) {
      tensors.push_back({tensor_name(spelling, rule.part, layer, e), spelling.shapes.front(), rule.role, layer});
    }
  };
  for_each_released(rules, args, [&](const TensorRule& rule, int copies) {
    if (rule.role == "embed_tokens") add(rule, -1, copies);
  });
  for (int layer = 0; layer < args.num_hidden_layers; ++layer) {
    for_each_released(rules, args, [&](const TensorRule& rule, int copies) {
      if (!is_top(rule.part) && layer_has_part(args, layer, rule.part)) add(rule, layer, copies);
    });
  }
  for_each_released(rules, args, [&](const TensorRule& rule, int copies) {
    if (is_top(rule.part) && rule.role != "embed_tokens") add(rule, -1, copies);
  });
  return tensors;
}

ReleasedSize released_layer_size(const ModelArgs& args, int layer) { return size_of_layers(args, layer, layer + 1); }

ReleasedSize released_size(const ModelArgs& args) {
  ReleasedSize size = size_of_layers(args, 0, args.num_hidden_layers);
  for_each_released(tensor_rules(args), args, [&](const TensorRule& rule, int) {
    if (is_top(rule.part)) add_size(rule, 1, size);
  });
  return size;
}

}  // namespace kl
