#!/usr/bin/env python3
"""Runs a kl program and writes a SHA-256 of all it computes, so that two builds can be compared.

    tools/record_outputs.py KL_PROGRAM OUT.json [--quick]
    tools/record_outputs.py KL_PROGRAM --compare BASE.json [--quick]

Recorded: logits, hidden streams and states of the bundled model and of every small checkpoint of tests/golden/oracle, as they
are and quantised; texts of `kl run` and `kl chat`; replies of `kl serve`; tokenizer, templates, perplexity; converted files.
--quick is a part of it that takes seconds and needs nothing but Python's own library.

What every kernel table must agree on is run with each one this machine has, and a table that disagrees with the others ends the
program.  A name that begins with `reference/` is of the reference table, which calls the C library's functions: it may differ
from one system to the next.  `~` marks what is said to a person, which may be worded otherwise: a difference is told, no error.
"""
import argparse
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from record_conversations import record_conversations

ROOT = pathlib.Path(__file__).resolve().parents[1]
DEMO = ROOT / "models/demo"
ORACLE = ROOT / "tests/golden/oracle"

SONNET = """Shall I compare thee to a summer's day?
Thou art more lovely and more temperate:
Rough winds do shake the darling buds of May,
And summer's lease hath all too short a date;
Sometime too hot the eye of heaven shines,
And often is his gold complexion dimm'd;
And every fair from fair sometime declines,
By chance or nature's changing course untrimm'd;
But thy eternal summer shall not fade,
Nor lose possession of that fair thou ow'st;
Nor shall death brag thou wander'st in his shade,
When in eternal lines to time thou grow'st:
So long as men can breathe or eyes can see,
So long lives this, and this gives life to thee.
"""


class Recorder:
    """NAME -> SHA-256 of what a program computes."""

    def __init__(self, program, is_whole):
        self.program, self.is_whole, self.hashes = str(program), is_whole, {}
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("KL_")}
        tables = re.search(r"kernel tables: (.*)", self.kl("--version").decode())[1].split(", ")
        self.tables = [table for table in tables if table != "reference"]

    def kl(self, *args, stdin="", table=None):
        """Standard output; a run that fails ends the recording."""
        environment = self.environment | ({"KL_ISA": table} if table else {})
        run = subprocess.run([self.program, *map(str, args)], input=stdin.encode(), capture_output=True, env=environment)
        if run.returncode != 0:
            sys.exit(f"kl {' '.join(map(str, args))}: status {run.returncode}: {run.stderr.decode()}")
        return run.stdout

    def put(self, name, data):
        assert name not in self.hashes, name
        self.hashes[name] = hashlib.sha256(data if isinstance(data, bytes) else data.encode()).hexdigest()

    def put_json(self, name, text, leave_out):
        """An object without the members that time, the machine or the place of files decide."""
        self.put(name, json.dumps({k: v for k, v in json.loads(text).items() if k not in leave_out}))

    def put_folder(self, name, folder):
        for file in sorted(folder.iterdir()):
            self.put(f"{name}/{file.name}", file.read_bytes())

    def put_of_tables(self, name, compute, with_reference):
        """`compute(table)` of all tables, which must be the same but for the reference table."""
        results = {table: compute(table) for table in self.tables}
        if len(set(results.values())) > 1:
            sys.exit(f"{name}: kernel tables disagree: { {t: hashlib.sha256(r).hexdigest()[:8] for t, r in results.items()} }")
        if results:
            self.put(name, next(iter(results.values())))
        if with_reference:
            self.put("reference/" + name, compute("reference"))


# --- logits and states --------------------------------------------------------------------------------------------------------

# What is recorded of every model; chunks and threads must not matter, so they differ on purpose.
QUICK_VARIANTS = {
    "default": ["--layers", "--state", "-t", "1"],
    "exact-expanded": ["--compute", "f32", "--mla", "expanded", "--layers", "--state", "--chunk", "7", "-t", "1"],
    "int8-latents": ["--cache-type", "int8", "--state-type", "bf16", "--state", "--mla", "auto", "--chunk", "64", "-t", "2"],
}
MORE_VARIANTS = {
    "exact": ["--compute", "f32", "--layers", "--state", "-t", "2"],
    "expanded": ["--mla", "expanded", "--layers", "--state", "--chunk", "50", "-t", "1"],
    "f32-latents": ["--cache-type", "f32", "--state", "-t", "1", "--chunk", "1"],
    "bf16-latents": ["--cache-type", "bf16", "--state", "-t", "2"],
    "bf16-latents-expanded": ["--cache-type", "bf16", "--mla", "expanded", "--state", "-t", "1", "--chunk", "100"],
    "bf16-latents-exact": ["--cache-type", "bf16", "--compute", "f32", "--mla", "auto", "--state", "-t", "1"],
    "int8-latents-expanded": ["--cache-type", "int8", "--mla", "expanded", "--state", "-t", "2", "--chunk", "33"],
    "conventions": ["--kv-a-eps", "1e-5", "--l2-eps", "1e-5", "--router-weights", "hf", "--last", "-t", "1"],
}


def token_lines(vocabulary, lengths):
    """Lines of ids drawn by a small generator of its own: the same everywhere, for ever."""
    lines, x = [], 1
    for length in lengths:
        ids = []
        for _ in range(length):
            x = (x * 6364136223846793005 + 1442695040888963407) % 2**64
            ids.append(str((x >> 33) % vocabulary))
        lines.append(" ".join(ids) + "\n")
    return lines


def record_logits(recorder, name, model, vocabulary, folder):
    lengths = [5, 37, 230] if recorder.is_whole else [5, 30, 200]
    (folder / "ids.txt").write_text("".join(token_lines(vocabulary, lengths)))
    variants = QUICK_VARIANTS | (MORE_VARIANTS if recorder.is_whole else {})
    for variant, flags in variants.items():

        def compute(table):
            recorder.kl("logits", "-m", model, "--tokens", folder / "ids.txt", "-o", folder / "out", *flags, table=table)
            return (folder / "out").read_bytes()

        recorder.put_of_tables(f"logits/{name}/{variant}", compute, variant in QUICK_VARIANTS and (recorder.is_whole or name == "tiny"))


def random_folders(folder):
    """Models as other programs quantise them, for which tests/golden has none."""
    sys.path.insert(0, str(ROOT / "tests/cli"))
    from quantised_model import QuantisedModel
    from random_model import RandomModel

    settings = {
        "mlx-3bit": ("mlx", dict(bits=3, group_size=64)),
        "mlx-5bit": ("mlx", dict(bits=5, group_size=64)),
        "mlx-8bit": ("mlx", dict(bits=8, group_size=32)),
        "mlx-mxfp8": ("mlx", dict(mode="mxfp8", group_size=32, bits=8)),
        "mlx-nvfp4": ("mlx", dict(mode="nvfp4", group_size=16, bits=4)),
        "compressed-int4": ("compressed-tensors", dict(format="pack-quantized", num_bits=4, group_size=32)),
        "compressed-int8": ("compressed-tensors", dict(format="pack-quantized", num_bits=8, group_size=32)),
        "compressed-int4-zeros": ("compressed-tensors", dict(format="pack-quantized", num_bits=4, group_size=32, symmetric=False)),
        "compressed-fp8": ("compressed-tensors", dict(format="float-quantized", strategy="channel")),
        "compressed-nvfp4": ("compressed-tensors", dict(format="nvfp4-pack-quantized")),
    }
    for number, (name, (family, how)) in enumerate(settings.items()):
        model = RandomModel(number, kinds="KKMK", dtype="BF16", hidden_size=64, kda_head_dim=32, kv_lora_rank=64, qk_nope_head_dim=64,
                            v_head_dim=64, qk_rope_head_dim=64, intermediate_size=128, moe_intermediate_size=64)
        is_fit = lambda module, shape: shape[-1] % 64 == 0 and not module.endswith("gate")
        QuantisedModel(model, family, lambda module, shape: how if is_fit(module, shape) else None).write(folder / name)
        yield name, folder / name, model.config["vocab_size"]


# --- texts --------------------------------------------------------------------------------------------------------------------

RUNS = {
    "greedy": ["-p", "ROMEO:\n", "-n", "60", "--temp", "0"],
    "seeded": ["-p", "ROMEO:\n", "-n", "60", "--seed", "1"],
    "filters": ["-p", "To be", "-n", "40", "--seed", "2", "--temp", "1.2", "--top-k", "20", "--top-p", "0.9", "--min-p", "0.02"],
    "penalties": ["-p", "To be", "-n", "40", "--seed", "3", "--repetition-penalty", "1.3", "--presence-penalty", "0.5",
                  "--frequency-penalty", "0.3", "--penalty-context", "0", "--logit-bias", "10=-inf", "--logit-bias", "411=1.5"],
    "stop": ["-p", "JULIET:\n", "-n", "80", "--seed", "4", "--stop", "the", "--stop", ".\n"],
    "drafts": ["-p", SONNET + SONNET[:200], "-n", "60", "--temp", "0", "--speculate", "ngram"],
    "drafts-seeded": ["-p", SONNET + SONNET[:200], "-n", "60", "--seed", "5", "--speculate", "ngram", "--max-draft", "3"],
    "chat": ["--chat", "--system", "Speak in verse.", "-p", "Who art thou?", "-n", "40", "--seed", "6"],
    "object": ["-p", "Answer: ", "-n", "60", "--seed", "7", "--json-object"],
    "unbounded": ["-p", "", "-n", "30", "--seed", "8", "--ignore-eos"],
    "special": ["-p", "<|im_user|>user<|im_middle|>Hi<|im_end|>", "-n", "20", "--seed", "9", "--special"],
}
LEFT_OUT_OF_RUN = {"timings", "model", "isa", "threads"}


def record_texts(recorder, name, model, folder):
    for run, flags in RUNS.items():
        recorder.put_of_tables(f"run/{name}/{run}", lambda table: recorder.kl("run", "-m", model, "-t", 1, *flags, table=table), False)
    recorder.put_json(f"run/{name}/json", recorder.kl("run", "-m", model, "-p", "HAMLET:", "-n", 20, "--seed", 1, "--json",
                                                      "--logprobs", 3), LEFT_OUT_OF_RUN)
    schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer"}},
              "required": ["name", "age"], "additionalProperties": False}
    (folder / "schema.json").write_text(json.dumps(schema))
    recorder.put(f"run/{name}/schema", recorder.kl("run", "-m", model, "-p", "A man: ", "--seed", 3, "-n", 60, "--json-schema",
                                                   folder / "schema.json"))
    session = folder / f"{name}.session"
    chat = ["chat", "-m", model, "-n", 20, "--session", session]
    recorder.put(f"chat/{name}/first", recorder.kl(*chat, "--system", "Be brief.", "--seed", 5, stdin="Good morrow!\n/regen\nAnd now?\n"))
    recorder.put(f"session/{name}/first", session.read_bytes())
    recorder.put(f"chat/{name}/later", recorder.kl(*chat, "--seed", 9, stdin="Who spoke?\n/system Be long.\nWho?\n"))
    recorder.put(f"session/{name}/later", session.read_bytes())
    recorder.put(f"chat/{name}/drafts", recorder.kl("chat", "-m", model, "-n", 30, "--temp", 0, "--speculate", "ngram",
                                                    stdin=SONNET.replace("\n", " ") + "\nAgain\n"))


def record_perplexity(recorder, name, model, base_model, folder):
    (folder / "sonnet.txt").write_text(SONNET)
    score = ["perplexity", "-f", folder / "sonnet.txt", "-c", 64, "--json"]
    left_out = {"seconds", "tokens_per_s", "model", "isa", "threads"}
    recorder.put_json(f"perplexity/{name}", recorder.kl(*score, "-m", model), left_out)
    recorder.put_json(f"perplexity/{name}/stride", recorder.kl(*score, "-m", model, "--stride", 32), left_out)
    if recorder.is_whole:
        recorder.put_json(f"perplexity/{name}/bos", recorder.kl(*score, "-m", model, "--bos", "-b", 1, "-t", 2), left_out)
    recorder.kl(*score, "-m", base_model, "--save-base", folder / "base")
    recorder.put(f"perplexity/{name}/base", (folder / "base").read_bytes())
    recorder.put_json(f"perplexity/{name}/compared", recorder.kl(*score, "-m", model, "--base", folder / "base"), left_out)


def record_tokens(recorder):
    text = SONNET + "\n  Ünïcödé 漢字 🙂 <|im_end|> 1234567 \t\r\n don't"
    for flags in (["--ids"], ["--json"], ["--json", "--special"], []):
        recorder.put("tokenize/" + "".join(flags), recorder.kl("tokenize", "-m", DEMO, *flags, "-", stdin=text))
    vocabulary = ROOT / "tests/golden/text"
    lines = (vocabulary / "encode.jsonl").read_text().splitlines()
    texts = "".join(json.dumps(json.loads(line)["text"]) + "\n" for line in lines if "text" in json.loads(line))
    ids = recorder.kl("tokenize", "-m", vocabulary, "--jsonl", stdin=texts)
    recorder.put("tokenize/jsonl", ids)
    recorder.put("detokenize/jsonl", recorder.kl("detokenize", "-m", vocabulary, "--jsonl", stdin=ids.decode()))
    conversations = [
        {"messages": [{"role": "user", "content": "Hi"}], "add_generation_prompt": True},
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a<|im_end|>b"},
                      {"role": "assistant", "content": "c"}, {"role": "user", "content": "ünd?"}]},
        {"messages": [{"role": "user", "content": "Weather?"},
                      {"role": "assistant", "content": None, "tool_calls": [
                          {"id": "functions.w:0", "type": "function", "function": {"name": "w", "arguments": "{\"at\": \"Rome\"}"}}]},
                      {"role": "tool", "tool_call_id": "functions.w:0", "name": "w", "content": "sunny"}],
         "tools": [{"type": "function", "function": {"name": "w", "parameters": {"type": "object", "properties": {
             "at": {"type": "string"}}}}}], "add_generation_prompt": True},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "parts"}]}], "chat_template_kwargs": {"x": [1, 2.5, None]}},
    ]
    lines = "".join(json.dumps(conversation) + "\n" for conversation in conversations)
    for flags in ([], ["--ids"], ["--chat-template", "builtin"]):
        recorder.put("render/" + "".join(flags), recorder.kl("render", "-m", DEMO, "--jsonl", *flags, stdin=lines))


# --- folders ------------------------------------------------------------------------------------------------------------------


def quantised_demos(recorder, folder):
    for bits in (4, 8):
        for group in (32, 64):
            out = folder / f"demo-q{bits}g{group}"
            recorder.kl("quantize", "-m", DEMO, "-o", out, "--bits", bits, "--group-size", group, "-t", 1)
            recorder.put_folder(f"files/quantize-{bits}-{group}", out)
            yield out.name, out


def record_conversions(recorder, quantised, folder):
    oracle = {name: ORACLE / name for name in ("tiny", "grouped", "tiny-transformers", "tiny-mlx-4bit-g32")}
    oracle["gguf"] = ORACLE / "tiny-gguf-q4_0/model.gguf"
    jobs = {"demo-hf": (DEMO, "hf"), "demo-mlx": (DEMO, "mlx"), "demo-mlx-4": (DEMO, "mlx", "--bits", 4),
            "demo-mlx-mxfp4": (DEMO, "mlx", "--mode", "mxfp4"), "demo-gguf-q8": (DEMO, "gguf", "--type", "q8_0"),
            "quantised-kl-to-hf": (quantised, "hf", "--type", "f32"), "gguf-to-kl": (oracle["gguf"], "kl"),
            "mlx-to-kl": (oracle["tiny-mlx-4bit-g32"], "kl")}
    if recorder.is_whole:
        for name, model in oracle.items():
            for to in ("hf", "mlx") if name == "grouped" else ("hf", "mlx", "gguf"):  # llama.cpp has no groups of experts
                jobs[f"{name}-to-{to}-f32"] = (model, to, "--type", "f32")
        jobs |= {"demo-mlx-8": (DEMO, "mlx", "--bits", 8, "--group-size", 32), "demo-gguf": (DEMO, "gguf"),
                 "demo-gguf-q4": (DEMO, "gguf", "--type", "q4_0"), "demo-hf-shards": (DEMO, "hf", "--shard-size", 0.001, "-t", 2),
                 "quantised-kl-to-gguf": (quantised, "gguf", "--type", "f32"), "tiny-transformers-to-kl": (oracle["tiny-transformers"], "kl"),
                 "tiny-mlx-to-mlx": (oracle["tiny-mlx-4bit-g32"], "mlx")}
    for name, (model, to, *flags) in jobs.items():
        recorder.kl("convert", "-m", model, "-o", folder / name, "--to", to, *flags)
        recorder.put_folder("files/" + name, folder / name)
    synth = {"bf16": [], "4bit": ["--bits", 4]} | ({"8bit": ["--bits", 8, "--group-size", 64, "--seed", 7]} if recorder.is_whole else {})
    for name, flags in synth.items():
        recorder.kl("synth", "--like", "tiny", "-o", folder / f"synth-{name}", *flags)
        recorder.put_folder(f"files/synth-{name}", folder / f"synth-{name}")
    if recorder.is_whole:
        (folder / "text.txt").write_text(SONNET * 8)
        table = recorder.kl("quantize", "-m", DEMO, "-o", folder / "mixed", "--target-bpw", 6, "--calibrate", folder / "text.txt",
                            "--calibration-tokens", 1024, "--json")
        recorder.put_json("files/mixed", table, {"path", "seconds", "output", "source", "model"})
        recorder.put_folder("files/mixed", folder / "mixed")


def record_inspections(recorder, name, model):
    """Numbers and words for a person; those of this machine's memory and place are left out."""
    text = recorder.kl("inspect", "-m", model, "--json", "--tensors").decode()
    recorder.put_json("~inspect/" + name, text, {"path", "isa", "kernels", "memory", "plan"})


# --- all of it ----------------------------------------------------------------------------------------------------------------


def record(program, is_whole):
    recorder = Recorder(program, is_whole)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        quantised = dict(quantised_demos(recorder, folder))
        models = {"demo": DEMO} | quantised
        for name, model in models.items():
            record_logits(recorder, name, model, 1024, folder)
        for model in sorted(ORACLE.iterdir()):
            if model.is_dir() and (is_whole or model.name not in ("stress", "headdims", "headdims-gguf-q4_k_m")):
                gguf = model / "model.gguf"
                config = ORACLE / model.name.split("-")[0] / "config.json"
                record_logits(recorder, model.name, gguf if gguf.exists() else model, json.loads(config.read_text())["vocab_size"], folder)
        for name in ("demo", "demo-q4g32") if not is_whole else models:
            record_texts(recorder, name, models[name], folder)
        for name in ("demo-q4g32",) if not is_whole else quantised:
            record_perplexity(recorder, name, quantised[name], DEMO, folder)
        record_tokens(recorder)
        record_conversions(recorder, quantised["demo-q4g32"], folder)
        for name, model in models.items():
            record_inspections(recorder, name, model)
        record_conversations(recorder, quantised["demo-q4g32"], folder)
        if is_whole:
            for name, model, vocabulary in random_folders(folder):
                record_logits(recorder, name, model, vocabulary, folder)
            for name in ("tiny", "grouped", "softmax", "headdims"):
                recorder.put_json(f"~verify/{name}", recorder.kl("verify", "-m", ORACLE / name, "--json"), {"path", "dump"})
    return recorder.hashes


def compare(base, found):
    """Tells differences; the exit status."""
    wrong = 0
    for name in sorted(base | found):
        if base.get(name) == found.get(name):
            continue
        what = "is new" if name not in base else "is missing" if name not in found else "differs"
        print(f"{name}: {what}" + (" (may be)" if name.startswith("~") else ""))
        wrong += not name.startswith("~")
    print(f"{len(base)} outputs, {wrong} wrong")
    return int(wrong > 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("output", nargs="?", help="file to write")
    parser.add_argument("--compare", metavar="BASE", help="an earlier output")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    hashes = record(pathlib.Path(args.program).resolve(), not args.quick)
    if args.output:
        pathlib.Path(args.output).write_text(json.dumps(hashes, indent=0, sort_keys=True) + "\n")
    return compare(json.loads(pathlib.Path(args.compare).read_text()), hashes) if args.compare else 0


if __name__ == "__main__":
    sys.exit(main())
