"""Writes GGUF files: any metadata and tensors, random models in every type of block, vocabularies.

    write_gguf(path, metadata, tensors)             tensors {name: (type, shape with the slowest dimension first, bytes)}
    model = BlockModel(seed, "Q4_K", kinds="KM")    a RandomModel whose matrices are random blocks
    model.write_gguf(path)                          and its weights are what those blocks mean
"""
import base64
import struct

import numpy as np
from gguf_blocks import TYPES, decode, random_matrix
from random_model import RandomModel

UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data


def packed(value):
    """A Python value with its type in front: int u32, float f32, lists of int i32."""
    if isinstance(value, bool):
        return struct.pack("<IB", BOOL, value)
    if isinstance(value, (int, np.integer)):
        return struct.pack("<II", UINT32, value)
    if isinstance(value, float):
        return struct.pack("<If", FLOAT32, value)
    if isinstance(value, (str, bytes)):
        return struct.pack("<I", STRING) + text(value)
    if value and isinstance(value[0], (str, bytes)):
        return struct.pack("<IIQ", ARRAY, STRING, len(value)) + b"".join(map(text, value))
    return struct.pack("<IIQ", ARRAY, INT32, len(value)) + np.asarray(value, "<i4").tobytes()


def write_gguf(path, metadata, tensors, alignment=32):
    infos, blobs, at = b"", [], 0
    for name, (kind, shape, data) in tensors.items():
        infos += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), TYPES[kind][0], at)
        blobs.append(data + bytes(-len(data) % alignment))
        at += len(blobs[-1])
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    head += b"".join(text(key) + packed(value) for key, value in metadata.items()) + infos
    path.write_bytes(head + bytes(-len(head) % alignment) + b"".join(blobs))


def write_split(path, metadata, tensors, parts):
    """The same as `parts` files beside `path`; answers the first."""
    names, files = list(tensors), [path.with_name(f"{path.stem}-{i + 1:05}-of-{parts:05}.gguf") for i in range(parts)]
    for i, file in enumerate(files):
        split = {"split.no": i, "split.count": parts, "split.tensors.count": len(names)}
        write_gguf(file, {**(metadata if i == 0 else {}), **split},
                   {name: tensors[name] for name in names[i * len(names) // parts:(i + 1) * len(names) // parts]})
    return files[0]


# --- vocabularies -------------------------------------------------------------------------------------------------------

def gpt2_alphabet():
    """{byte: character}: printable bytes stand for themselves, the others are U+0100 and on."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(rest)}}


ALPHABET = gpt2_alphabet()


def spell(token):
    return "".join(ALPHABET[b] for b in token)


def read_ranks(path):
    """The tokens of a tiktoken.model, by rank."""
    return [base64.b64decode(line.split()[0]) for line in path.read_bytes().splitlines()]


def halves(ranks, token, rank):
    """What merges of lower rank than its own make of a token."""
    parts = [token[i:i + 1] for i in range(len(token))]
    while True:
        pairs = [(ranks.get(a + b, rank), i) for i, (a, b) in enumerate(zip(parts, parts[1:]))]
        lowest, i = min(pairs, default=(rank, 0))
        if lowest >= rank:
            return parts
        parts[i:i + 2] = [parts[i] + parts[i + 1]]


def vocabulary(tokens, control):
    """Metadata of a tokenizer; `control` names the ids behind the ranks: a name, (name, type), or None if unused."""
    ranks = {token: i for i, token in enumerate(tokens)}
    merges = [halves(ranks, token, i) for i, token in enumerate(tokens) if len(token) > 1]
    names = [name if isinstance(name, tuple) else (name, 3) if name else (f"[PAD{len(tokens) + i}]", 5)
             for i, name in enumerate(control)]
    metadata = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "kimi-k2",
                "tokenizer.ggml.tokens": [spell(token) for token in tokens] + [name for name, _ in names],
                "tokenizer.ggml.token_type": [1] * len(tokens) + [kind for _, kind in names],
                "tokenizer.ggml.merges": [f"{spell(m[0])} {spell(m[1])}" for m in merges if len(m) == 2]}
    return metadata if merges else {key: value for key, value in metadata.items() if value}


# --- models -------------------------------------------------------------------------------------------------------------

NAMES = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
         "lm_head.weight": "output.weight"}
LAYER_NAMES = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.q_conv1d": "ssm_conv1d_q", "self_attn.k_conv1d": "ssm_conv1d_k", "self_attn.v_conv1d": "ssm_conv1d_v",
    "self_attn.f_a_proj": "ssm_f_a", "self_attn.f_b_proj": "ssm_f_b", "self_attn.b_proj": "ssm_beta",
    "self_attn.g_a_proj": "ssm_g_a", "self_attn.g_b_proj": "ssm_g_b", "self_attn.o_norm": "ssm_norm",
    "self_attn.o_proj": "attn_output", "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
    "self_attn.kv_a_layernorm": "attn_kv_a_norm", "self_attn.kv_b_proj": "attn_kv_b",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "block_sparse_moe.gate": "ffn_gate_inp", "block_sparse_moe.shared_experts.gate_proj": "ffn_gate_shexp",
    "block_sparse_moe.shared_experts.up_proj": "ffn_up_shexp",
    "block_sparse_moe.shared_experts.down_proj": "ffn_down_shexp"}
STAYS_F32 = ("norm", "conv1d", "block_sparse_moe.gate")


def gguf_name(name):
    if name in NAMES:
        return NAMES[name]
    _, _, layer, rest = name.split(".", 3)
    special = {"self_attn.A_log": "ssm_a", "self_attn.dt_bias": "ssm_dt.bias",
               "block_sparse_moe.gate.e_score_correction_bias": "exp_probs_b.bias"}
    return f"blk.{layer}." + (special.get(rest) or LAYER_NAMES[rest.removesuffix(".weight")] + ".weight")


class BlockModel(RandomModel):
    """Matrices are drawn as blocks of `kind`, or of `narrow` where rows are no whole blocks, as quantisers do.

    `legacy`: kv_b_proj in one piece, as old files have it."""

    def __init__(self, seed, kind, narrow="Q8_0", legacy=False, **fields):
        super().__init__(seed, **fields)
        self.kind, self.narrow, self.legacy = kind, narrow, legacy
        self.blocks = {}
        for name, values in list(self.weights.items()):
            if values.ndim == 2 and not any(part in name for part in STAYS_F32):
                self._draw(name, values)

    def _type_for(self, cols):
        return next(kind for kind in (self.kind, self.narrow, "F16") if cols % TYPES[kind][1] == 0)

    def _draw(self, name, values):
        if name.endswith("kv_b_proj.weight") and not self.legacy:
            return self._draw_kv_b(name)
        rows, cols = values.shape
        gain = float(np.sqrt(np.mean(values.astype(np.float64) ** 2) * cols))
        self.blocks[name] = self._matrix(rows, cols, gain)
        self.weights[name] = self._numbers(self.blocks[name]).reshape(rows, cols)

    def _matrix(self, rows, cols, gain):
        kind = self._type_for(cols)
        return kind, random_matrix(kind, self.random, rows, cols, gain)

    @staticmethod
    def _numbers(drawn):
        return decode(*drawn)

    def _draw_kv_b(self, name):
        """The halves by themselves: keys transposed [H, R, N], values [H, V, R]."""
        H, R, N, V = (self.config[field] for field in ("num_attention_heads", "kv_lora_rank", "qk_nope_head_dim",
                                                       "v_head_dim"))
        prefix = gguf_name(name).removesuffix("attn_kv_b.weight")
        keys, values = self._matrix(H * R, N, np.sqrt(N / R)), self._matrix(H * V, R, 1)
        self.blocks[prefix + "attn_k_b.weight"], self.blocks[prefix + "attn_v_b.weight"] = keys, values
        k, v = self._numbers(keys).reshape(H, R, N), self._numbers(values).reshape(H, V, R)
        self.weights[name] = np.concatenate([k.transpose(0, 2, 1), v], axis=1).reshape(-1, R)

    def gguf_tensors(self):
        H, R, N, V, E = (self.config[field] for field in ("num_attention_heads", "kv_lora_rank", "qk_nope_head_dim",
                                                          "v_head_dim", "num_experts"))
        tensors = {}
        for name, values in self.weights.items():
            if ".experts." in name:
                if ".experts.0." in name:
                    stack = [self.blocks[name.replace(".experts.0.", f".experts.{e}.")] for e in range(E)]
                    layer, which = name.split(".")[2], {"w1": "gate", "w3": "up", "w2": "down"}[name.split(".")[-2]]
                    tensors[f"blk.{layer}.ffn_{which}_exps.weight"] = (
                        stack[0][0], (E, *values.shape), b"".join(blocks.tobytes() for _, blocks in stack))
            elif name.endswith("kv_b_proj.weight") and not self.legacy:
                prefix = gguf_name(name).removesuffix("attn_kv_b.weight")
                for half, shape in (("attn_k_b.weight", (H, R, N)), ("attn_v_b.weight", (H, V, R))):
                    kind, blocks = self.blocks[prefix + half]
                    tensors[prefix + half] = (kind, shape, blocks.tobytes())
            elif name in self.blocks:
                kind, blocks = self.blocks[name]
                tensors[gguf_name(name)] = (kind, values.shape, blocks.tobytes())
            else:
                values = -np.exp(values.reshape(-1, 1).astype(np.float64)) if name.endswith("A_log") else values
                tensors[gguf_name(name)] = ("F32", values.shape, values.astype("<f4").tobytes())
        return tensors

    def metadata(self):
        c, kda = self.config, self.config["linear_attn_config"]
        fields = {
            "block_count": c["num_hidden_layers"], "context_length": 4096, "embedding_length": c["hidden_size"],
            "feed_forward_length": c["intermediate_size"], "attention.head_count": c["num_attention_heads"],
            "attention.head_count_kv": [0 if i + 1 in kda["kda_layers"] else 1 for i in range(c["num_hidden_layers"])],
            "attention.key_length_mla": c["qk_nope_head_dim"] + c["qk_rope_head_dim"],
            "attention.value_length_mla": c["v_head_dim"], "attention.kv_lora_rank": c["kv_lora_rank"],
            "attention.layer_norm_rms_epsilon": c["rms_norm_eps"], "rope.dimension_count": c["qk_rope_head_dim"],
            "ssm.conv_kernel": kda["short_conv_kernel_size"], "kda.head_dim": kda["head_dim"],
            "expert_count": c["num_experts"], "expert_used_count": c["num_experts_per_token"],
            "expert_feed_forward_length": c["moe_intermediate_size"], "expert_shared_count": c["num_shared_experts"],
            "leading_dense_block_count": c["first_k_dense_replace"], "expert_group_used_count": 1,
            "expert_weights_scale": c["routed_scaling_factor"], "expert_gating_func": 2, "vocab_size": c["vocab_size"]}
        tokens = [bytes([b]) for b in range(256)]
        control = ["<|im_end|>", "<|im_user|>", "<|im_assistant|>", "<|im_system|>", "<|im_middle|>"]
        control += [None] * (c["vocab_size"] - len(tokens) - len(control))
        return {"general.architecture": "kimi-linear", **{f"kimi-linear.{key}": value for key, value in fields.items()},
                **vocabulary(tokens, control), "tokenizer.ggml.eos_token_id": 256, "tokenizer.ggml.bos_token_id": 257}

    def write_gguf(self, path):
        write_gguf(path, self.metadata(), self.gguf_tensors())
        return path
