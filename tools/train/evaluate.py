"""Bits per byte of a checkpoint folder on the held-out text.

    python tools/train/evaluate.py [--model models/demo] [--data FILE] [--kl build/release/bin/kl]

The protocol, exactly: the text is tokenised without BPE-dropout and without [BOS] into ids x_0 .. x_{n-1}.  Windows of
512 ids start at 0, 256, 512, ...; each scores the positions that no earlier window scored, so the first scores ids
1..511 and each later one its last 256.  x_0 has no context and is charged ln(vocab_size).  The sum of -ln p in
nats, divided by ln 2 and by the number of bytes of the text, is the result.  Weights are widened to f32; the
KDA recurrence is the plain one, nothing is clamped.

The logits are those of model.py, or with --kl those of `kl logits`.
"""

import argparse
import math
import subprocess
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open

from checkpoint import load_model
from data import default_data_path, split_text
from tokenizer import Tokenizer

WINDOW, STRIDE = 512, 256


@torch.no_grad()
def total_nats(model, ids, batch=24):
    """Sum of -ln p over `ids` [n] by the protocol above.  `model` maps ids [B, T] to logits [B, T, vocab]."""
    n = len(ids)
    starts = range(0, max(n - WINDOW + STRIDE, STRIDE), STRIDE)
    scored = torch.zeros(n)
    for first in range(0, len(starts), batch):
        group = starts[first : first + batch]
        windows = torch.stack([F.pad(ids[s : s + WINDOW], (0, max(0, s + WINDOW - n))) for s in group])
        logits = model(windows)[:, :-1]
        nats = F.cross_entropy(logits.transpose(1, 2), windows[:, 1:], reduction="none")  # [group, WINDOW-1]
        for row, s in zip(nats, group):
            begin, end = (1 if s == 0 else s + WINDOW - STRIDE), min(s + WINDOW, n)
            scored[begin:end] = row[begin - s - 1 : end - s - 1]
    return scored.double().sum().item() + math.log(logits.shape[-1])


def bits_per_byte(nats, text):
    return nats / math.log(2) / len(text.encode())


class KlModel:
    """The `kl` program in the place of a model: each call is one run of `kl logits`."""

    def __init__(self, kl, folder):
        self.kl, self.folder = kl, folder

    def __call__(self, ids):
        with tempfile.TemporaryDirectory() as scratch:
            tokens, out = Path(scratch, "tokens"), Path(scratch, "logits.safetensors")
            tokens.write_text("".join(" ".join(map(str, row)) + "\n" for row in ids.tolist()))
            subprocess.run([self.kl, "logits", "-m", self.folder, "--tokens", tokens, "-o", out, "--all"], check=True)
            with safe_open(out, framework="pt") as file:
                names = [f"logits.{i}" if i else "logits" for i in range(len(ids))]
                return torch.stack([file.get_tensor(name) for name in names])


def main():
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=root / "models" / "demo")
    parser.add_argument("--data", type=Path, default=default_data_path())
    parser.add_argument("--kl", type=Path, help="take the logits from this program")
    args = parser.parse_args()

    _, _, held_out = split_text(args.data)
    model = KlModel(args.kl, args.model) if args.kl else load_model(args.model)
    ids = torch.tensor(Tokenizer.load(args.model).encode(held_out))
    nats = total_nats(model, ids)
    print(f"{bits_per_byte(nats, held_out):.6f} bits per byte"
          f"  ({nats:.4f} nats, {len(ids)} tokens, {len(held_out.encode())} bytes)")  # fmt: skip


if __name__ == "__main__":
    main()
