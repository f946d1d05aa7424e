#!/usr/bin/env python3
"""Converts models with kl and asks the programs whose formats these are.

    python3 -m venv mlx && mlx/bin/pip install 'mlx[cpu]' mlx-lm
    python3 -m venv llama && llama/bin/pip install numpy llama-cpp-python     # compiles llama.cpp: some minutes
    python3 tools/check_conversions.py --mlx mlx/bin/python --llama llama/bin/python [--kl build/release/bin/kl] [MODEL ...]

MODEL is a folder of single floats; the default is tiny and headdims of the reference data ($KL_SHARED, else ../shared).

  mlx    for every setting, each tensor kl writes has the bytes that mlx-lm's own load, quantize_model and save_model write, and
         mlx-lm computes with kl's folder the logits kl computes with it
  gguf   llama.cpp opens kl's file and computes what kl computes with it, and with the numbers decoded to f32 the same closely.  llama.cpp rounds activations to 8 bits before products
         with quantised weights (to bf16 and f16 with those), so there medians are compared: where an expert changes, that position
         and those after it differ by more.  tests/cli/test_convert.py compares the blocks themselves with llama.cpp's
  back   GGUF and MLX folders converted back have the numbers they came with

Both programs are compared under their own conventions (eps of kv_a_layernorm and of L2).  Exit status 1 if anything differs.
"""
import argparse
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHARED = pathlib.Path(os.environ.get("KL_SHARED", ROOT.parent / "shared"))
TOKENS = [3, 300, 17, 250, 99, 4, 180, 181, 7, 64, 2, 311, 30, 31, 200, 12, 77, 140, 141, 142, 5, 90, 260, 8]

# flags of kl convert --to mlx, and the same for mlx-lm: dtype, quantize, group size, bits, mode
MLX_SETTINGS = [
    ([], [None, False, None, None, "affine"]),
    (["--type", "bf16"], ["bfloat16", False, None, None, "affine"]),
    (["--type", "f16"], ["float16", False, None, None, "affine"]),
    (["--bits", "4"], [None, True, None, None, "affine"]),
    (["--bits", "4", "--group-size", "32"], [None, True, 32, 4, "affine"]),
    (["--bits", "8", "--type", "bf16"], ["bfloat16", True, 64, 8, "affine"]),
    (["--bits", "6", "--group-size", "32", "--type", "f16"], ["float16", True, 32, 6, "affine"]),
    (["--bits", "5", "--group-size", "64"], [None, True, 64, 5, "affine"]),
    (["--bits", "3", "--group-size", "32", "--type", "bf16"], ["bfloat16", True, 32, 3, "affine"]),
    (["--bits", "2", "--group-size", "64"], [None, True, 64, 2, "affine"]),
    (["--bits", "4", "--group-size", "128"], [None, True, 128, 4, "affine"]),
    (["--mode", "mxfp4"], [None, True, None, None, "mxfp4"]),
    (["--mode", "mxfp4", "--type", "bf16"], ["bfloat16", True, None, None, "mxfp4"]),
]
# type, largest difference of logits, or of the median over positions where llama.cpp rounds activations
GGUF_SETTINGS = [("f32", 1e-3, None), ("bf16", None, 0.2), ("f16", None, 0.05), ("q8_0", None, 0.5), ("q4_0", None, 0.5)]

MLX_CODE = """
import json, sys
from pathlib import Path
import mlx.core as mx, numpy as np
from mlx.utils import tree_map_with_path
from mlx_lm.utils import load_model, quantize_model, save_model, save_config
mx.set_default_device(mx.cpu)
for job in json.load(sys.stdin):
    if job["what"] == "convert":
        model, config = load_model(Path(job["model"]), lazy=True)
        dtype, quantize, group, bits, mode = job["settings"]
        if dtype:
            keep = model.cast_predicate
            cast = lambda k, v: v.astype(getattr(mx, dtype)) if keep(k) and mx.issubdtype(v.dtype, mx.floating) else v
            model.update(tree_map_with_path(cast, model.parameters()))
        if quantize: model, config = quantize_model(model, config, group, bits, mode=mode)
        save_model(job["out"], model)
        save_config(config, Path(job["out"]) / "config.json")
    else:
        model, _ = load_model(Path(job["model"]))
        wide = lambda k, v: v.astype(mx.float32) if mx.issubdtype(v.dtype, mx.floating) else v
        model.update(tree_map_with_path(wide, model.parameters()))
        np.save(job["out"], np.array(model(mx.array([job["tokens"]]))[0].astype(mx.float32)))
"""

LLAMA_CODE = """
import json, sys
import numpy as np, llama_cpp.llama_cpp as L
L.llama_backend_init()
quiet = L.llama_log_callback(lambda level, text, user: None)
L.llama_log_set(quiet, None)
for job in json.load(sys.stdin):
    params = L.llama_model_default_params()
    model = L.llama_model_load_from_file(job["model"].encode(), params)
    if not model: sys.exit(job["model"] + ": llama.cpp cannot load it")
    vocab = L.llama_vocab_n_tokens(L.llama_model_get_vocab(model))
    c = L.llama_context_default_params()
    c.n_ctx = c.n_batch = c.n_ubatch = 64
    c.flash_attn_type, c.type_k, c.type_v = L.LLAMA_FLASH_ATTN_TYPE_DISABLED, 0, 0
    context = L.llama_init_from_model(model, c)
    tokens = job["tokens"]
    batch = L.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for i, token in enumerate(tokens):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, True
        batch.seq_id[i][0] = 0
    if L.llama_decode(context, batch): sys.exit(job["model"] + ": llama_decode failed")
    rows = [np.ctypeslib.as_array(L.llama_get_logits_ith(context, i), (vocab,)).copy() for i in range(len(tokens))]
    np.save(job["out"], np.stack(rows))
"""


def tensors_of(folder):
    """{name: (dtype, shape, bytes)} of all safetensors files of a folder."""
    tensors = {}
    for path in sorted(pathlib.Path(folder).glob("model*.safetensors")):
        data = path.read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        for name, entry in json.loads(data[8:8 + length]).items():
            if name != "__metadata__":
                begin, end = (8 + length + x for x in entry["data_offsets"])
                tensors[name] = (entry["dtype"], entry["shape"], data[begin:end])
    return tensors


def read_npy(path):
    """A float32 matrix as rows, with the standard library alone."""
    import array
    data = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<H", data[8:10])
    header = eval(data[10:10 + length])  # noqa: S307: a literal that numpy wrote
    assert header["descr"] == "<f4" and not header["fortran_order"]
    rows, cols = header["shape"]
    values = array.array("f", data[10 + length:])
    return [values[r * cols:(r + 1) * cols] for r in range(rows)]


class Check:
    def __init__(self, args, folder):
        self.args, self.folder, self.failed, self.tokens = args, folder, 0, TOKENS

    def kl(self, *words):
        done = subprocess.run([self.args.kl, *map(str, words)], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"kl {' '.join(map(str, words))}: {done.stderr}")

    def other(self, python, code, jobs):
        """Runs jobs in one process of another Python."""
        done = subprocess.run([python, "-c", code], input=json.dumps(jobs), text=True, capture_output=True)
        if done.returncode != 0:
            sys.exit(done.stderr[-3000:])

    def report(self, what, text, is_fine):
        print(f"{'ok  ' if is_fine else 'FAIL'}  {what:58} {text}", flush=True)
        self.failed += not is_fine

    def take_prompt(self, model):
        """The reference data's own prompt, which comes near no routing decision."""
        self.tokens = TOKENS
        if (model / "golden.safetensors").exists():
            _, (count,), data = tensors_of_file(model / "golden.safetensors")["tokens2"]
            self.tokens = list(struct.unpack(f"<{count}q", data))

    def logits(self, model, *flags):
        (self.folder / "ids").write_text(" ".join(map(str, self.tokens)))
        self.kl("logits", "-m", model, "--tokens", self.folder / "ids", "-o", self.folder / "logits", *flags)
        import array
        _, (rows, cols), data = tensors_of_file(self.folder / "logits")["logits"]
        values = array.array("f", data)
        return [values[r * cols:(r + 1) * cols] for r in range(rows)]

    def compare(self, what, ours, theirs, budget, median_budget=None):
        by_row = sorted(max(abs(a - b) for a, b in zip(x, y)) for x, y in zip(ours, theirs))
        median, largest = by_row[len(by_row) // 2], by_row[-1]
        is_fine = len(ours) == len(theirs) and (largest <= budget if budget else median <= median_budget)
        self.report(what, f"logits differ by {largest:.1e} at most, {median:.1e} in the middle", is_fine)

    def mlx(self, model):
        jobs = []
        for i, (flags, settings) in enumerate(MLX_SETTINGS):
            ours, theirs = self.folder / f"{model.name}-kl{i}", self.folder / f"{model.name}-mlx{i}"
            self.kl("convert", "-m", model, "-o", ours, "--to", "mlx", *flags)
            jobs.append({"what": "convert", "model": str(model), "settings": settings, "out": str(theirs)})
            jobs.append({"what": "logits", "model": str(ours), "tokens": self.tokens, "out": f"{ours}.npy"})
        self.other(self.args.mlx, MLX_CODE, jobs)
        for i, (flags, _) in enumerate(MLX_SETTINGS):
            what = f"{model.name}: mlx {' '.join(flags)}"
            ours, theirs = self.folder / f"{model.name}-kl{i}", self.folder / f"{model.name}-mlx{i}"
            a, b = tensors_of(ours), tensors_of(theirs)
            wrong = [name for name in sorted(a.keys() | b.keys()) if a.get(name) != b.get(name)]
            self.report(what, f"{len(a)} tensors, {len(wrong)} differ {wrong[:3] or ''}", not wrong)
            blocks = [json.loads((f / "config.json").read_text()).get("quantization") for f in (ours, theirs)]
            self.report(what, "quantization of config.json is the same", blocks[0] == blocks[1])
            self.compare(what, self.logits(ours, "--compute", "f32", "--cache-type", "f32", "--kv-a-eps", "1e-5"), read_npy(f"{ours}.npy"), 2e-3)

    def gguf(self, model):
        jobs = []
        for type_, _, _ in GGUF_SETTINGS:
            out = self.folder / f"{model.name}-{type_}"
            self.kl("convert", "-m", model, "-o", out, "--to", "gguf", "--type", type_)
            wide = pathlib.Path(f"{out}-wide")
            self.kl("convert", "-m", out / "model.gguf", "-o", wide, "--to", "gguf", "--type", "f32")
            for folder in (out, wide):
                jobs.append({"model": str(folder / "model.gguf"), "tokens": self.tokens, "out": f"{folder}.npy"})
        self.other(self.args.llama, LLAMA_CODE, jobs)
        for type_, budget, median_budget in GGUF_SETTINGS:
            out = self.folder / f"{model.name}-{type_}"
            flags = ["--kv-a-eps", "1e-5", "--l2-eps", "1e-5", "--compute", "f32", "--cache-type", "f32"]
            ours = self.logits(out / "model.gguf", *flags)
            self.compare(f"{model.name}: gguf {type_}", ours, read_npy(f"{out}.npy"), budget, median_budget)
            self.compare(f"{model.name}: gguf {type_}, decoded for llama.cpp", ours, read_npy(f"{out}-wide.npy"), 1e-3)

    def back(self, model):
        """Numbers that were only rearranged are the same again."""
        def convert(name, source, *flags):
            out = self.folder / f"{model.name}-{name}"
            self.kl("convert", "-m", source, "-o", out, *flags)
            return out
        whole = self.logits(model)
        hf = convert("hf", convert("m", model, "--to", "mlx"), "--to", "hf")
        self.report(f"{model.name}: hf -> mlx -> hf", "the same tensors", tensors_of(hf) == tensors_of(model))
        self.report(f"{model.name}: hf -> mlx", "the same logits", self.logits(self.folder / f"{model.name}-m") == whole)
        gguf = convert("g", model, "--to", "gguf") / "model.gguf"
        self.compare(f"{model.name}: hf -> gguf", self.logits(gguf), whole, 2e-5)


def tensors_of_file(path):
    data = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    found = {}
    for name, entry in json.loads(data[8:8 + length]).items():
        if name != "__metadata__":
            begin, end = (8 + length + x for x in entry["data_offsets"])
            found[name] = (entry["dtype"], entry["shape"], data[begin:end])
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=pathlib.Path)
    parser.add_argument("--kl", default=str(ROOT / "build/release/bin/kl"))
    parser.add_argument("--mlx", help="a Python with mlx-lm; left out, MLX is not asked")
    parser.add_argument("--llama", help="a Python with llama-cpp-python; left out, llama.cpp is not asked")
    args = parser.parse_args()
    models = args.models or [SHARED / "oracle/tiny", SHARED / "oracle/headdims"]
    with tempfile.TemporaryDirectory() as folder:
        check = Check(args, pathlib.Path(folder))
        for model in models:
            check.take_prompt(model)
            check.back(model)
            if args.mlx:
                check.mlx(model)
            if args.llama:
                check.gguf(model)
    print(f"{check.failed} failed" if check.failed else "all fine")
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
