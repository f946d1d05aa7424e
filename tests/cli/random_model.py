"""Makes model folders of any shape and spelling with random weights that are healthy but hard.

    model = RandomModel(seed, kinds="KM", num_experts=6, ...)      config and weights, released spelling
    model.write(folder, naming="mlx", spelling="native", ...)      as this or that program would store them

Hard: decays from e^-50 a step to e^-0.00001, a head whose q and k nearly vanish, a correction bias that decides.
The random numbers are RandomState's, which numpy promises never to change.
"""
import json
import struct

import numpy as np

DEFAULTS = dict(
    vocab_size=67, hidden_size=48, rms_norm_eps=1e-5, tie_word_embeddings=False, num_attention_heads=2,
    q_lora_rank=None, kv_lora_rank=24, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=16, mla_use_nope=True,
    intermediate_size=56, num_experts=6, num_experts_per_token=2, num_shared_experts=1, moe_intermediate_size=24,
    first_k_dense_replace=1, moe_layer_freq=1, moe_renormalize=True, moe_router_activation_func="sigmoid",
    routed_scaling_factor=2.446, num_expert_group=1, topk_group=1, hidden_act="silu", rope_scaling=None,
    model_type="kimi_linear")
STAYS_F32 = ("A_log", "dt_bias", "e_score_correction_bias")


def round_bf16(x):
    """float32 to the nearest bfloat16, ties to even, still in float32."""
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


ROUND = {"F32": lambda x: x, "F16": lambda x: x.astype(np.float16).astype(np.float32), "BF16": round_bf16}
STORE = {"F32": lambda x: x.astype("<f4"), "F16": lambda x: x.astype("<f2"),
         "BF16": lambda x: (np.ascontiguousarray(x).view(np.uint32) >> 16).astype("<u2")}


def save(path, tensors):
    """Writes {name: (dtype, float32 array)} as safetensors."""
    header, blobs, at = {}, [], 0
    for name, (dtype, values) in tensors.items():
        blobs.append(STORE[dtype](values).tobytes())
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": [at, at + len(blobs[-1])]}
        at += len(blobs[-1])
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


class RandomModel:
    def __init__(self, seed, kinds="KM", kda_heads=2, kda_head_dim=16, conv_size=4, dtype="F32", **fields):
        self.random = np.random.RandomState(seed)
        self.dtype = dtype
        self.config = {**DEFAULTS, **fields, "num_hidden_layers": len(kinds)}
        self.config["num_key_value_heads"] = self.config["num_attention_heads"]
        self.config["linear_attn_config"] = {
            "kda_layers": [i + 1 for i, kind in enumerate(kinds) if kind == "K"],
            "full_attn_layers": [i + 1 for i, kind in enumerate(kinds) if kind == "M"],
            "num_heads": kda_heads, "head_dim": kda_head_dim, "short_conv_kernel_size": conv_size}
        self.weights = {}
        self._top()
        for i, kind in enumerate(kinds):
            p = f"model.layers.{i}."
            self._norm(p + "input_layernorm", self.config["hidden_size"])
            self._norm(p + "post_attention_layernorm", self.config["hidden_size"])
            self._kda(p + "self_attn.") if kind == "K" else self._mla(p + "self_attn.")
            first, step = self.config["first_k_dense_replace"], self.config["moe_layer_freq"]
            if self.config["num_experts"] > 0 and i >= first and i % step == 0:
                self._moe(p)
            else:
                self._mlp(p + "mlp.", self.config["intermediate_size"])

    # --- weights, released names ------------------------------------------------------------------------------------

    def _put(self, name, values):
        kept = "F32" if name.endswith(STAYS_F32) else self.dtype
        self.weights[name] = ROUND[kept](np.asarray(values, np.float32))

    def _linear(self, name, rows, cols, gain=1.0):
        self._put(name + ".weight", self.random.randn(rows, cols) * (gain / np.sqrt(cols)))

    def _norm(self, name, n):
        self._put(name + ".weight", self.random.uniform(0.5, 1.5, n))

    def _top(self):
        D, vocab = self.config["hidden_size"], self.config["vocab_size"]
        self._put("model.embed_tokens.weight", self.random.randn(vocab, D))
        self._norm("model.norm", D)
        if not self.config["tie_word_embeddings"]:
            self._linear("lm_head", vocab, D, gain=2)

    def _kda(self, p):
        kda, D = self.config["linear_attn_config"], self.config["hidden_size"]
        H, K, W = kda["num_heads"], kda["head_dim"], kda["short_conv_kernel_size"]
        for stream in "qkv":
            is_faint = (np.arange(H * K)[:, None] >= (H - 1) * K) & (stream != "v")  # q and k of the last head
            self._linear(f"{p}{stream}_proj", H * K, D, gain=np.where(is_faint, 1e-3, 1))
            self._put(f"{p}{stream}_conv1d.weight", self.random.randn(H * K, 1, W) * 0.4 + (np.arange(W) == W - 1))
        self._put(p + "A_log", np.log(self.random.uniform(1, 16, (1, 1, H, 1))))
        self._put(p + "dt_bias", self.random.uniform(-12, 3, H * K))
        for gate in "fg":
            self._linear(f"{p}{gate}_a_proj", K, D)
            self._linear(f"{p}{gate}_b_proj", H * K, K)
        self._linear(p + "b_proj", H, D, gain=2)
        self._norm(p + "o_norm", K)
        self._linear(p + "o_proj", D, H * K, gain=0.7)

    def _mla(self, p):
        c = self.config
        D, H, R, N, P, V = (c[name] for name in ("hidden_size", "num_attention_heads", "kv_lora_rank",
                                                 "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"))
        self._linear(p + "q_proj", H * (N + P), D, gain=1.5)
        self._linear(p + "kv_a_proj_with_mqa", R + P, D)
        self._norm(p + "kv_a_layernorm", R)
        self._linear(p + "kv_b_proj", H * (N + V), R)
        self._linear(p + "o_proj", D, H * V)

    def _mlp(self, p, width):
        D = self.config["hidden_size"]
        for name, rows, cols in (("gate_proj", width, D), ("up_proj", width, D), ("down_proj", D, width)):
            self._linear(p + name, rows, cols)

    def _moe(self, p):
        c, p = self.config, p + "block_sparse_moe."
        D, E, F = c["hidden_size"], c["num_experts"], c["moe_intermediate_size"]
        self._linear(p + "gate", E, D, gain=1.5)
        spread = 0.2 if c["moe_router_activation_func"] == "sigmoid" else 0.3 / E
        self._put(p + "gate.e_score_correction_bias", self.random.randn(E) * spread)
        for e in range(E):
            for name, rows, cols in (("w1", F, D), ("w3", F, D), ("w2", D, F)):
                self._linear(f"{p}experts.{e}.{name}", rows, cols)
        if c["num_shared_experts"]:
            self._mlp(p + "shared_experts.", F * c["num_shared_experts"])

    # --- other spellings --------------------------------------------------------------------------------------------

    def _stack_experts(self, tensors, i, names):
        """Removes an expert's w1, w3 or w2 from `tensors` and returns all experts' [E, rows, cols], joined by rows."""
        p = f"model.layers.{i}.block_sparse_moe.experts."
        return np.stack([np.concatenate([tensors.pop(f"{p}{e}.{name}.weight") for name in names])
                         for e in range(self.config["num_experts"])])

    def tensors(self, naming):
        """Weights under the names of: released, native (transformers in memory), mlx, mlx_old (whole kv_b_proj)."""
        t = dict(self.weights)
        if naming == "released":
            return t
        is_mlx = naming.startswith("mlx")
        for i in range(self.config["num_hidden_layers"]):
            p, a, m = (f"model.layers.{i}.{part}" for part in ("", "self_attn.", "mlp."))
            if f"{p}block_sparse_moe.gate.weight" in t:
                if is_mlx:
                    for mlx, released in (("gate", "w1"), ("up", "w3"), ("down", "w2")):
                        t[f"{m}switch_mlp.{mlx}_proj.weight"] = self._stack_experts(t, i, [released])
                    t[m + "e_score_correction_bias"] = t.pop(p + "block_sparse_moe.gate.e_score_correction_bias")
                else:
                    t[m + "experts.gate_up_proj"] = self._stack_experts(t, i, ["w1", "w3"])
                    t[m + "experts.down_proj"] = self._stack_experts(t, i, ["w2"])
            if a + "A_log" in t:
                if is_mlx:
                    for stream in "qkv":
                        conv = t.pop(f"{a}{stream}_conv1d.weight")
                        t[f"{a}{stream}_conv.conv.weight"] = conv.transpose(0, 2, 1)
                else:
                    t[a + "conv1d.weight"] = np.concatenate([t.pop(f"{a}{s}_conv1d.weight") for s in "qkv"])
                    for name in ("A_log", "dt_bias", "f_a_proj.weight", "f_b_proj.weight"):
                        t[f"{a}forget_gate.{name}"] = t.pop(a + name)
            if naming == "mlx" and a + "kv_b_proj.weight" in t:
                H, N = self.config["num_attention_heads"], self.config["qk_nope_head_dim"]
                kv_b = t.pop(a + "kv_b_proj.weight").reshape(H, -1, self.config["kv_lora_rank"])
                t[a + "embed_q.weight"], t[a + "unembed_out.weight"] = kv_b[:, :N].transpose(0, 2, 1), kv_b[:, N:]
        return {name.replace("block_sparse_moe", "mlp"): values for name, values in t.items()}

    def config_in(self, spelling):
        """config.json as released, or as transformers writes it ("native": flat fields, layers listed by type)."""
        c = dict(self.config)
        if spelling == "released":
            return c
        kda, layers = c.pop("linear_attn_config"), range(c["num_hidden_layers"])
        c["layer_types"] = ["linear_attention" if i + 1 in kda["kda_layers"] else "full_attention" for i in layers]
        first, step = c.pop("first_k_dense_replace"), c.pop("moe_layer_freq")
        c["mlp_layer_types"] = ["sparse" if i >= first and i % step == 0 else "dense" for i in layers]
        c["linear_num_heads"], c["linear_head_dim"] = kda["num_heads"], kda["head_dim"]
        c["linear_conv_kernel_dim"] = kda["short_conv_kernel_size"]
        for old, new in (("num_expert_group", "n_group"), ("num_experts", "num_local_experts"),
                         ("num_experts_per_token", "num_experts_per_tok"), ("num_shared_experts", "n_shared_experts"),
                         ("moe_renormalize", "norm_topk_prob"), ("moe_router_activation_func", "scoring_func")):
            c[new] = c.pop(old)
        return c

    def write(self, folder, naming="released", spelling="released", shards=1, reshape=None):
        """A model folder; `reshape` maps the end of a tensor's name to another shape that holds the same numbers."""
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(self.config_in(spelling)))
        tensors = {}
        for name, values in self.tensors(naming).items():
            for end, shape in (reshape or {}).items():
                values = values.reshape(shape) if name.endswith(end) else values
            tensors[name] = ("F32" if name.endswith(STAYS_F32) else self.dtype, values)
        if shards == 1:
            return save(folder / "model.safetensors", tensors)
        names, weight_map = sorted(tensors), {}
        for s in range(shards):
            file = f"model-{s + 1:05}-of-{shards:05}.safetensors"
            part = {name: tensors[name] for name in names[s::shards]}
            save(folder / file, part)
            weight_map.update(dict.fromkeys(part, file))
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))

    def draw_tokens(self, reference, length, clear=2e-5):
        """A random prompt in which no choice of experts is closer to a tie than `clear`, so that float32 must make the
        same; and what `reference` makes of it."""
        tokens = self.random.randint(0, self.config["vocab_size"], length)
        while True:
            arrays = reference.run(tokens)
            close = reference.margin < clear
            if not close.any():
                return tokens, arrays
            tokens[close] = self.random.randint(0, self.config["vocab_size"], close.sum())
