"""Does an independent implementation continue a prompt exactly as `kl` does?

    python tools/compare_transformers.py [--model models/demo] [--kl build/release/bin/kl] [-n 64] [-p PROMPT ...]

For every prompt, greedy continuations of N tokens are made by
    transformers   Hugging Face's own KimiLinearForCausalLM, f32, with its cache
    kl             kl run -m MODEL --temp 0 -n N --raw -p PROMPT
and their texts compared.  The PyTorch model of tools/train is held to transformers' logits as well, over the whole
continuation.  Where the texts part, the margin between transformers' two best logits there tells a tie (about 1e-4 or
less) from an error.  Exits 1 on any difference.  Without a built kl, `--no-kl` compares the other two.

Needs tools/requirements-train.txt.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import torch
import transformers

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools" / "train"))

from checkpoint import load_model  # noqa: E402
from tokenizer import Tokenizer  # noqa: E402

PROMPTS = ["ROMEO:\n", "First Citizen:\nWe are", "KING RICHARD III:\nNow is the", "O, what a"]
LOGIT_BOUND = 2e-4


@torch.no_grad()
def continue_with_transformers(model, ids, num_tokens, eos):
    """Greedy ids, without the end token, and the margin of the best logit over the second at every step."""
    out = model.generate(
        torch.tensor([ids]), do_sample=False, max_new_tokens=num_tokens,
        return_dict_in_generate=True, output_logits=True,
    )  # fmt: skip
    top = torch.stack(out.logits).squeeze(1).topk(2).values
    new = out.sequences[0, len(ids) :].tolist()
    return (new[: new.index(eos)] if eos in new else new), (top[:, 0] - top[:, 1]).tolist()


def continue_with_kl(args, prompt, num_tokens):
    command = [args.kl, "run", "-m", args.model, "--temp", "0", "-n", num_tokens, "--raw", "-p", prompt]
    run = subprocess.run(list(map(str, command)), capture_output=True)
    if run.returncode != 0:
        sys.exit(f"kl: {run.stderr.decode(errors='replace').strip()}")
    text = run.stdout.decode(errors="replace")
    return text.removeprefix(prompt)


def first_difference(tokenizer, ids, text):
    """The step at which the text stops being what `ids` spell, or None."""
    expected = tokenizer.decode(ids)
    if text.rstrip("\n") == expected.rstrip("\n"):
        return None
    for step in range(len(ids)):
        if not text.startswith(tokenizer.decode(ids[: step + 1])):
            return step
    return len(ids)


@torch.no_grad()
def logit_difference(theirs, ours, ids):
    """Largest difference over all positions of `ids`."""
    block = torch.tensor([ids])
    return (theirs(block).logits - ours(block)).abs().max().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "demo")
    parser.add_argument("--kl", type=Path, default=ROOT / "build" / "release" / "bin" / "kl")
    parser.add_argument("--no-kl", action="store_true", help="compare only the two PyTorch models")
    parser.add_argument("-n", type=int, default=64, help="tokens to generate")
    parser.add_argument("-p", "--prompt", action="append", help="may be repeated")
    args = parser.parse_args()

    transformers.logging.set_verbosity_error()
    tokenizer = Tokenizer.load(args.model)
    theirs = transformers.KimiLinearForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    ours = load_model(args.model)
    failures = 0
    for prompt in args.prompt or PROMPTS:
        prompt_ids = tokenizer.encode(prompt)
        ids, margins = continue_with_transformers(theirs, prompt_ids, args.n, tokenizer.special["<|im_end|>"])
        difference = logit_difference(theirs, ours, prompt_ids + ids)
        failures += difference > LOGIT_BOUND
        print(f"{prompt!r}: {len(ids)} tokens, smallest margin {min(margins):.1e}")
        print(f"  tools/train    largest logit difference {difference:.1e} (bound {LOGIT_BOUND:.0e})")
        if args.no_kl:
            continue
        text = continue_with_kl(args, prompt, args.n)
        step = first_difference(tokenizer, ids, text)
        if step is None:
            print("  kl             same text")
            continue
        failures += 1
        margin = f", margin there {margins[step]:.1e}" if step < len(margins) else ""
        print(f"  kl             DIFFERS from token {step} on{margin}")
        print(f"    transformers {tokenizer.decode(ids)!r}\n    kl           {text!r}")
    print("verdict: " + ("all agree" if failures == 0 else f"{failures} difference(s)"))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
