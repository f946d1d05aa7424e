"""Writes random models as other programs quantise them, and says in float64 what the files then mean.

    encoded = mlx_affine(w, bits=3, group=64)        {suffix: (dtype, array)}, and the weights these tensors stand for
    folder = QuantisedModel(model, "mlx", choose)     encodes what `choose` wants, in one of both families' namings
    folder.write(path);  folder.weights               a model folder;  released names, float64, for reference.py

Written from the formats' descriptions (docs/quantization.md) and apart from the C++ code.
"""
import json
import struct

import numpy as np
from random_model import ROUND, STAYS_F32, STORE

E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
E2M1 = np.concatenate([E2M1, -E2M1])


def e4m3(code):
    """FP8 E4M3 in float64; 127 and 255 are no numbers and never made here."""
    code = np.asarray(code, np.int64)
    sign, exponent, fraction = np.where(code & 128, -1.0, 1.0), code >> 3 & 15, code & 7
    return sign * np.where(exponent == 0, fraction * 2.0**-9, (8 + fraction) * 2.0 ** (exponent - 10.0))


FINITE_E4M3 = np.array([c for c in range(256) if c & 127 != 127])


def nearest(table, x):
    """Indices of the nearest entries of a small table."""
    order = np.argsort(table, kind="stable")
    at = np.clip(np.searchsorted(table[order], x), 1, len(table) - 1)
    closer = np.abs(table[order][at - 1] - x) < np.abs(table[order][at] - x)
    return order[at - closer]


def to_e4m3(x):
    return FINITE_E4M3[nearest(e4m3(FINITE_E4M3), x)].astype(np.uint8)


def bit_stream(q, bits):
    """Rows of unsigned numbers as one little-endian stream a row, in words of 32 bits, zeros at its end."""
    planes = (q[..., None] >> np.arange(bits) & 1).astype(np.uint8).reshape(*q.shape[:-1], -1)
    planes = np.concatenate([planes, np.zeros((*planes.shape[:-1], -planes.shape[-1] % 32), np.uint8)], axis=-1)
    return np.packbits(planes, axis=-1, bitorder="little").view("<u4")


def grouped(w, group):
    return w.reshape(*w.shape[:-1], -1, group)


# --- MLX: X.weight, X.scales, X.biases ---------------------------------------------------------------------------------


def mlx_affine(w, bits, group, dtype="BF16"):
    g, most = grouped(w, group), 2**bits - 1
    low, high = g.min(-1), g.max(-1)
    flip = np.abs(high) > np.abs(low)  # MLX counts down from the larger end: half of the scales are negative
    scale = ROUND[dtype]((np.where(flip, low - high, high - low) / most).astype(np.float32))
    bias = ROUND[dtype](np.where(flip, high, low).astype(np.float32))
    scale64, bias64 = scale.astype(np.float64)[..., None], bias.astype(np.float64)[..., None]
    q = np.clip(np.rint((g - bias64) / np.where(scale64 == 0, 1, scale64)), 0, most).astype(np.int64)
    tensors = {"weight": ("U32", bit_stream(q.reshape(w.shape), bits)), "scales": (dtype, scale), "biases": (dtype, bias)}
    return tensors, (scale64 * q + bias64).reshape(w.shape)


def mlx_mx(w, table, largest, bits):
    """Codes of `table` with a power of two for every 32."""
    g = grouped(w, 32)
    exponent = np.clip(np.rint(np.log2(np.abs(g).max(-1) / largest)), -127, 127)
    codes = nearest(table, g / 2.0 ** exponent[..., None])
    codes = (codes if bits == 4 else FINITE_E4M3[codes]).reshape(w.shape)
    tensors = {"weight": ("U32", bit_stream(codes, bits)), "scales": ("U8", (exponent + 127).astype(np.uint8))}
    values = E2M1[codes] if bits == 4 else e4m3(codes)
    return tensors, (grouped(values, 32) * 2.0 ** exponent[..., None]).reshape(w.shape)


def mlx_nvfp4(w):
    g = grouped(w, 16)
    scale = to_e4m3(np.abs(g).max(-1) / 6)
    value = np.maximum(e4m3(scale), 2.0**-9)[..., None]
    codes = nearest(E2M1, g / value).reshape(w.shape)
    tensors = {"weight": ("U32", bit_stream(codes, 4)), "scales": ("U8", scale)}
    return tensors, (grouped(E2M1[codes], 16) * e4m3(scale)[..., None]).reshape(w.shape)


def mlx(w, mode="affine", bits=4, group_size=64, dtype="BF16"):
    if mode == "affine":
        return mlx_affine(w, bits, group_size, dtype)
    if mode == "nvfp4":
        return mlx_nvfp4(w)
    return mlx_mx(w, E2M1, 6, 4) if mode == "mxfp4" else mlx_mx(w, e4m3(FINITE_E4M3), 448, 8)


# --- compressed-tensors: X.weight_packed, X.weight_scale, ... -------------------------------------------------------------


def compressed_int(w, num_bits, group_size=None, symmetric=True, dtype="BF16"):
    g, middle = grouped(w, group_size or w.shape[-1]), 2 ** (num_bits - 1)
    low, high = g.min(-1), g.max(-1)
    scale = np.abs(g).max(-1) / (middle - 0.5) if symmetric else (high - low) / (2 * middle - 1)
    scale = ROUND[dtype](scale.astype(np.float32))
    scale64 = scale.astype(np.float64)
    zero = np.full(scale.shape, middle) if symmetric else np.clip(np.rint(-low / scale64), 0, 2 * middle - 1).astype(np.int64)
    q = np.clip(np.rint(g / scale64[..., None]) + zero[..., None], 0, 2 * middle - 1).astype(np.int64)
    tensors = {"weight_packed": ("I32", bit_stream(q.reshape(w.shape), num_bits).view("<i4")), "weight_scale": (dtype, scale),
               "weight_shape": ("I64", np.array(w.shape, "<i8"))}
    if not symmetric:
        tensors["weight_zero_point"] = ("I32", np.ascontiguousarray(bit_stream(zero.T, num_bits).T).view("<i4"))
    return tensors, (scale64[..., None] * (q - zero[..., None])).reshape(w.shape)


def compressed_fp8(w, strategy="channel", dtype="BF16"):
    largest = np.abs(w).max(-1, keepdims=True) if strategy == "channel" else np.abs(w).max().reshape(1)
    scale = ROUND[dtype]((largest / 448).astype(np.float32))
    codes = to_e4m3(w / scale.astype(np.float64))
    tensors = {"weight": ("F8_E4M3", codes), "weight_scale": (dtype, scale)}
    return tensors, e4m3(codes) * scale.astype(np.float64)


def compressed_nvfp4(w):
    g = grouped(w, 16)
    whole = (6 * 448 / np.abs(w).max()).astype(np.float32).reshape(1)
    scale = to_e4m3(np.abs(g).max(-1) / 6 * whole.astype(np.float64))
    value = e4m3(scale)[..., None] / whole.astype(np.float64)
    codes = nearest(E2M1, g / np.maximum(value, 1e-30)).reshape(w.shape)
    tensors = {"weight_packed": ("U8", (codes[..., 0::2] | codes[..., 1::2] << 4).astype(np.uint8)), "weight_scale": ("F8_E4M3", scale),
               "weight_global_scale": ("F32", whole), "input_global_scale": ("F32", np.ones(1, np.float32))}
    return tensors, (grouped(E2M1[codes], 16) * value).reshape(w.shape)


def compressed(w, format, num_bits=4, dtype="BF16", **weights):
    if format == "pack-quantized":
        return compressed_int(w, num_bits, weights.get("group_size"), weights.get("symmetric", True), dtype)
    return compressed_fp8(w, weights["strategy"], dtype) if format == "float-quantized" else compressed_nvfp4(w)


# --- folders -----------------------------------------------------------------------------------------------------------


def save(path, tensors):
    """Writes {name: (dtype, array)} as safetensors; arrays of other than floats lie as they are."""
    header, blobs, at = {}, [], 0
    for name, (dtype, values) in tensors.items():
        blobs.append(STORE[dtype](values).tobytes() if dtype in STORE else np.ascontiguousarray(values).tobytes())
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": [at, at + len(blobs[-1])]}
        at += len(blobs[-1])
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def released(tensors, config):
    """mlx names to released ones: stacked experts taken apart, the halves of kv_b_proj put together."""
    out = {}
    for name, w in tensors.items():
        p = name[: name.find("mlp.")] + "block_sparse_moe." if "mlp." in name else ""
        if ".switch_mlp." in name:
            which = {"gate": "w1", "up": "w3", "down": "w2"}[name.split(".")[-2][: -len("_proj")]]
            out.update({f"{p}experts.{e}.{which}.weight": w[e] for e in range(len(w))})
        elif ".embed_q." in name:
            values = tensors[name.replace("embed_q", "unembed_out")]
            both = np.concatenate([w.transpose(0, 2, 1), values], axis=1)
            out[name.replace("embed_q", "kv_b_proj")] = both.reshape(-1, config["kv_lora_rank"])
        elif "_conv.conv." in name:
            out[name.replace("_conv.conv.", "_conv1d.")] = w.transpose(0, 2, 1)
        elif name.endswith("mlp.e_score_correction_bias"):
            out[p + "gate.e_score_correction_bias"] = w
        elif ".mlp.gate.weight" in name or ".shared_experts." in name:
            out[name.replace(".mlp.", ".block_sparse_moe.")] = w
        elif ".unembed_out." not in name:
            out[name] = w
    return out


class QuantisedModel:
    """`choose(module, shape)` gives the settings of a module's matrix, or None; they are those of the configuration, and
    `dtype`, the type of scales, which no configuration has."""

    def __init__(self, model, family, choose, naming=None):
        self.model, self.family, self.modules = model, family, {}
        naming = naming or ("mlx" if family == "mlx" else "released")
        self.tensors, decoded = {}, {}
        for name, w in model.tensors(naming).items():
            module = name.removesuffix(".weight")
            is_matrix = module != name and w.ndim >= 2 and "conv" not in name
            settings = choose(module, w.shape) if is_matrix else None
            if settings is None:
                self.tensors[name] = ("F32" if name.endswith(STAYS_F32) else model.dtype, w)
                decoded[name] = w.astype(np.float64)
                continue
            self.modules[module] = {key: value for key, value in settings.items() if key != "dtype"}
            parts, decoded[name] = {"mlx": mlx, "compressed-tensors": compressed}[family](w.astype(np.float64), **settings)
            self.tensors.update({f"{module}.{suffix}": tensor for suffix, tensor in parts.items()})
        self.weights = released(decoded, model.config) if naming.startswith("mlx") else decoded

    def block(self):
        """What config.json says."""
        if self.family == "mlx":
            return {"group_size": 64, "bits": 4, "mode": "affine", **self.modules}
        schemes = {json.dumps(s, sort_keys=True): s for s in self.modules.values()}
        defaults = {"pack-quantized": ("int", "group"), "float-quantized": ("float", "channel"),
                    "nvfp4-pack-quantized": ("float", "tensor_group")}
        groups = {}
        for i, s in enumerate(schemes.values()):
            kind, strategy = defaults[s["format"]]
            bits = 8 if kind == "float" and strategy == "channel" else 4
            weights = {"num_bits": bits, "type": kind, "strategy": strategy, "symmetric": True, "dynamic": False, "actorder": None,
                       "group_size": 16 if strategy == "tensor_group" else None}
            groups[f"group_{i}"] = {"targets": ["Linear"], "format": s["format"], "output_activations": None,
                                    "weights": weights | {k: v for k, v in s.items() if k != "format"}}
        return {"quant_method": "compressed-tensors", "format": "mixed-precision", "config_groups": groups, "ignore": ["lm_head"],
                "quantization_status": "compressed", "kv_cache_scheme": None, "sparsity_config": {}, "transform_config": {}}

    def write(self, folder):
        folder.mkdir(parents=True)
        config = dict(self.model.config)
        config["quantization_config"] = self.block()
        if self.family == "mlx":
            config["quantization"] = self.block()
        (folder / "config.json").write_text(json.dumps(config))
        save(folder / "model.safetensors", self.tensors)
