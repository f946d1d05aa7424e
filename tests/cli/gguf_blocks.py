"""Blocks of GGUF tensors in numpy, written from the descriptions of the format: what bytes mean, and random valid bytes.

    numbers = decode("Q4_K", blocks)            blocks [n, bytes of a block] uint8 -> [n, values of a block] float32
    blocks = random_blocks("Q4_K", random, n)   scales of every size, numbers of every kind

    python3 gguf_blocks.py FILE                 writes tests/golden/gguf/blocks.safetensors again
"""
import json
import pathlib
import struct
import sys

import numpy as np

# name: (number in the file, values of a block, bytes of a block)
TYPES = {"F32": (0, 1, 4), "F16": (1, 1, 2), "BF16": (30, 1, 2), "Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20),
         "Q5_0": (6, 32, 22), "Q5_1": (7, 32, 24), "Q8_0": (8, 32, 34), "Q2_K": (10, 256, 84), "Q3_K": (11, 256, 110),
         "Q4_K": (12, 256, 144), "Q5_K": (13, 256, 176), "Q6_K": (14, 256, 210), "IQ4_NL": (20, 32, 18),
         "IQ4_XS": (23, 256, 136), "MXFP4": (39, 32, 17)}
QUANTISED = [name for name, (_, values, _) in TYPES.items() if values > 1]

IQ4 = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)
E2M1 = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.float32)  # doubled

# Where a block keeps its f16 scale and minimum, in bytes.
SCALE_AT = {"Q4_0": 0, "Q4_1": 0, "Q5_0": 0, "Q5_1": 0, "Q8_0": 0, "Q2_K": 80, "Q3_K": 108, "Q4_K": 0, "Q5_K": 0,
            "Q6_K": 208, "IQ4_NL": 0, "IQ4_XS": 0}
MINIMUM_AT = {"Q4_1": 2, "Q5_1": 2, "Q2_K": 82, "Q4_K": 2, "Q5_K": 2}


def half(b, at):
    """The f16 at byte `at` of every block, [n, 1] float32."""
    return np.ascontiguousarray(b[:, at:at + 2]).view("<f2").astype(np.float32)


def nibbles(b):
    """Low halves of the bytes, then their high halves."""
    return np.concatenate([b & 15, b >> 4], axis=1)


def nibbles_by_32(b):
    """The same for every 32 bytes by themselves."""
    return np.concatenate([nibbles(b[:, i:i + 32]) for i in range(0, b.shape[1], 32)], axis=1)


def fifth_bits(b):
    """Bits of a little-endian number, the lowest first, worth 16."""
    return np.unpackbits(b, axis=1, bitorder="little") << 4


def spread(x, values):
    """Every number of a row `values` times."""
    return np.repeat(x, values, axis=1).astype(np.float32)


def k_scales(s):
    """Scales and minima [n, 8] of Q4_K and Q5_K from 12 bytes of 6-bit numbers."""
    low, high = s[:, :4], s[:, 4:8]
    scales = np.concatenate([low & 63, (s[:, 8:] & 15) | (low >> 6) << 4], axis=1)
    minima = np.concatenate([high & 63, (s[:, 8:] >> 4) | (high >> 6) << 4], axis=1)
    return scales, minima


def two_bits(b):
    """Q2_K and Q3_K: [n, 64] bytes; 32 bytes hold four runs of 32 numbers, the lowest bits first."""
    return np.concatenate([b[:, i:i + 32] >> shift & 3 for i in (0, 32) for shift in (0, 2, 4, 6)], axis=1)


def decode_q2_k(b):
    d, dmin = half(b, 80), half(b, 82)
    return spread(d * (b[:, :16] & 15), 16) * two_bits(b[:, 16:80]) - spread(dmin * (b[:, :16] >> 4), 16)


def decode_q3_k(b):
    s = b[:, 96:108]
    low = np.concatenate([s[:, :8] & 15, s[:, :8] >> 4], axis=1)
    high = np.concatenate([s[:, 8:] >> shift & 3 for shift in (0, 2, 4, 6)], axis=1)
    scales = (low | high << 4).astype(np.int32) - 32
    has_high = np.concatenate([b[:, :32] >> bit & 1 for bit in range(8)], axis=1).astype(np.int32)
    q = two_bits(b[:, 32:96]).astype(np.int32) - 4 * (1 - has_high)
    return spread(half(b, 108) * scales, 16) * q.astype(np.float32)


def decode_q45_k(b, q):
    scales, minima = k_scales(b[:, 4:16])
    return spread(half(b, 0) * scales, 32) * q.astype(np.float32) - spread(half(b, 2) * minima, 32)


def decode_q5_k(b):
    high = np.concatenate([b[:, 16:48] >> bit & 1 for bit in range(8)], axis=1)
    return decode_q45_k(b, nibbles_by_32(b[:, 48:]) | high << 4)


def decode_q6_k(b):
    parts = []
    for half_of_it in (0, 1):
        ql, qh = b[:, 64 * half_of_it:][:, :64], b[:, 128 + 32 * half_of_it:][:, :32]
        low = np.concatenate([ql & 15, ql >> 4], axis=1)
        high = np.concatenate([qh >> shift & 3 for shift in (0, 2, 4, 6)], axis=1)
        parts.append((low | high << 4).astype(np.int32) - 32)
    scales = np.ascontiguousarray(b[:, 192:208]).view(np.int8)
    return spread(half(b, 208) * scales, 16) * np.concatenate(parts, axis=1).astype(np.float32)


def decode_iq4_xs(b):
    low = np.stack([b[:, 4 + i // 2] >> 4 * (i % 2) & 15 for i in range(8)], axis=1)
    both = b[:, 2].astype(np.int32) | b[:, 3].astype(np.int32) << 8
    high = np.stack([both >> 2 * i & 3 for i in range(8)], axis=1)
    q = np.concatenate([nibbles(b[:, i:i + 16]) for i in range(8, 136, 16)], axis=1)
    return spread(half(b, 0) * ((low | high << 4) - 32).astype(np.float32), 32) * IQ4[q]


DECODERS = {
    "F32": lambda b: b.view("<f4"),
    "F16": lambda b: b.view("<f2").astype(np.float32),
    "BF16": lambda b: (b.view("<u2").astype("<u4") << 16).view("<f4"),
    "Q4_0": lambda b: (nibbles(b[:, 2:]).astype(np.float32) - 8) * half(b, 0),
    "Q4_1": lambda b: nibbles(b[:, 4:]).astype(np.float32) * half(b, 0) + half(b, 2),
    "Q5_0": lambda b: ((nibbles(b[:, 6:]) | fifth_bits(b[:, 2:6])).astype(np.float32) - 16) * half(b, 0),
    "Q5_1": lambda b: (nibbles(b[:, 8:]) | fifth_bits(b[:, 4:8])).astype(np.float32) * half(b, 0) + half(b, 2),
    "Q8_0": lambda b: np.ascontiguousarray(b[:, 2:]).view(np.int8).astype(np.float32) * half(b, 0),
    "Q2_K": decode_q2_k,
    "Q3_K": decode_q3_k,
    "Q4_K": lambda b: decode_q45_k(b, nibbles_by_32(b[:, 16:])),
    "Q5_K": decode_q5_k,
    "Q6_K": decode_q6_k,
    "IQ4_NL": lambda b: half(b, 0) * IQ4[nibbles(b[:, 2:])],
    "IQ4_XS": decode_iq4_xs,
    "MXFP4": lambda b: np.ldexp(np.float32(1), b[:, :1].astype(np.int32) - 128).astype(np.float32) * E2M1[nibbles(b[:, 1:])],
}


def decode(name, blocks):
    return DECODERS[name](np.ascontiguousarray(blocks)).astype(np.float32)


def put_half(blocks, at, values):
    blocks[:, at:at + 2] = np.asarray(values, "<f2").reshape(-1, 1).view(np.uint8)


def random_blocks(name, random, n):
    """Any bytes are numbers; only scales are drawn so that they are finite: of both signs, over 17 powers of two."""
    _, values, size = TYPES[name]
    if values == 1:
        x = random.randn(n).astype(np.float32)
        kind = {"F32": "<f4", "F16": "<f2"}.get(name)
        packed = x.astype(kind) if kind else (x.view(np.uint32) >> 16).astype("<u2")
        return packed.reshape(n, 1).view(np.uint8)
    blocks = random.randint(0, 256, (n, size)).astype(np.uint8)
    if name == "MXFP4":
        blocks[:, 0] = random.randint(0, 250, n)
        return blocks
    for at in (SCALE_AT[name], MINIMUM_AT.get(name)):
        if at is not None:
            put_half(blocks, at, np.exp2(random.uniform(-14, 3, n)) * random.choice([-1, 1], n))
    return blocks


# Minimum over scale at which numbers drawn evenly are zero on average.
CENTRE = {"Q4_1": -7.5, "Q5_1": -15.5, "Q2_K": 1.5, "Q4_K": 7.5, "Q5_K": 15.5}


def random_matrix(name, random, rows, cols, gain):
    """Blocks [rows * cols / values, bytes] whose numbers are about as large as those of a layer, gain / sqrt(cols)."""
    _, values, _ = TYPES[name]
    n = rows * cols // values
    size = gain / np.sqrt(cols)
    if values == 1:
        x = (random.randn(n) * size).astype(np.float32)
        kind = {"F32": "<f4", "F16": "<f2"}.get(name)
        return (x.astype(kind) if kind else (x.view(np.uint32) >> 16).astype("<u2")).reshape(n, 1).view(np.uint8)
    blocks = random_blocks(name, random, n)
    if name == "MXFP4":
        blocks[:, 0] = np.round(128 + np.log2(size / 5.9)) + random.randint(-1, 2, n)
        return blocks
    put_half(blocks, SCALE_AT[name], np.ones(n))
    if name in MINIMUM_AT:
        put_half(blocks, MINIMUM_AT[name], np.full(n, CENTRE[name]))
    scale = size / np.sqrt(np.mean(decode(name, blocks).astype(np.float64) ** 2)) * random.uniform(0.7, 1.3, n)
    put_half(blocks, SCALE_AT[name], scale)
    if name in MINIMUM_AT:
        put_half(blocks, MINIMUM_AT[name], CENTRE[name] * scale)
    return blocks


def write_golden(path):
    """tests/golden/gguf/blocks.safetensors: random blocks of every type, at least 768 values, and their numbers."""
    random, header, data = np.random.RandomState(2026), {}, b""
    for name, (_, values, _) in TYPES.items():
        blocks = random_blocks(name, random, max(3, 768 // values) if values > 1 else 64)
        if name == "MXFP4":
            blocks[:3, 0] = [0, 1, 2]  # the smallest scales
        for key, dtype, array in ((name + ".blocks", "U8", blocks), (name + ".numbers", "F32", decode(name, blocks))):
            begin, data = len(data), data + np.ascontiguousarray(array).tobytes()
            header[key] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


if __name__ == "__main__":
    write_golden(pathlib.Path(sys.argv[1]))
