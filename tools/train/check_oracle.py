"""Holds model.py to reference logits: float64 results of the equations on small random checkpoints.

    python tools/train/check_oracle.py [--oracle DIR]      default $KL_SHARED/oracle, else ../shared/oracle

Each checkpoint's two prompts go through the f32 model in evaluation form, which has to meet the bound.  The training
form of KDA is then held to the recurrence on random inputs whose gates need no clamping.  Exits 1 if a bound is missed.
"""

import argparse
import os
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from checkpoint import load_model
from kda import CHUNK, MIN_LOG_DECAY, chunk_kda, recurrent_kda

BOUND = 2e-4  # absolute, on logits of size 9
CHUNK_BOUND = 1e-5
FOLDERS = ["tiny", "headdims", "stress"]


@torch.no_grad()
def check(folder):
    model = load_model(folder)
    golden = load_file(folder / "golden.safetensors")
    worst = 0.0
    for suffix in ("", "2"):
        tokens, expected = golden[f"tokens{suffix}"], golden[f"logits{suffix}_f64"]
        rows = golden["positions"] if len(expected) < len(tokens) else slice(None)
        worst = max(worst, (model(tokens[None])[0][rows].double() - expected).abs().max().item())
    return report(folder.name, "largest logit error", worst, BOUND)


def check_chunked_form(B=2, T=4 * CHUNK, H=3, K=32):
    """chunk_kda in f32 against recurrent_kda in f64, from almost no decay to the strongest that is not clamped."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(B, T, H, K) for _ in range(3))
    q, k = F.normalize(q, dim=-1) * K**-0.5, F.normalize(k, dim=-1)
    g = MIN_LOG_DECAY * torch.rand(B, T, H, K) ** torch.tensor([1.0, 4.0, 16.0])[:, None]
    inputs = (q, k, v, g, torch.rand(B, T, H))
    expected = recurrent_kda(*(x.double() for x in inputs))
    error = (chunk_kda(*inputs).double() - expected).abs().max() / expected.abs().max()
    return report("chunked", "largest error / largest output", error.item(), CHUNK_BOUND)


def report(name, what, value, bound):
    print(f"{name:10s} {what}: {value:.1e} (bound {bound:.0e})  {'ok' if value <= bound else 'FAILED'}")
    return value <= bound


def main():
    shared = Path(os.environ.get("KL_SHARED", "../shared"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--oracle", type=Path, default=shared / "oracle")
    args = parser.parse_args()
    results = [check(args.oracle / name) for name in FOLDERS] + [check_chunked_form()]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
