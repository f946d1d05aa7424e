"""Draws a run's training.jsonl.

    python tools/train/plot_loss.py [--log models/demo/training.jsonl] [--out docs/images/demo-loss.svg]

Two panels, because the quantities do not share a unit: the training loss is in nats per token of text spelt with
BPE-dropout and with dropout active, the validation figure in bits per byte of the averaged weights.
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--log", type=Path, default=ROOT / "models" / "demo" / "training.jsonl")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "demo-loss.svg")
    args = parser.parse_args()

    lines = [json.loads(line) for line in args.log.read_text().splitlines()]
    steps = [line["step"] for line in lines]
    bpb = [line["validation_bpb"] for line in lines]
    best = [line for line in lines if line["kept"]][-1]

    plt.rcParams.update({"svg.hashsalt": "kl", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    left.plot(steps, [line["train_nats"] for line in lines], color="#4c72b0")
    left.set(title="training loss (nats per token)", xlabel="step")
    right.plot(steps, bpb, color="#c44e52")
    right.plot(best["step"], best["validation_bpb"], "o", color="#c44e52")
    right.annotate(f"kept: {best['validation_bpb']:.3f}", (best["step"], best["validation_bpb"]),
                   textcoords="offset points", xytext=(0, 12), ha="right")  # fmt: skip
    right.set(title="validation (bits per byte)", xlabel="step", ylim=(min(bpb) - 0.03, min(bpb) + 0.6))
    for axis in (left, right):
        axis.grid(alpha=0.25)
        axis.set_xlim(left=0)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out, metadata={"Date": None})


if __name__ == "__main__":
    main()
