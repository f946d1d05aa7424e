"""A small byte-level BPE in the family's file format: training, BPE-dropout for training text, tiktoken for the rest.

Ids: ranks 0..num_ranks-1 (0..255 are the single bytes), then NUM_SPECIAL control ids at the same offsets from the
first free id as in the released vocabulary, so [UNK] and [PAD] are the last two.
"""

import base64
import json
import random
from collections import Counter
from pathlib import Path

import regex
import tiktoken
from tiktoken.load import load_tiktoken_bpe

# The family's pre-tokeniser, verbatim.
PATTERN = "|".join([
    r"[\p{Han}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"\s*[\r\n]+",
    r"\s+(?!\S)",
    r"\s+",
])  # fmt: skip

NUM_SPECIAL = 32
SPECIAL_OFFSETS = {
    "[BOS]": 0, "[EOS]": 1, "<|im_end|>": 2, "<|im_user|>": 3, "<|im_assistant|>": 4, "<|start_header_id|>": 6,
    "<|end_header_id|>": 7, "[EOT]": 9, "<|im_system|>": 10, "<|tool_calls_section_begin|>": 11,
    "<|tool_calls_section_end|>": 12, "<|tool_call_begin|>": 13, "<|tool_call_argument_begin|>": 14,
    "<|tool_call_end|>": 15, "<|im_middle|>": 17, "[UNK]": NUM_SPECIAL - 2, "[PAD]": NUM_SPECIAL - 1,
}  # fmt: skip


def split_pieces(text):
    """The pre-tokeniser's pieces, as bytes."""
    return [piece.encode() for piece in regex.findall("(?V1)" + PATTERN, text)]


def train_ranks(text, num_ranks):
    """Byte-pair merges by frequency over the pieces of `text`; ties go to the smaller pair. Returns {bytes: rank}."""
    counts = Counter(split_pieces(text))
    words = [([bytes([b]) for b in piece], count) for piece, count in sorted(counts.items())]
    ranks = {bytes([b]): b for b in range(256)}
    pair_counts, pair_words = Counter(), {}
    for i, (parts, count) in enumerate(words):
        for pair in zip(parts, parts[1:]):
            pair_counts[pair] += count
            pair_words.setdefault(pair, set()).add(i)
    while len(ranks) < num_ranks:
        pair = min(pair_counts, key=lambda p: (-pair_counts[p], p))
        merged = pair[0] + pair[1]
        ranks[merged] = len(ranks)
        for i in sorted(pair_words.pop(pair)):
            parts, count = words[i]
            for old in zip(parts, parts[1:]):
                pair_counts[old] -= count
            parts[:] = merge_pair(parts, pair, merged)
            for new in zip(parts, parts[1:]):
                pair_counts[new] += count
                pair_words.setdefault(new, set()).add(i)
        del pair_counts[pair]
    return ranks


def merge_pair(parts, pair, merged):
    out, i = [], 0
    while i < len(parts):
        if i + 1 < len(parts) and (parts[i], parts[i + 1]) == pair:
            out.append(merged)
            i += 2
        else:
            out.append(parts[i])
            i += 1
    return out


class Tokenizer:
    def __init__(self, ranks):
        self.ranks = ranks
        base = len(ranks)
        self.special = {
            **{f"<|reserved_token_{base + i}|>": base + i for i in range(NUM_SPECIAL)
               if i not in SPECIAL_OFFSETS.values()},
            **{name: base + offset for name, offset in SPECIAL_OFFSETS.items()},
        }  # fmt: skip
        self.vocab_size = base + NUM_SPECIAL
        self.tiktoken = tiktoken.Encoding(
            "kimi-demo", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=self.special
        )

    @classmethod
    def train(cls, text, vocab_size):
        return cls(train_ranks(text, vocab_size - NUM_SPECIAL))

    @classmethod
    def load(cls, folder):
        return cls(load_tiktoken_bpe(str(Path(folder) / "tiktoken.model")))

    def save(self, folder):
        lines = [f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in self.ranks.items()]
        (folder / "tiktoken.model").write_text("".join(lines))
        # The five tool ids stay visible when special tokens are skipped, as in the family's own files.
        added = {
            str(i): {"content": name, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
                     "special": "tool_call" not in name}
            for name, i in sorted(self.special.items(), key=lambda item: item[1])
        }  # fmt: skip
        config = {
            "added_tokens_decoder": added,
            "bos_token": "[BOS]",
            "eos_token": "<|im_end|>",
            "pad_token": "[PAD]",
            "unk_token": "[UNK]",
            "clean_up_tokenization_spaces": False,
            "model_max_length": 1048576,
            "tokenizer_class": "TikTokenTokenizer",
            "auto_map": {"AutoTokenizer": ["tokenization_kimi.TikTokenTokenizer", None]},
        }
        text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
        (folder / "tokenizer_config.json").write_text(text)

    def encode(self, text):
        """Ids of plain text; control strings in it are ordinary text."""
        return self.tiktoken.encode(text, disallowed_special=())

    def decode(self, ids):
        return self.tiktoken.decode(ids)


class DropoutEncoder:
    """BPE-dropout (Provilkov et al., 2020): every possible merge is skipped with probability p, each time it is
    looked at, so the same word comes in many spellings.  Up to POOL spellings of a word are drawn; later uses pick
    one of them, which costs almost nothing and repeats frequent words only."""

    POOL = 48

    def __init__(self, tokenizer, p, seed):
        self.ranks, self.p, self.random = tokenizer.ranks, p, random.Random(seed)
        self.pools = {}

    def encode(self, text):
        return [i for piece in split_pieces(text) for i in self.encode_piece(piece)]

    def encode_piece(self, piece):
        pool = self.pools.setdefault(piece, [])
        if len(pool) < self.POOL:
            pool.append(self.draw(piece))
            return pool[-1]
        return self.random.choice(pool)

    def draw(self, piece):
        parts = [piece[i : i + 1] for i in range(len(piece))]
        while True:
            best, at = None, -1
            for i in range(len(parts) - 1):
                rank = self.ranks.get(parts[i] + parts[i + 1])
                if rank is None or (best is not None and rank >= best):
                    continue
                if self.p == 0 or self.random.random() >= self.p:
                    best, at = rank, i
            if best is None:
                return [self.ranks[part] for part in parts]
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
