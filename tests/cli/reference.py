"""Kimi Linear as its equations say, in numpy: loops over tokens, no cache, nothing fast.

Written from the equations (docs/kda.md, mla.md, moe.md) and apart from the C++ code, so that a mistake would have to be
made twice; its results equal the float64 goldens of tests/golden/oracle.
Letters are those of docs/notation.md; weights are [out, in] and y = W x, so rows of tokens X [T, in] give X @ W.T.

    logits = Reference(config, weights).run(tokens)["logits"]       # float64: the truth
    Reference(config, weights, dtype=np.float32)                    # what plain float32 makes of the same equations

`config` is config.json in the released spelling; `weights` has the released names; run() returns arrays under the
names of `kl logits`.
"""
import numpy as np


def sigmoid(x):
    """1 / (1 + e^-x)"""
    with np.errstate(over="ignore"):  # e^88 is too much for float32, and 1 / inf is right
        return 1 / (1 + np.exp(-x))


def silu(x):
    """x sigmoid(x)"""
    return x * sigmoid(x)


def softplus(x):
    """ln(1 + e^x)"""
    return np.logaddexp(0, x)


def softmax(x):
    """e^x / sum e^x over the last axis; -inf gives 0."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def rms_norm(x, w, eps):
    """w x / sqrt(mean x^2 + eps) over the last axis."""
    return w * (x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps))


def l2_norm(x, eps):
    """x / sqrt(sum x^2 + eps) over the last axis."""
    return x / np.sqrt((x * x).sum(axis=-1, keepdims=True) + eps)


def swiglu(x, gate, up, down):
    """down (silu(gate x) * up x)"""
    return (silu(x @ gate.T) * (x @ up.T)) @ down.T


def short_conv(r, w):
    """z_t = sum_j w_j r_(t - (W-1) + j) for every channel, then SiLU; before the first token r is 0.

    r [T, C], w [C, W]; w[:, W-1] multiplies the current token.
    """
    T, W = len(r), w.shape[1]
    padded = np.concatenate([np.zeros((W - 1, r.shape[1]), r.dtype), r])
    return silu(sum(w[:, j] * padded[j:j + T] for j in range(W)))


def last_rows(r, count):
    """The last `count` rows, with rows of zeros before the first token: what a short convolution remembers."""
    return np.concatenate([np.zeros((count, r.shape[1]), r.dtype), r])[len(r):]


def delta_rule(q, k, v, alpha, beta):
    """The recurrence of KDA for all heads; decay, read with k, write, read with q:

        S <- diag(alpha_t) S;   u = beta_t (v_t - S^T k_t);   S <- S + k_t u^T;   o_t = S^T q_t

    q, k, alpha [T, H, K], v [T, H, V], beta [T, H]; returns o [T, H, V] and the last S [H, K, V].
    """
    T, H, K = q.shape
    S = np.zeros((H, K, v.shape[2]), q.dtype)
    o = np.empty_like(v)
    for t in range(T):
        S = alpha[t, :, :, None] * S
        u = beta[t, :, None] * (v[t] - (k[t, :, None, :] @ S)[:, 0])
        S = S + k[t, :, :, None] * u[:, None, :]
        o[t] = (q[t, :, None, :] @ S)[:, 0]
    return o, S


def choose(candidates, groups, topk_group, count):
    """The `count` largest candidates of one token, ascending by index, and by how much the choice was clear.

    With groups, a group is worth the sum of its two largest candidates, and only the topk_group best are looked at.
    """
    margin = np.inf
    if groups > 1:
        grouped = candidates.reshape(groups, -1)
        worth = np.sort(grouped, axis=1)[:, -2:].sum(axis=1)
        best, margin = choose(worth, 1, 1, topk_group)
        candidates = np.full_like(grouped, -np.inf)
        candidates[best] = grouped[best]
        candidates = candidates.reshape(-1)
    order = np.argsort(-candidates, kind="stable")
    if count < len(order):
        margin = min(margin, candidates[order[count - 1]] - candidates[order[count]])
    return np.sort(order[:count]), margin


class Reference:
    """The model in the arithmetic of `dtype`."""

    def __init__(self, config, weights, dtype=np.float64, kv_a_eps=1e-6, l2_eps=1e-6, router_weights="unbiased"):
        self.c, self.dtype = config, dtype
        self.w = {name: np.asarray(w, dtype) for name, w in weights.items()}
        self.kv_a_eps, self.l2_eps, self.is_biased = dtype(kv_a_eps), dtype(l2_eps), router_weights == "hf"
        self.eps = dtype(config.get("rms_norm_eps", 1e-6))
        self.kda = config.get("linear_attn_config") or {}

    def is_kda(self, i):
        return i + 1 in self.kda.get("kda_layers", [])  # the list counts from 1

    def is_moe(self, i):
        first, step = self.c.get("first_k_dense_replace", 0), self.c.get("moe_layer_freq", 1)
        return bool(self.c.get("num_experts")) and i >= first and i % step == 0

    def run(self, tokens):
        """x <- x + attention(norm(x));  x <- x + ffn(norm(x)) in every layer;  logits = lm_head norm(x)"""
        out = {}
        self.margin = np.full(len(tokens), np.inf)  # how close the choice of experts for each token came to a tie
        x = self.w["model.embed_tokens.weight"][tokens]
        for i in range(self.c["num_hidden_layers"]):
            p = f"model.layers.{i}."
            attention = self.delta_attention if self.is_kda(i) else self.mla
            x = x + attention(p, rms_norm(x, self.w[p + "input_layernorm.weight"], self.eps), out)
            h = rms_norm(x, self.w[p + "post_attention_layernorm.weight"], self.eps)
            x = x + (self.moe(p, h, out) if self.is_moe(i) else self.mlp(p + "mlp.", h))
            out[f"layer.{i}.hidden"] = x
        head = self.w["model.embed_tokens.weight" if self.c.get("tie_word_embeddings") else "lm_head.weight"]
        out["logits"] = rms_norm(x, self.w["model.norm.weight"], self.eps) @ head.T
        return out

    def delta_attention(self, p, x, out):
        """Kimi Delta Attention (docs/kda.md).  x [T, D] -> [T, D]

            q, k = l2norm(silu(conv(W x)));  v = silu(conv(W_v x));  q is scaled by K^-1/2
            alpha = exp(-exp(A_log) softplus(W_fb W_fa x + dt_bias));   beta = sigmoid(W_b x)
            y = W_o (rms_norm(o) * sigmoid(W_gb W_ga x))
        """
        T, H, K, W = len(x), self.kda["num_heads"], self.kda["head_dim"], self.kda.get("short_conv_kernel_size", 4)
        w = {name: self.w[p + "self_attn." + name] for name in ("A_log", "dt_bias")}
        linear = lambda name, x: x @ self.w[f"{p}self_attn.{name}.weight"].T
        heads = lambda a: a.reshape(T, H, K)

        raw = [linear(stream + "_proj", x) for stream in "qkv"]
        q, k, v = (heads(short_conv(r, self.w[f"{p}self_attn.{stream}_conv1d.weight"].reshape(H * K, W)))
                   for r, stream in zip(raw, "qkv"))
        q = l2_norm(q, self.l2_eps) / np.sqrt(self.dtype(K))
        k = l2_norm(k, self.l2_eps)
        f = linear("f_b_proj", linear("f_a_proj", x)) + w["dt_bias"].reshape(-1)
        alpha = np.exp(-np.exp(w["A_log"].reshape(H, 1)) * softplus(heads(f)))
        o, S = delta_rule(q, k, v, alpha, sigmoid(linear("b_proj", x)))
        gate = heads(linear("g_b_proj", linear("g_a_proj", x)))
        y = rms_norm(o, self.w[p + "self_attn.o_norm.weight"], self.eps) * sigmoid(gate)

        layer = p[len("model."):].replace("layers", "layer")
        out[layer + "kda_state"] = S
        out[layer + "conv_state"] = np.stack([last_rows(r, W - 1) for r in raw])
        return linear("o_proj", y.reshape(T, H * K))

    def mla(self, p, x, out):
        """Multi-head latent attention without positions (docs/mla.md), expanded.  x [T, D] -> [T, D]

            c = rms_norm(first R of W_kva x), k_p = the other P;   [k_n | v] of head h = W_kvb,h c
            score(t, s) = (q_n(t) . k_n(s) + q_p(t) . k_p(s)) / sqrt(N + P) for s <= t;   o = softmax(score) v
        """
        c, T = self.c, len(x)
        H, R, N, P, V = (c[name] for name in ("num_attention_heads", "kv_lora_rank", "qk_nope_head_dim",
                                              "qk_rope_head_dim", "v_head_dim"))
        linear = lambda name, x: x @ self.w[f"{p}self_attn.{name}.weight"].T

        q = linear("q_proj", x).reshape(T, H, N + P)
        a = linear("kv_a_proj_with_mqa", x)
        latent, k_pe = rms_norm(a[:, :R], self.w[p + "self_attn.kv_a_layernorm.weight"], self.kv_a_eps), a[:, R:]
        kv = linear("kv_b_proj", latent).reshape(T, H, N + V)
        future = np.triu(np.ones((T, T), bool), 1)
        o = np.empty((T, H, V), x.dtype)
        for h in range(H):
            scores = (q[:, h, :N] @ kv[:, h, :N].T + q[:, h, N:] @ k_pe.T) / np.sqrt(self.dtype(N + P))
            o[:, h] = softmax(np.where(future, -np.inf, scores)) @ kv[:, h, N:]

        layer = p[len("model."):].replace("layers", "layer")
        out[layer + "mla_latent"], out[layer + "mla_k_pe"] = latent, k_pe
        return linear("o_proj", o.reshape(T, H * V))

    def mlp(self, p, x):
        return swiglu(x, *(self.w[f"{p}{name}_proj.weight"] for name in ("gate", "up", "down")))

    def moe(self, p, x, out):
        """Mixture of experts (docs/moe.md).  x [T, D] -> [T, D]

            s = sigmoid(W_g x), or softmax;   I = indices of the A largest s + bias
            w = s_I (/ sum s_I) * scale;      y = sum over e in I of w_e expert_e(x) + shared(x)

        The bias takes part in the choice alone (the code released with the model weighs by s + bias: "hf").
        """
        c, T, A = self.c, len(x), self.c["num_experts_per_token"]
        m = p + "block_sparse_moe."
        act = softmax if c.get("moe_router_activation_func") == "softmax" else sigmoid
        scores = act(x @ self.w[m + "gate.weight"].T)
        candidates = scores + self.w[m + "gate.e_score_correction_bias"]
        ids = np.empty((T, A), np.int32)
        for t in range(T):
            ids[t], margin = choose(candidates[t], c.get("num_expert_group", 1), c.get("topk_group", 1), A)
            self.margin[t] = min(self.margin[t], margin)
        weights = np.take_along_axis(candidates if self.is_biased else scores, ids, axis=1)
        if c.get("moe_renormalize", True) and A > 1:
            weights = weights / (weights.sum(axis=1, keepdims=True) + self.dtype(1e-20))
        weights = weights * self.dtype(c.get("routed_scaling_factor", 1.0))

        y = self.mlp(m + "shared_experts.", x) if c.get("num_shared_experts") else np.zeros_like(x)
        for e in range(c["num_experts"]):
            t, a = np.nonzero(ids == e)
            expert = [self.w[f"{m}experts.{e}.{name}.weight"] for name in ("w1", "w3", "w2")]
            y[t] += weights[t, a, None] * swiglu(x[t], *expert)

        layer = p[len("model."):].replace("layers", "layer")
        out[layer + "router_ids"], out[layer + "router_weights"] = ids, weights
        return y
