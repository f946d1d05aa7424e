"""Draws the logs of the run that made the bundled model and of the run that chose its number of steps.

    python tools/train/plot_loss.py [--model models/demo] [--out docs/images/demo-loss.svg]

Two panels, because the quantities do not share a unit: the training loss is in nats per token of text spelt with
BPE-dropout and with dropout active, the validation figure in bits per byte of the averaged weights.  Only the
development run has a validation figure: the other one trained on that text.
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


def read_log(path):
    """The lines of a log as one list per key."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {key: [line[key] for line in lines] for key in lines[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "demo")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "demo-loss.svg")
    args = parser.parse_args()

    final, development = (read_log(args.model / name) for name in ("training.jsonl", "development.jsonl"))
    bpb = development["validation_bpb"]

    plt.rcParams.update({"svg.hashsalt": "kl", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    left.plot(final["step"], final["train_nats"], color="#4c72b0", label="on the first 90 %")
    left.plot(development["step"], development["train_nats"], color="#c44e52", linestyle="--",
              label="on the first 80 %")
    left.set(title="training loss (nats per token)", xlabel="step")
    left.legend(frameon=False)
    right.plot(development["step"], bpb, color="#c44e52", linestyle="--")
    lowest = (development["step"][bpb.index(min(bpb))], min(bpb))
    right.plot(*lowest, "o", color="#c44e52")
    right.annotate(f"{min(bpb):.3f}", lowest, textcoords="offset points", xytext=(0, 12), ha="center")
    right.set(title="validation on 80-90 % (bits per byte)", xlabel="step", ylim=(min(bpb) - 0.03, min(bpb) + 0.6))
    for axis in (left, right):
        axis.grid(alpha=0.25)
        axis.set_xlim(left=0)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out, metadata={"Date": None})


if __name__ == "__main__":
    main()
