"""Kimi Linear in plain PyTorch: small, complete, and named like the released model.

The modules' state dict has exactly the released checkpoint's tensor names and shapes, so saving and loading need no
mapping.  This file is written for reading and for training on a CPU; it has no cache and no generation loop.

Letters: B batch, T tokens, D hidden_size, H heads, K = V KDA head dim, R kv_lora_rank, P unrotated shared key dims,
N nope dims, E experts, A experts per token, F expert width.
"""

import torch
import torch.nn.functional as F
from torch import nn

from kda import CHUNK, chunk_kda, recurrent_kda

L2_EPS = 1e-6  # inside the square root of the q and k normalisation
KV_A_NORM_EPS = 1e-6  # kv_a_layernorm alone does not use rms_norm_eps


class KimiRMSNorm(nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class ShortConv1d(nn.Module):
    """Causal depthwise convolution followed by SiLU; weight[c, 0, -1] multiplies the current token."""

    def __init__(self, channels, kernel_size):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, kernel_size))

    def forward(self, x):
        """x, returns: [B, T, channels]."""
        T, W = x.shape[1], self.weight.shape[-1]
        padded = F.pad(x, (0, 0, W - 1, 0))
        y = sum(padded[:, j : j + T] * self.weight[:, 0, j] for j in range(W))
        return F.silu(y)


def linear(out_features, in_features):
    return nn.Linear(in_features, out_features, bias=False)


class KimiDeltaAttention(nn.Module):
    """Linear attention with a gated delta rule; see kda.py for the state update."""

    def __init__(self, config):
        super().__init__()
        cfg, D = config.linear_attn_config, config.hidden_size
        self.num_heads, self.head_dim = cfg.num_heads, cfg.head_dim
        width = cfg.num_heads * cfg.head_dim
        self.q_proj, self.k_proj, self.v_proj = linear(width, D), linear(width, D), linear(width, D)
        self.q_conv1d = ShortConv1d(width, cfg.short_conv_kernel_size)
        self.k_conv1d = ShortConv1d(width, cfg.short_conv_kernel_size)
        self.v_conv1d = ShortConv1d(width, cfg.short_conv_kernel_size)
        self.A_log = nn.Parameter(torch.zeros(1, 1, cfg.num_heads, 1))
        self.dt_bias = nn.Parameter(torch.zeros(width))
        self.f_a_proj, self.f_b_proj = linear(cfg.head_dim, D), linear(width, cfg.head_dim)
        self.b_proj = linear(cfg.num_heads, D)
        self.g_a_proj, self.g_b_proj = linear(cfg.head_dim, D), linear(width, cfg.head_dim)
        self.o_norm = KimiRMSNorm(cfg.head_dim, config.rms_norm_eps)
        self.o_proj = linear(D, width)

    def forward(self, x):
        """x, returns: [B, T, D]."""

        def heads(y):  # [B, T, H*K] -> [B, T, H, K]
            return y.unflatten(-1, (self.num_heads, self.head_dim))

        def l2_normalise(y):
            return y * torch.rsqrt(y.square().sum(-1, keepdim=True) + L2_EPS)

        q = l2_normalise(heads(self.q_conv1d(self.q_proj(x)))) * self.head_dim**-0.5
        k = l2_normalise(heads(self.k_conv1d(self.k_proj(x))))
        v = heads(self.v_conv1d(self.v_proj(x)))
        f = heads(self.f_b_proj(self.f_a_proj(x)) + self.dt_bias)
        g = -self.A_log.exp() * F.softplus(f)  # [B, T, H, K], natural-log decay
        beta = self.b_proj(x).sigmoid()  # [B, T, H]

        fast = self.training and x.shape[1] % CHUNK == 0
        o = (chunk_kda if fast else recurrent_kda)(q, k, v, g, beta)

        gate = heads(self.g_b_proj(self.g_a_proj(x))).sigmoid()
        return self.o_proj((self.o_norm(o) * gate).flatten(-2))


class KimiMLAAttention(nn.Module):
    """Full attention over a low-rank latent, without positions (expanded form, no cache)."""

    def __init__(self, config):
        super().__init__()
        c, D = config, config.hidden_size
        self.num_heads = c.num_attention_heads
        self.latent, self.nope, self.pe, self.value = (
            c.kv_lora_rank, c.qk_nope_head_dim, c.qk_rope_head_dim, c.v_head_dim,
        )  # fmt: skip
        self.q_proj = linear(self.num_heads * (self.nope + self.pe), D)
        self.kv_a_proj_with_mqa = linear(self.latent + self.pe, D)
        self.kv_a_layernorm = KimiRMSNorm(self.latent, KV_A_NORM_EPS)
        self.kv_b_proj = linear(self.num_heads * (self.nope + self.value), self.latent)
        self.o_proj = linear(D, self.num_heads * self.value)

    def forward(self, x):
        """x, returns: [B, T, D]."""
        H = self.num_heads
        q = self.q_proj(x).unflatten(-1, (H, -1))  # [B, T, H, N+P]
        latent, k_pe = self.kv_a_proj_with_mqa(x).split([self.latent, self.pe], dim=-1)
        kv = self.kv_b_proj(self.kv_a_layernorm(latent)).unflatten(-1, (H, -1))
        k_nope, v = kv.split([self.nope, self.value], dim=-1)
        # k_pe [B, T, P] is shared by all heads: neither normalised nor rotated.
        k = torch.cat([k_nope, k_pe.unsqueeze(-2).expand(-1, -1, H, -1)], dim=-1)
        q, k, v = (y.transpose(1, 2) for y in (q, k, v))
        # PyTorch's fused kernel wants values as wide as keys. Scale (N+P)^-1/2.
        v = F.pad(v, (0, q.shape[-1] - self.value))
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True)[..., : self.value]
        return self.o_proj(o.transpose(1, 2).flatten(-2))


class KimiMLP(nn.Module):
    """SwiGLU: the dense FFN and the shared expert."""

    def __init__(self, D, width):
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = linear(width, D), linear(width, D), linear(D, width)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class KimiExpert(nn.Module):
    """The same SwiGLU under the names that routed experts carry."""

    def __init__(self, D, width):
        super().__init__()
        self.w1, self.w2, self.w3 = linear(width, D), linear(D, width), linear(width, D)

    def forward(self, x):
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class KimiMoEGate(nn.Module):
    """Sigmoid router.  The correction bias takes part in choosing experts and never in weighting them."""

    def __init__(self, config):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config.num_experts, config.hidden_size))
        self.register_buffer("e_score_correction_bias", torch.zeros(config.num_experts))
        self.register_buffer("load", torch.zeros(config.num_experts), persistent=False)
        self.top_k, self.scaling = config.num_experts_per_token, config.routed_scaling_factor

    def forward(self, x):
        """x: [M, D].  Returns ids and weights, both [M, A]."""
        scores = F.linear(x, self.weight).sigmoid()  # [M, E]
        ids = (scores.detach() + self.e_score_correction_bias).topk(self.top_k, dim=-1).indices
        weights = scores.gather(-1, ids)
        if self.top_k > 1:
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        if self.training:
            self.load += torch.bincount(ids.flatten(), minlength=len(self.load))
        return ids, weights * self.scaling

    @torch.no_grad()
    def balance(self, rate):
        """Auxiliary-loss-free balancing: nudge busy experts down and idle ones up, then remove the common drift."""
        bias = self.e_score_correction_bias
        bias += rate * torch.sign(self.load.mean() - self.load)
        bias -= bias.mean()
        self.load.zero_()


class KimiSparseMoE(nn.Module):
    def __init__(self, config):
        super().__init__()
        D, width = config.hidden_size, config.moe_intermediate_size
        self.gate = KimiMoEGate(config)
        self.experts = nn.ModuleList(KimiExpert(D, width) for _ in range(config.num_experts))
        self.shared_experts = KimiMLP(D, width * config.num_shared_experts)

    def forward(self, x):
        """x, returns: [B, T, D].  Tokens are sorted by expert, so each expert runs once on a contiguous block."""
        tokens = x.flatten(0, 1)  # [M, D]
        ids, weights = self.gate(tokens)
        order = ids.flatten().argsort(stable=True)  # slots m*A + a, grouped by expert
        counts = torch.bincount(ids.flatten(), minlength=len(self.experts)).tolist()
        rows = order // ids.shape[-1]
        blocks = tokens.index_select(0, rows).split(counts)
        out = torch.cat([expert(block) for expert, block in zip(self.experts, blocks)])
        out = out * weights.flatten().index_select(0, order).unsqueeze(-1)
        return (self.shared_experts(tokens).index_add(0, rows, out)).view_as(x)


class KimiDecoderLayer(nn.Module):
    def __init__(self, config, layer, dropout):
        super().__init__()
        D, eps = config.hidden_size, config.rms_norm_eps
        self.input_layernorm = KimiRMSNorm(D, eps)
        self.self_attn = (KimiDeltaAttention if config.is_kda(layer) else KimiMLAAttention)(config)
        self.post_attention_layernorm = KimiRMSNorm(D, eps)
        if config.is_moe(layer):
            self.block_sparse_moe = KimiSparseMoE(config)
        else:
            self.mlp = KimiMLP(D, config.intermediate_size)
        self.ffn_name = "block_sparse_moe" if config.is_moe(layer) else "mlp"
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        x = x + self.dropout(self.self_attn(self.input_layernorm(x)))
        return x + self.dropout(getattr(self, self.ffn_name)(self.post_attention_layernorm(x)))


class KimiLinearModel(nn.Module):
    def __init__(self, config, dropout):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            KimiDecoderLayer(config, i, dropout) for i in range(config.num_hidden_layers)
        )
        self.norm = KimiRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids):
        """ids: [B, T] -> [B, T, D]."""
        x = self.dropout(self.embed_tokens(ids))
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


class KimiLinearForCausalLM(nn.Module):
    """In train() mode the clamped chunked KDA and dropout are active; in eval() mode neither is."""

    def __init__(self, config, dropout=0.0):
        super().__init__()
        self.config = config
        self.model = KimiLinearModel(config, dropout)
        self.lm_head = linear(config.vocab_size, config.hidden_size)

    def forward(self, ids):
        """ids: [B, T] -> logits [B, T, vocab]."""
        return self.lm_head(self.model(ids))

    def gates(self):
        return [m for m in self.modules() if isinstance(m, KimiMoEGate)]
