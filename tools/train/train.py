"""Trains the bundled demonstration model: a small but complete Kimi Linear on a megabyte of Shakespeare.

    python tools/train/train.py --out models/demo [--data FILE]

The text is so small that overfitting, not compute, sets the limit.  Against it: BPE-dropout, dropout,
weight decay, an exponential moving average of the weights, and few enough steps.  Their number is chosen by runs with
--train-until 0.8, which score the rest of the first 90 %; the last 10 % are never read here, evaluate.py reads them.

The averaged weights of the last line of the log are in --out, rounded to bf16, together with `training.jsonl`, the
log.  Everything is f32 on one thread by default; the same seed and thread count give the same model.
"""

import argparse
import copy
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from checkpoint import save_checkpoint
from config import KimiLinearConfig, three_to_one
from data import HELD_OUT_FROM, Windows, default_data_path, split_text
from evaluate import bits_per_byte, total_nats
from model import KimiLinearForCausalLM
from optim import make_optimizers
from tokenizer import DropoutEncoder, Tokenizer


@torch.no_grad()
def initialise(model):
    """Matrices: normal, 0.5 fan_in^-1/2; those that write to the residual stream are divided by sqrt(2 L).

    KDA gates as in the paper's code: A log-uniform in [1, 16], softplus(dt_bias) log-uniform in [1e-3, 1e-1].
    """
    depth_scale = (2 * model.config.num_hidden_layers) ** -0.5
    for name, p in model.named_parameters():
        if name.endswith("A_log"):
            p.uniform_(1, 16).log_()
        elif name.endswith("dt_bias"):
            dt = torch.empty_like(p).uniform_(math.log(1e-3), math.log(1e-1)).exp()
            p.copy_(dt + torch.log(-torch.expm1(-dt)))  # inverse of softplus
        elif "conv1d" in name:
            p.uniform_(-0.5, 0.5)
        elif "embed_tokens" in name or "lm_head" in name or "gate.weight" in name:
            p.normal_(std=model.config.initializer_range)
        elif p.ndim == 2:
            writes = name.endswith(("o_proj.weight", "down_proj.weight", "w2.weight"))
            p.normal_(std=0.5 * p.shape[1] ** -0.5 * (depth_scale if writes else 1))


def learning_rate(step, args):
    """A factor of --lr: linear warm-up, constant, linear to zero over the last --decay steps.

    Until the decay begins nothing depends on --steps, so an interrupted run may be resumed with another number.
    """
    return min(1.0, (step + 1) / args.warmup, (args.steps - step) / args.decay)


@dataclass
class Average:
    """Exponential moving average of parameters and buffers, short at first so that it forgets the initial weights."""

    model: KimiLinearForCausalLM
    rate: float

    def update(self, source, step):
        rate = min(self.rate, (1 + step) / (10 + step))
        with torch.no_grad():
            target = list(self.model.state_dict().values())
            torch._foreach_lerp_(target, list(source.state_dict().values()), 1 - rate)


class Trainer:
    def __init__(self, args):
        torch.manual_seed(args.seed)
        torch.set_num_threads(args.threads)
        self.args = args
        text, self.validation, _ = split_text(args.data, args.train_until)
        # The vocabulary comes from all of the first 90 %.
        self.tokenizer = Tokenizer.train(text + self.validation, args.vocab)
        encoder = DropoutEncoder(self.tokenizer, args.bpe_dropout, args.seed)
        self.windows = Windows(text, self.tokenizer, encoder, args.T, args.batch, args.chat_share, args.seed)
        self.validation_ids = torch.tensor(self.tokenizer.encode(self.validation))
        config = KimiLinearConfig(
            vocab_size=args.vocab, hidden_size=args.hidden, num_hidden_layers=args.layers,
            linear_attn_config=three_to_one(args.layers), intermediate_size=3 * args.hidden,
            moe_intermediate_size=args.expert_width,
        )  # fmt: skip
        self.model = KimiLinearForCausalLM(config, args.dropout)
        initialise(self.model)
        self.average = Average(copy.deepcopy(self.model).eval(), args.ema)
        self.optimizers = make_optimizers(self.model, args.lr, args.weight_decay, not args.no_muon)
        self.done, self.seconds = 0, 0.0
        args.out.mkdir(parents=True, exist_ok=True)
        if args.state and args.state.exists():
            self.resume()
        self.log = open(args.out / "training.jsonl", "a" if self.done else "w")
        print(f"{sum(p.numel() for p in self.model.parameters()):,} parameters", flush=True)

    def step(self, step):
        """One update. Returns the loss in nats per token, with dropout active."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.args.lr * learning_rate(step, self.args)
        inputs, targets = self.windows.next_batch()
        loss = F.cross_entropy(self.model(inputs).flatten(0, 1), targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        gates = self.model.gates()
        self.largest_load = max((gate.load.max() / gate.load.sum()).item() for gate in gates)
        for gate in gates:
            gate.balance(self.args.balance_rate)
        self.average.update(self.model, step)
        return loss.item()

    def keep(self, step, train_loss):
        """Saves the averaged weights and writes a line of the log, with bits per byte if validation text is left."""
        save_checkpoint(self.args.out, self.average.model, self.tokenizer)
        line = {
            "step": step, "epoch": round(self.windows.epoch, 2), "minutes": round(self.seconds / 60, 1),
            "train_nats": round(train_loss, 4), "largest_load": round(self.largest_load, 3),
        }  # fmt: skip
        if self.validation:
            nats = total_nats(self.average.model, self.validation_ids)
            line["validation_bpb"] = round(bits_per_byte(nats, self.validation), 4)
        print(json.dumps(line), flush=True)
        self.log.write(json.dumps(line) + "\n")
        self.log.flush()

    def save_state(self):
        """Everything the next step depends on, generators of random numbers included."""
        modules = [self.model, self.average.model, *self.optimizers]
        state = {
            "modules": [m.state_dict() for m in modules], "windows": self.windows, "rng": torch.get_rng_state(),
            "done": self.done, "seconds": self.seconds,
        }  # fmt: skip
        partial = self.args.state.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.args.state)

    def resume(self):
        state = torch.load(self.args.state, weights_only=False)
        modules = [self.model, self.average.model, *self.optimizers]
        for module, saved in zip(modules, state["modules"]):
            module.load_state_dict(saved)
        torch.set_rng_state(state["rng"])
        self.windows, self.done, self.seconds = state["windows"], state["done"], state["seconds"]

    def run(self):
        self.model.train()
        losses, started = [], time.time() - self.seconds
        for step in range(self.done, self.args.stop_after):
            losses.append(self.step(step))
            if (step + 1) % self.args.log_every == 0 or step + 1 == self.args.stop_after:
                self.done, self.seconds = step + 1, time.time() - started
                self.keep(self.done, sum(losses) / len(losses))
                if self.args.state:
                    self.save_state()
                losses = []


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--out", type=Path, required=True)
    add("--data", type=Path, default=default_data_path())
    add("--train-until", type=float, default=HELD_OUT_FROM,
        help="share of the text to train on; what is left of the first 90 %% is scored at every line of the log")
    add("--seed", type=int, default=1)
    add("--threads", type=int, default=1)
    add("--steps", type=int, default=2000, help="length of the learning rate's schedule")
    add("--stop-after", type=int, default=1500, help="steps; overfitting begins before the learning rate is zero")
    add("--T", type=int, default=512, help="window length, a multiple of 32")
    add("--batch", type=int, default=8, help="windows per step")
    add("--lr", type=float, default=2e-3)
    add("--warmup", type=int, default=100, help="steps")
    add("--decay", type=int, default=1000, help="steps over which the learning rate falls to zero, at the end")
    add("--weight-decay", type=float, default=0.1)
    add("--no-muon", action="store_true", help="AdamW for all parameters")
    add("--dropout", type=float, default=0.1)
    add("--bpe-dropout", type=float, default=0.1)
    add("--chat-share", type=float, default=0.1)
    add("--ema", type=float, default=0.998)
    add("--balance-rate", type=float, default=1e-3)
    add("--vocab", type=int, default=1024)
    add("--hidden", type=int, default=128)
    add("--layers", type=int, default=4)
    add("--expert-width", type=int, default=128)
    add("--log-every", type=int, default=100, help="steps")
    add("--state", type=Path, help="file to keep the state of an unfinished run in, and to resume it from")
    return parser.parse_args()


if __name__ == "__main__":
    Trainer(parse_args()).run()
