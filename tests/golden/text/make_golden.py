"""Writes a small vocabulary of our own and what tiktoken itself makes of difficult texts with it:
tiktoken.model, tokenizer_config.json, config.json, encode.jsonl, limits.jsonl, bytes.jsonl, stream.jsonl.

    pip install tiktoken==0.14.0 regex==2024.11.6 && python3 make_golden.py
"""
import base64
import codecs
import collections
import hashlib
import json
import random
import struct

import regex
import tiktoken

UP = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
LOW = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
LEAD = r"[^\r\n\p{L}\p{N}]?"
SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
PATTERN = "|".join([r"[\p{Han}]+", LEAD + UP + "*" + LOW + "+" + SUFFIX, LEAD + UP + "+" + LOW + "*" + SUFFIX,
                    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])

# What the vocabulary is trained on: written for this file.
TEXT = """
The small engine reads its weights, then it reads what you wrote, and then it writes what comes next. It doesn't know
what a word is; it knows that some letters like to stand together. We've counted them, she'd say, and they'll stay counted:
the, there, then, other, others, another, mother, weather, whether. HelloWorld, parseTheFile, HTTPServer, getTokenId.
I'm here, you're there, he's gone, it can't be, they'd seen it. Numbers come in threes: 1234567890, 3.14159, 2048, 163840.
    for (int i = 0; i < n; ++i) {
        total += value[i] * weight[i];  // an indented line
    }
Ein kleines Programm liest schöne Wörter. Où est la bibliothèque ? El niño pequeño comió mañana.
Маленькая программа читает слова. Слова и ещё слова. Μικρό πρόγραμμα διαβάζει λέξεις.
小さなプログラムは言葉を読みます。カタカナとひらがな。 我们读文字，文字很多。今天天气很好，我们读书。
छोटा कार्यक्रम शब्द पढ़ता है। برنامج صغير يقرأ الكلمات. תוכנית קטנה קוראת מילים. โปรแกรมเล็กอ่านคำ 작은 프로그램이 글을 읽는다.
Emoji stay whole: 😀 👩‍🚀 👍🏽 🇫🇷. Dots ... and dashes --- and ===== lines =====.


Three line ends above, and two blanks  here, and\ta tab.
"""
NUM_MERGES = 400
CONTROL = {0: ("[BOS]", True), 1: ("[EOS]", True), 2: ("<|im_end|>", True), 3: ("<|im_user|>", True),
           4: ("<|im_assistant|>", True), 6: ("<|im_system|>", True), 7: ("<|tool_call_begin|>", False),
           9: ("<|im_middle|>", True)}
NUM_SLOTS = 12


def train():
    """The ranks: single bytes, then the most frequent pair of neighbours inside a piece, again and again."""
    pieces = collections.Counter(regex.findall("(?V1)" + PATTERN, TEXT))
    words = {tuple(bytes([b]) for b in piece.encode()): count for piece, count in pieces.items()}
    ranks = {bytes([b]): b for b in range(256)}
    for _ in range(NUM_MERGES):
        pairs = collections.Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merged = {}
        for word, count in words.items():
            out, i = [], 0
            while i < len(word):
                step = 2 if word[i:i + 2] == best else 1
                out.append(b"".join(word[i:i + step]))
                i += step
            merged[tuple(out)] = merged.get(tuple(out), 0) + count
        words = merged
        if b"".join(best) not in ranks:
            ranks[b"".join(best)] = len(ranks)
    return ranks


def segments(text):
    """The cuts the reference tokenizer makes before anything else."""
    for window in range(0, len(text), 400_000):
        part, start, run, previous = text[window:window + 400_000], 0, 0, None
        for i, c in enumerate(part):
            run = run + 1 if c.isspace() == previous else 1
            previous = c.isspace()
            if run > 25_000:
                yield part[start:i]
                start, run = i, 1
        yield part[start:]


ranks = train()
first = len(ranks)
names = {first + i: CONTROL.get(i, (f"<|reserved_token_{first + i}|>", False)) for i in range(NUM_SLOTS)}
special = {name: i for i, (name, _) in names.items()}
encoding = tiktoken.Encoding("small", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=special)


def encode(text, control=False):
    return [i for s in segments(text) for i in (encoding.encode(s, allowed_special="all") if control else encoding.encode_ordinary(s))]


def write_lines(name, values):
    with open(name, "w") as f:
        f.writelines(json.dumps(value) + "\n" for value in values)


# One or two members of every kind of character the pattern tells apart.
ALPHABET = ["a", "z", "A", "Z", "é", "É", "ǅ", "ʰ", "あ", "א", "ª", "\u0301", "\u0903", "中", "々", "〇", "⺀", "\U00016ff0", "1", "٣", "½", "Ⅷ",
            " ", "  ", "\t", "\n", "\r", "\r\n", "\u00a0", "\u3000", "\u0085", "\u2028", "\u001c", "\u200b", "\ufeff", "!", "'", "’", "'s", "'S", "'ſ",
            "'re", "'LL", "😀", "\u200d", "\u0378", "\U000105c0", "\U00010940", "\U00010d40", "\ufffd", "\U0010ffff", "K", "the", "The", "HTTP"]
FIXED = ["", "a", " ", "HelloWorld", "ABCdef", "あA", "Aあ", "ʰA", "ǅa", "I'm'm", "I'M", "it's'", "!́a", "!́A", "́A", "〇1", "1〇", "!⺀", "!中",
         " ⺀", " 中", "a  b", "a  \n  b", "a \r\n\r\n  b", "\tx", "  \tx", "12345678", "x1y22z333w4444", "...\n\n\nx", " \n", "\n \n ", "don't DON'T",
         "they'll'd", "x\u001cy", "\u001c\u001cx", "Ünïcödé Ωμέγα", "привет МИР", "カタカナひらがな漢字", "👩‍🚀👍🏽🇫🇷", "नमस्ते दुनिया", "สวัสดีชาวโลก",
         "<|im_end|>", "a  <|im_end|>  b", "<|im_end|><|im_end|>", "<<|im_user|>", "<|im_use|>", "[BOS][EOS]x",
         f"<|reserved_token_{first + 5}|>", f"<|reserved_token_{first + 99}|>", "<|tool_call_begin|>f", TEXT]


def make_encode(rng):
    texts = list(FIXED)
    for _ in range(700):
        texts.append("".join(rng.choice(ALPHABET) for _ in range(rng.randrange(2, 14))))
    for _ in range(60):
        start = rng.randrange(len(TEXT))
        texts.append(TEXT[start:start + rng.randrange(5, 200)])
    for text in texts:
        golden = {"text": text, "ids": encode(text)}
        if encode(text, True) != golden["ids"]:
            golden["control_ids"] = encode(text, True)
        yield golden


def make_limits():
    recipes = [[["a", n]] for n in (24_999, 25_000, 25_001, 50_001)]
    recipes += [[[" ", 25_000], ["x", 1]], [[" ", 25_001], ["x", 1]], [["\u001c", 20_000], [" ", 5_001], ["a", 1]],
                [["中", 25_001]], [["a", 12_000], ["😀", 13_001]], [["ab ", 133_334]], [["ab ", 133_333], ["the other", 1]],
                [["the\n", 120_000]], [["x", 24_997], ["<|im_end|>", 1]], [["é", 26_000], [" ", 26_000], ["1", 26_000]]]
    for repeat in recipes:
        text = "".join(part * count for part, count in repeat)
        golden = {"repeat": repeat, "segments": [len(s) for s in segments(text)]}
        for key, ids in (("ids", encode(text)), ("control_ids", encode(text, True))):
            golden[key] = {"count": len(ids), "sha256": hashlib.sha256(struct.pack(f"<{len(ids)}I", *ids)).hexdigest()}
        yield golden


BYTES = [b"\xff", b"\xc0\x80", b"\xe4", b"\xe4\xb8", "中".encode(), b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xed\xa0", b"\xf0\x9f\x98", "😀".encode(),
         b"\xf4\x90\x80\x80", b"\xf5", b"\x80", b"a", b" the", b"\n", b"\xf0\x9f", b"\xed\x9f\xbf", b"\xc3\xa9", b"\xc3"]


def make_bytes(rng):
    for _ in range(150):
        data = b"".join(rng.choice(BYTES) for _ in range(rng.randrange(1, 8)))
        yield {"hex": data.hex(), "text": data.decode("utf-8", "replace"), "replace_ids": encode(data.decode("utf-8", "replace"))}


def make_stream(rng):
    skipped = {i for i, (_, flag) in names.items() if flag}
    for _ in range(150):
        data = b"".join(rng.choice(BYTES) for _ in range(rng.randrange(1, 5)))
        ids = [i for b in data for i in ([b] if rng.random() < 0.9 else [b, first + rng.randrange(NUM_SLOTS)])]
        ids += [rng.randrange(256, first) for _ in range(rng.randrange(3))]
        golden = {"ids": ids}
        for key, skip in (("shown", set()), ("skipped", skipped)):
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            chunks = ["" if i in skip else decoder.decode(encoding.decode_single_token_bytes(i)) for i in ids]
            golden[key] = chunks + [decoder.decode(b"", True)]
        yield golden


def main():
    with open("tiktoken.model", "wb") as f:
        f.writelines(base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items())
    decoder = {str(first + i): {"content": name, "special": flag} for i, (name, flag) in CONTROL.items()}
    with open("tokenizer_config.json", "w") as f:
        json.dump({"added_tokens_decoder": decoder}, f, indent=1)
        f.write("\n")
    with open("config.json", "w") as f:
        json.dump({"vocab_size": first + NUM_SLOTS, "eos_token_id": first + 1}, f, indent=1)
        f.write("\n")
    write_lines("encode.jsonl", make_encode(random.Random(1)))
    write_lines("limits.jsonl", make_limits())
    write_lines("bytes.jsonl", make_bytes(random.Random(2)))
    write_lines("stream.jsonl", make_stream(random.Random(3)))


main()
