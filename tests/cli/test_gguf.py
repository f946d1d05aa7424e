"""GGUF models in every command, against independent decoders and the float64 reference."""
import json
import os

import pytest
import safetensors
from conftest import DEMO, EXIT_BAD_INPUT, ROOT, run_kl

np = pytest.importorskip("numpy", reason="needs python3-numpy")

import gguf_blocks  # noqa: E402
from gguf_writer import BlockModel, read_ranks, vocabulary, write_gguf, write_split  # noqa: E402
from reference import Reference  # noqa: E402

SHARED = os.environ.get("KL_SHARED", str(ROOT.parent / "shared"))
BLOCKS = ROOT / "tests/golden/gguf/blocks.safetensors"
SHAPE = dict(kinds="KM", hidden_size=256, kda_heads=2, kda_head_dim=128, num_attention_heads=2, kv_lora_rank=256,
             qk_nope_head_dim=32, qk_rope_head_dim=16, v_head_dim=128, intermediate_size=256, moe_intermediate_size=256,
             num_experts=4, vocab_size=320)
F32 = ["--compute", "f32", "--cache-type", "f32"]


def logits_of(path, tokens, tmp_path, *flags):
    (tmp_path / "ids.txt").write_text(" ".join(map(str, tokens)) + "\n")
    out = tmp_path / "out.safetensors"
    result = run_kl("logits", "-m", path, "--tokens", tmp_path / "ids.txt", "-o", out, *flags)
    assert result.status == 0, result.err
    _, shape, values = safetensors.load(out)["logits"]
    return np.frombuffer(values, "<f4").reshape(shape)


def test_the_stored_blocks_are_what_numpy_makes_of_them():
    """tests/gguf/decode_test.cc holds the program's decoders against this file, bit for bit."""
    stored = safetensors.load(BLOCKS)
    for name in gguf_blocks.TYPES:
        _, shape, blocks = stored[name + ".blocks"]
        numbers = gguf_blocks.decode(name, np.frombuffer(blocks, np.uint8).reshape(shape))
        assert numbers.tobytes() == bytes(stored[name + ".numbers"][2]), name


def test_the_stored_blocks_can_be_made_anew(tmp_path):
    gguf_blocks.write_golden(tmp_path / "blocks.safetensors")
    assert (tmp_path / "blocks.safetensors").read_bytes() == BLOCKS.read_bytes()


@pytest.mark.parametrize("kind", list(gguf_blocks.TYPES))
def test_every_type_of_block_gives_the_logits_of_its_numbers(kind, tmp_path):
    model = BlockModel(list(gguf_blocks.TYPES).index(kind), kind, narrow="Q5_0", **SHAPE)
    path = model.write_gguf(tmp_path / "model.gguf")
    tokens, expected = model.draw_tokens(Reference(model.config, model.weights), 40)
    error = np.abs(logits_of(path, tokens, tmp_path, *F32) - expected["logits"]).max()
    assert error < 2e-4, error
    rounded = np.abs(logits_of(path, tokens, tmp_path) - expected["logits"]).max(axis=1)
    assert np.median(rounded) < 0.5  # activations in 8 bits


@pytest.mark.parametrize("kind, held", [("Q2_K", "q4_g16m_f32"), ("Q3_K", "q4_g16_f32"), ("Q6_K", "q6_g16_f32")])
def test_groups_of_16_are_held_packed_and_go_where_there_is_a_place_for_them(kind, held, tmp_path):
    path = BlockModel(70, kind, narrow="Q8_0", **SHAPE).write_gguf(tmp_path / "model.gguf")
    encodings = json.loads(run_kl("inspect", "-m", path, "--json").out)["weights"]["encodings"]
    assert {e["name"]: e["held_as"] for e in encodings}["GGUF " + kind] == held
    tokens = list(range(30))
    for to, flags in (("kl", []), ("kl", F32), ("mlx", F32), ("gguf", F32)):
        out = tmp_path / to
        if not out.exists():
            result = run_kl("convert", "-m", path, "-o", out, "--to", to)
            assert result.status == 0, result.err
            assert ('.' + held in run_kl("inspect", "-m", out, "--tensors").out) == (to == "kl")
        model = out / "model.gguf" if to == "gguf" else out
        error = np.abs(logits_of(model, tokens, tmp_path, *flags) - logits_of(path, tokens, tmp_path, *flags)).max()
        assert error < 1e-4 if to != "kl" else error == 0, (to, error)
    assert run_kl("convert", "-m", path, "-o", tmp_path / "hf", "--to", "hf").status == EXIT_BAD_INPUT


def test_all_kernel_tables_read_the_same_model(tmp_path):
    model = BlockModel(50, "Q4_K", narrow="Q5_1", **SHAPE)
    path = model.write_gguf(tmp_path / "model.gguf")
    tokens, expected = model.draw_tokens(Reference(model.config, model.weights), 20)
    for isa in json.loads(run_kl("inspect", "-m", path, "--json").out)["available_isas"]:
        (tmp_path / "ids.txt").write_text(" ".join(map(str, tokens)))
        run = run_kl("logits", "-m", path, "--tokens", tmp_path / "ids.txt", "-o", tmp_path / "o", *F32, env={"KL_ISA": isa})
        assert run.status == 0, run.err
        got = np.frombuffer(safetensors.load(tmp_path / "o")["logits"][2], "<f4").reshape(expected["logits"].shape)
        assert np.abs(got - expected["logits"]).max() < 2e-4, isa


@pytest.mark.parametrize("kind", ["F16", "Q8_0", "Q6_K"])
def test_the_old_undivided_kv_b_is_read(kind, tmp_path):
    model = BlockModel(60, kind, legacy=True, **SHAPE)
    path = model.write_gguf(tmp_path / "model.gguf")
    tokens, expected = model.draw_tokens(Reference(model.config, model.weights), 30)
    assert np.abs(logits_of(path, tokens, tmp_path, *F32) - expected["logits"]).max() < 2e-4


def test_one_tensor_may_hold_q_k_and_v(tmp_path):
    model = BlockModel(61, "Q5_K", **SHAPE)
    model.write_gguf(tmp_path / "model.gguf")
    tensors = model.gguf_tensors()
    q, k, v = (tensors.pop(f"blk.0.attn_{stream}.weight") for stream in "qkv")
    tensors["blk.0.attn_qkv.weight"] = (q[0], (3 * q[1][0], q[1][1]), q[2] + k[2] + v[2])
    write_gguf(tmp_path / "fused.gguf", model.metadata(), tensors)
    tokens = list(range(20))
    assert (logits_of(tmp_path / "fused.gguf", tokens, tmp_path) == logits_of(tmp_path / "model.gguf", tokens, tmp_path)).all()


def test_a_split_model_is_the_model(tmp_path):
    model = BlockModel(62, "Q4_0", **SHAPE)
    whole, tokens = model.write_gguf(tmp_path / "model.gguf"), list(range(30))
    first = write_split(tmp_path / "parts.gguf", model.metadata(), model.gguf_tensors(), 3)
    expected = logits_of(whole, tokens, tmp_path)
    for part in sorted(tmp_path.glob("parts-*.gguf")):
        assert (logits_of(part, tokens, tmp_path) == expected).all()
    assert len(json.loads(run_kl("inspect", "-m", first, "--json").out)["weights"]["files"]) == 3


GOLDENS = {"tiny-gguf-q4_0": [ROOT / "tests/golden/oracle"], "headdims-gguf-q4_k_m": [ROOT / "tests/golden/oracle"],
           "tiny-gguf-f32": [], "tiny-gguf-q8_0": []}


@pytest.mark.parametrize("name", GOLDENS)
def test_files_of_llama_cpp_agree_with_their_float64_logits(name, tmp_path):
    places = [place / name for place in [*GOLDENS[name], ROOT.parent / "shared/oracle/formats"]]
    if "KL_SHARED" in os.environ:
        places.append(ROOT.parent / os.environ["KL_SHARED"] / "oracle/formats" / name)
    folder = next((place for place in places if place.exists()), None)
    if folder is None:
        pytest.skip(f"{name} is neither in tests/golden/oracle nor in $KL_SHARED/oracle/formats nor ../shared")
    golden = {key: np.frombuffer(values, {"I64": "<i8", "F32": "<f4", "F64": "<f8"}[dtype]).reshape(shape)
              for key, (dtype, shape, values) in safetensors.load(folder / "golden.safetensors").items()}
    tokens = golden["tokens"].ravel()
    for logits, flags in (("logits_default", []), ("logits_ref", ["--kv-a-eps", "1e-5", "--l2-eps", "1e-5"])):
        error = np.abs(logits_of(folder / "model.gguf", tokens, tmp_path, *F32, *flags) - golden[logits]).max()
        assert error < 2e-4, (logits, error)
    rounded = np.abs(logits_of(folder / "model.gguf", tokens, tmp_path) - golden["logits_default"]).max(axis=1)
    assert np.median(rounded) < 0.4


# --- tokenizers ---------------------------------------------------------------------------------------------------------

TEXTS = ["", "To be, or not to be", "ROMEO:\nWherefore?\r\n\r\n  x\t\ty", "HelloWorld don't 12345 it'S", "中文 かな कि ไทย é e\u0301",
         "<|im_end|>", "\u00a0\u3000 \u0085", "a" * 300, "🙂🙂 naïve ÅNGSTRÖM ſ"]


def same_ids(folder, path, texts):
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    for flags in ([], ["--special"]):
        expected = run_kl("tokenize", "-m", folder, "--jsonl", *flags, stdin=lines)
        got = run_kl("tokenize", "-m", path, "--jsonl", *flags, stdin=lines)
        assert expected.status == got.status == 0, got.err
        assert got.out == expected.out


def test_the_demo_vocabulary_from_metadata_gives_the_same_ids(tmp_path):
    names = json.loads((DEMO / "tokenizer_config.json").read_text())["added_tokens_decoder"]
    tokens = read_ranks(DEMO / "tiktoken.model")
    size = json.loads((DEMO / "config.json").read_text())["vocab_size"]
    entries = [names.get(str(i)) for i in range(len(tokens), size)]
    control = [(e["content"], 3 if e.get("special", True) else 4) if e else None for e in entries]
    write_gguf(tmp_path / "vocab.gguf", {"general.architecture": "kimi-linear", **vocabulary(tokens, control)}, {})
    texts = [value for line in (DEMO / "development.jsonl").read_text().splitlines()[:200]
             for value in [line, str(json.loads(line))]]
    same_ids(DEMO, tmp_path / "vocab.gguf", TEXTS + texts)
    ids = " ".join(map(str, range(size)))
    assert run_kl("detokenize", "-m", tmp_path / "vocab.gguf", stdin=ids).out_bytes == \
        run_kl("detokenize", "-m", DEMO, stdin=ids).out_bytes


def test_the_family_vocabulary_from_metadata_gives_the_same_ids(tmp_path):
    folder = ROOT / SHARED / "oracle/tokenizer"
    if not (folder / "tiktoken.model").exists():
        pytest.skip("the real vocabulary is not ours to ship: none in $KL_SHARED or ../shared")
    tokens = read_ranks(folder / "tiktoken.model")
    write_gguf(tmp_path / "vocab.gguf", {"general.architecture": "kimi-linear", **vocabulary(tokens, [None] * 256)}, {})
    published = [json.loads(line) for line in (folder / "published.jsonl").read_text().splitlines()]
    texts = [value for entry in published for value in entry.values() if isinstance(value, str)]
    sources = [path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))]
    same_ids(folder, tmp_path / "vocab.gguf", TEXTS + texts + sources)


# --- commands -----------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A model of blocks, and the same after a chat template was added."""
    folder = tmp_path_factory.mktemp("gguf")
    model = BlockModel(70, "Q4_0", **SHAPE)
    model.write_gguf(folder / "plain.gguf")
    write_gguf(folder / "chat.gguf", {**model.metadata(), "tokenizer.chat_template": "{{ messages }}"}, model.gguf_tensors())
    return folder


def test_every_command_takes_the_file(ok, small, tmp_path):
    path = small / "plain.gguf"
    assert ok("run", "-m", path, "-p", "x", "-n", "3", "--temp", "0", "--json").out
    assert run_kl("chat", "-m", path, "-n", "2", stdin="hello\n").status == 0
    assert ok("tokenize", "-m", path, "ab", "--ids").out == "97 98\n"
    assert ok("detokenize", "-m", path, stdin="97 98").out.strip() == "ab"
    assert "GGUF" in ok("inspect", "-m", path).out
    assert ok("bench", "-m", path, "-p", "4", "-n", "2", "-d", "0", "-o", "json").out
    assert ok("run", "-p", "x", "-n", "1", "--raw", env={"KL_MODEL": str(path)}).out is not None
    copy = tmp_path / "renamed"
    copy.write_bytes(path.read_bytes())
    assert ok("tokenize", "-m", copy, "ab", "--ids").out == "97 98\n"


def test_a_chat_template_makes_the_prompt_a_message(ok, small):
    prompt = {name: json.loads(ok("run", "-m", small / f"{name}.gguf", "-p", "x", "-n", "1", "--json").out)["counts"]["prompt_tokens"]
              for name in ("plain", "chat")}
    assert prompt["plain"] == 1 and prompt["chat"] > 4, prompt


def test_inspect_says_what_is_stored(ok, small):
    report = json.loads(ok("inspect", "-m", small / "plain.gguf", "--json", "--tensors").out)
    assert report["problems"] == [] and report["weights"]["naming"] == "GGUF (llama.cpp)"
    assert "Q4_0" in report["weights"]["dtypes"]
    assert {"blk.0.attn_q.weight", "blk.1.ffn_gate_exps.weight"} <= {t["name"] for t in report["tensor_list"]}


def test_what_is_read_is_never_written_over(kl, small, tmp_path):
    (tmp_path / "ids.txt").write_text("1 2\n")
    before = (small / "plain.gguf").read_bytes()
    for out in ("plain.gguf", "chat.gguf"):
        result = kl("logits", "-m", small / "plain.gguf", "--tokens", tmp_path / "ids.txt", "-o", small / out)
        assert result.status == 2 and "a part of the model" in result.err
    assert (small / "plain.gguf").read_bytes() == before


BROKEN = {
    "magic": (lambda b: b"GGUX" + b[4:], "begins with"),
    "version 2": (lambda b: b[:4] + b"\2\0\0\0" + b[8:], "version 3, got 2"),
    "big-endian": (lambda b: b[:4] + b"\0\0\0\3" + b[8:], "big-endian"),
    "truncated": (lambda b: b[:-4096], "truncated?"),
    "half a header": (lambda b: b[:200], "number of tensors"),
    "nothing": (lambda b: b"", "begins with"),
    "architecture": (lambda b: b.replace(b"kimi-linear", b"kimi-llinea", 1), "general.architecture"),
    "layer count": (lambda b: b.replace(b"block_count", b"block_cOunt", 1), "kimi-linear.block_count: missing"),
    "tensor": (lambda b: b.replace(b"blk.0.attn_q.weight", b"blk.0.attn_Q.weight", 1), "blk.0.attn_q.weight: missing"),
    "tokenizer": (lambda b: b.replace(b"kimi-k2", b"llama-b", 1), "tokenizer.ggml.pre"),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_broken_files_end_with_status_3_and_say_why(kl, small, tmp_path, rule):
    breaks, reason = BROKEN[rule]
    path = tmp_path / "broken.gguf"
    path.write_bytes(breaks((small / "plain.gguf").read_bytes()))
    result = kl("run", "-m", path, "-p", "x", "-n", "1")
    assert result.status == EXIT_BAD_INPUT, result.err
    assert str(path) in result.err and reason in result.err
    assert run_kl("inspect", "-m", path).status == EXIT_BAD_INPUT
