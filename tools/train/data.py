"""The text, its split, and the windows that training sees.

    |<-- training: up to `train_until` -->|<-- validation: up to 90 % -->|<-- held out: the last 10 % -->|

The first 90 % of the bytes are the usual training text of this file.  To compare recipes, training stops earlier and
the rest of the 90 % is scored.  The last 10 % are for the one number that is reported.
"""

import os
import random
from pathlib import Path

import torch

HELD_OUT_FROM = 0.9


def default_data_path():
    return Path(os.environ.get("KL_SHARED", "../shared")) / "data" / "tinyshakespeare.txt"


def split_text(path, train_until=HELD_OUT_FROM):
    """Returns (train, validation, held_out) as text.  Validation starts at a speech, or is empty."""
    if not 0 < train_until <= HELD_OUT_FROM:
        raise ValueError(f"train_until: expected more than 0 and at most {HELD_OUT_FROM}, got {train_until}")
    raw = Path(path).read_bytes()
    end = int(len(raw) * HELD_OUT_FROM)
    start = end if train_until == HELD_OUT_FROM else raw.index(b"\n\n", int(len(raw) * train_until)) + 2
    return raw[:start].decode(), raw[start:end].decode(), raw[end:].decode()


def speeches(text):
    """What is said, in order, without the speakers' names: blocks "NAME:\\nlines" between empty lines."""
    found = []
    for block in text.split("\n\n"):
        name, _, lines = block.strip("\n").partition("\n")
        if name.endswith(":") and lines:
            found.append(lines)
    return found


class Windows:
    """Endless batches of windows of T + 1 ids: mostly running text, `chat_share` of them dialogues.

    A dialogue is consecutive speeches, in turns of user and assistant, in the family's chat format.  The running
    text is tokenised with BPE-dropout and cut at a new offset for every pass over it.
    """

    BOS_SHARE = 0.03  # windows whose first id is [BOS], so that a prompt may begin with it

    def __init__(self, text, tokenizer, encoder, T, batch, chat_share, seed):
        self.text, self.encoder, self.T, self.batch = text, encoder, T, batch
        self.special, self.chat_share = tokenizer.special, chat_share
        self.speeches = speeches(text)
        self.random = random.Random(seed)
        self.roles = {role: tokenizer.encode(role) for role in ("user", "assistant")}
        self.epoch = 0.0  # passes over the running text
        self.pending = []

    def refill(self):
        ids = torch.tensor(self.encoder.encode(self.text))
        offset = self.random.randrange(self.T)
        count = (len(ids) - offset - 1) // self.T
        self.pending = [ids[offset + i * self.T :][: self.T + 1].clone() for i in range(count)]
        self.random.shuffle(self.pending)
        self.per_epoch = count

    def text_window(self):
        if not self.pending:
            self.refill()
        self.epoch += 1 / self.per_epoch
        window = self.pending.pop()
        if self.random.random() < self.BOS_SHARE:
            window[0] = self.special["[BOS]"]
        return window

    def chat_window(self):
        ids, at = [], self.random.randrange(len(self.speeches) - 64)
        role = "user"
        while len(ids) <= self.T:
            marker = self.special["<|im_user|>" if role == "user" else "<|im_assistant|>"]
            ids += [marker, *self.roles[role], self.special["<|im_middle|>"]]
            ids += [*self.encoder.encode(self.speeches[at]), self.special["<|im_end|>"]]
            role, at = ("assistant" if role == "user" else "user"), at + 1
        return torch.tensor(ids[: self.T + 1])

    def next_batch(self):
        """Returns inputs and targets, both [batch, T]."""
        rows = [
            self.chat_window() if self.random.random() < self.chat_share else self.text_window()
            for _ in range(self.batch)
        ]
        block = torch.stack(rows)
        return block[:, :-1], block[:, 1:]
