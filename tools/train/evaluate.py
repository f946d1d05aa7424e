"""Bits per byte of a checkpoint folder on held-out text.

    python tools/train/evaluate.py [--model models/demo] [--data FILE] [--part held_out|validation]

The protocol, exactly: the text is tokenised without BPE-dropout and without [BOS] into ids x_0 .. x_{n-1}.  Windows of
512 ids start at 0, 256, 512, ...; each scores the positions that no earlier window scored, so the first scores ids
1..511 and each later one its last 256.  x_0 has no context and is charged ln(vocab_size).  The sum of -ln p in
nats, divided by ln 2 and by the number of bytes of the text, is the result.  Weights are widened to f32; the
KDA recurrence is the plain one, nothing is clamped.
"""

import argparse
import math
from pathlib import Path

import torch
import torch.nn.functional as F

from checkpoint import load_model
from data import default_data_path, split_text
from tokenizer import Tokenizer

WINDOW, STRIDE = 512, 256


@torch.no_grad()
def total_nats(model, ids, batch=24):
    """Sum of -ln p over `ids` [n] by the protocol above. `model` is in eval mode."""
    n = len(ids)
    starts = range(0, max(n - WINDOW + STRIDE, STRIDE), STRIDE)
    scored = torch.zeros(n)
    scored[0] = math.log(model.config.vocab_size)
    for first in range(0, len(starts), batch):
        group = starts[first : first + batch]
        windows = torch.stack([F.pad(ids[s : s + WINDOW], (0, max(0, s + WINDOW - n))) for s in group])
        logits = model(windows)[:, :-1]
        nats = F.cross_entropy(logits.transpose(1, 2), windows[:, 1:], reduction="none")  # [group, WINDOW-1]
        for row, s in zip(nats, group):
            begin, end = (1 if s == 0 else s + WINDOW - STRIDE), min(s + WINDOW, n)
            scored[begin:end] = row[begin - s - 1 : end - s - 1]
    return scored.double().sum().item()


def bits_per_byte(nats, text):
    return nats / math.log(2) / len(text.encode())


def main():
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=root / "models" / "demo")
    parser.add_argument("--data", type=Path, default=default_data_path())
    parser.add_argument("--part", choices=["held_out", "validation"], default="held_out")
    args = parser.parse_args()

    _, validation, held_out = split_text(args.data)
    text = held_out if args.part == "held_out" else validation
    model, tokenizer = load_model(args.model), Tokenizer.load(args.model)
    ids = torch.tensor(tokenizer.encode(text))
    nats = total_nats(model, ids)
    print(f"{args.part}: {bits_per_byte(nats, text):.6f} bits per byte"
          f"  ({nats:.4f} nats, {len(ids)} tokens, {len(text.encode())} bytes)")  # fmt: skip


if __name__ == "__main__":
    main()
