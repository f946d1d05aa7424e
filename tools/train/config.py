"""Model configuration, in the spelling of the released checkpoint's config.json.

Only what this code computes with is a field; everything else that the file format wants is written by `to_json`.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class LinearAttnConfig:
    kda_layers: list  # 1-based
    full_attn_layers: list  # 1-based
    num_heads: int = 4  # H
    head_dim: int = 32  # K = V
    short_conv_kernel_size: int = 4


def three_to_one(num_layers):
    """Every fourth layer is full attention; 1-based, as the released config counts."""
    full = [i for i in range(1, num_layers + 1) if i % 4 == 0]
    return LinearAttnConfig([i for i in range(1, num_layers + 1) if i not in full], full)


@dataclass
class KimiLinearConfig:
    vocab_size: int = 1024
    hidden_size: int = 128  # D
    num_hidden_layers: int = 4
    linear_attn_config: LinearAttnConfig = field(default_factory=lambda: three_to_one(4))
    num_attention_heads: int = 4  # MLA heads
    kv_lora_rank: int = 64  # R
    qk_nope_head_dim: int = 32
    qk_rope_head_dim: int = 16  # P, never rotated
    v_head_dim: int = 32
    intermediate_size: int = 384  # dense FFN
    first_k_dense_replace: int = 1
    moe_intermediate_size: int = 128
    num_experts: int = 8
    num_experts_per_token: int = 2
    num_shared_experts: int = 1
    routed_scaling_factor: float = 1.5
    rms_norm_eps: float = 1e-5
    initializer_range: float = 0.02

    # The remaining keys of the released config. They have one supported value each.
    FIXED = {
        "hidden_act": "silu", "tie_word_embeddings": False, "mla_use_nope": True, "q_lora_rank": None,
        "moe_router_activation_func": "sigmoid", "moe_renormalize": True, "num_expert_group": 1, "topk_group": 1,
        "moe_layer_freq": 1,
    }  # fmt: skip

    def is_kda(self, layer):
        """`layer` counts from 0, the lists from 1."""
        return layer + 1 in self.linear_attn_config.kda_layers

    def is_moe(self, layer):
        return layer >= self.first_k_dense_replace

    @classmethod
    def load(cls, path):
        """Reads a config.json; refuses what this code does not compute."""
        raw = json.loads(Path(path).read_text())
        for key, supported in cls.FIXED.items():
            if raw.get(key, supported) != supported:
                raise ValueError(f"{key}: expected {supported!r}, got {raw[key]!r}")
        known = {name: raw[name] for name in cls.__dataclass_fields__ if name in raw}
        known["linear_attn_config"] = LinearAttnConfig(**raw["linear_attn_config"])
        return cls(**known)

    def to_json(self, bos, eos, pad, dtype="bfloat16"):
        """The whole config.json of a checkpoint folder, as a dict."""
        return dict(sorted({
            **asdict(self),
            **self.FIXED,
            "architectures": ["KimiLinearForCausalLM"],
            "model_type": "kimi_linear",
            "auto_map": {
                "AutoConfig": "configuration_kimi.KimiLinearConfig",
                "AutoModel": "modeling_kimi.KimiLinearModel",
                "AutoModelForCausalLM": "modeling_kimi.KimiLinearForCausalLM",
            },
            "dtype": dtype,
            "bos_token_id": bos,
            "eos_token_id": eos,
            "pad_token_id": pad,
            "head_dim": self.hidden_size // self.num_attention_heads,
            "num_key_value_heads": self.num_attention_heads,
            "use_grouped_topk": True,
            "num_nextn_predict_layers": 0,
            "rope_theta": 10000.0,
            "rope_scaling": None,
            "model_max_length": 1048576,
            "use_cache": True,
            "transformers_version": "4.57.1",
        }.items()))  # fmt: skip
