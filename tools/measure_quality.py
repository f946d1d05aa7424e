#!/usr/bin/env python3
"""What quantisation costs in quality: a table for docs/quantization.md.

    python3 tools/measure_quality.py --text FILE [--model models/demo] [--kl build/release/bin/kl] [--tokens 30000]

Every format that `kl quantize` and `kl convert` write is made from the model in a temporary folder, and its distribution over
the next token compared with the unquantised model's at every position of the text (windows of 512 tokens): mean
Kullback-Leibler divergence in nats, how often the likeliest token is the same, and perplexity; beside them how fast the model
reads and writes, as `kl bench` says.  The caches and states of lower precision are measured on the unquantised weights.  Needs
numpy.
"""

import argparse
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
WINDOW = 512

QUANTIZE = ["quantize"]
MLX = ["convert", "--to", "mlx"]
GGUF = ["convert", "--to", "gguf", "--type"]

# name, the command that writes the model (None: the model itself), flags of kl logits
ROWS = [
    ("as it is, f32 arithmetic", None, []),
    ("8 bits, groups of 32", [*QUANTIZE, "--bits", "8"], []),
    ("8 bits, groups of 64", [*QUANTIZE, "--bits", "8", "--group-size", "64"], []),
    ("8 bits, groups of 32, f32 arithmetic", [*QUANTIZE, "--bits", "8"], ["--compute", "f32"]),
    ("4 bits, groups of 32", [*QUANTIZE, "--bits", "4"], []),
    ("4 bits, groups of 64", [*QUANTIZE, "--bits", "4", "--group-size", "64"], []),
    ("4 bits, groups of 32, f32 arithmetic", [*QUANTIZE, "--bits", "4"], ["--compute", "f32"]),
    ("4 bits, groups of 32, latents in bf16", [*QUANTIZE, "--bits", "4"], ["--cache-type", "bf16"]),
    *((f"MLX affine, {bits} bits, groups of 64", [*MLX, "--bits", str(bits)], []) for bits in (8, 6, 5, 4, 3, 2)),
    *((f"MLX affine, 4 bits, groups of {group}", [*MLX, "--group-size", str(group)], []) for group in (32, 128)),
    ("MLX mxfp4", [*MLX, "--mode", "mxfp4"], []),
    ("GGUF Q8_0", [*GGUF, "q8_0"], []),
    ("GGUF Q4_0", [*GGUF, "q4_0"], []),
    ("latents in bf16, f32 arithmetic", None, ["--cache-type", "bf16", "--compute", "f32"]),
    ("latents in bf16", None, ["--cache-type", "bf16"]),
    ("latents in bf16, MLA expanded", None, ["--cache-type", "bf16", "--mla", "expanded"]),
    ("latents in int8", None, ["--cache-type", "int8"]),
    ("KDA states in bf16", None, ["--state-type", "bf16"]),
]


def run(*command, **kwargs):
    done = subprocess.run(list(map(str, command)), capture_output=True, **kwargs)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def make(kl, source, command, folder):
    """Writes the model; answers what to name it by, and its bits a weight."""
    out = folder / "model"
    told = json.loads(run(kl, command[0], "-m", source, "-o", out, "--json", *command[1:]))
    weights = told.get("weights") or told["packed_weights"] + told["kept_weights"]
    files = list(out.glob("*.gguf"))
    return files[0] if files else out, f"{8 * told['tensor_bytes'] / weights:.2f}"


def speed(kl, model, flags):
    """Tokens per second: prompt, text."""
    told = json.loads(run(kl, "bench", "-m", model, "-p", 512, "-n", 64, "-r", 3, "-o", "json", *flags))
    return [f"{test['median']:,.0f}" for test in told["results"]]


def log_probabilities(kl, model, windows, flags, folder):
    """Natural logarithms of the next token's probabilities, [positions, vocabulary]."""
    tokens, out = folder / "tokens.txt", folder / "logits.safetensors"
    tokens.write_text("\n".join(" ".join(map(str, w)) for w in windows) + "\n")
    cache = [] if "--cache-type" in flags else ["--cache-type", "f32"]
    run(kl, "logits", "-m", model, "--tokens", tokens, "-o", out, *cache, *flags)
    with open(out, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    rows = []
    for j in range(len(windows)):
        entry = header["logits" if j == 0 else f"logits.{j}"]
        begin, end = entry["data_offsets"]
        rows.append(np.frombuffer(data[begin:end], np.float32).reshape(entry["shape"]))
    logits = np.concatenate(rows).astype(np.float64)
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "demo")
    parser.add_argument("--kl", type=Path, default=ROOT / "build" / "release" / "bin" / "kl")
    parser.add_argument("--tokens", type=int, default=30000)
    args = parser.parse_args()

    ids = run(args.kl, "tokenize", "-m", args.model, "--ids", "-f", args.text).decode().split()[: args.tokens]
    windows = [list(map(int, ids[i : i + WINDOW])) for i in range(0, len(ids) - WINDOW + 1, WINDOW)]
    targets = np.concatenate([np.array(w[1:] + [-1]) for w in windows])
    scored = np.flatnonzero(targets >= 0)

    print(f"{len(scored)} positions\n")
    print("| | bits a weight | mean KL, nats | same likeliest token | perplexity | reads, tokens/s | writes |")
    print("|---|---|---|---|---|---|---|")
    base = None
    for name, command, flags in ROWS:
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            model, bits = (args.model, "16") if command is None else make(args.kl, args.model, command, folder)
            logs = log_probabilities(args.kl, model, windows, flags, folder)
            rates = " | ".join(speed(args.kl, model, flags))
        if base is None:
            base = logs
        divergence = (np.exp(base) * (base - logs)).sum(-1).mean()
        same = (base.argmax(-1) == logs.argmax(-1)).mean()
        perplexity = np.exp(-logs[scored, targets[scored]].mean())
        print(f"| {name} | {bits} | {divergence:.1e} | {100 * same:.2f} % | {perplexity:.4f} | {rates} |", flush=True)


if __name__ == "__main__":
    main()
