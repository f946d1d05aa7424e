import hashlib
import json
import random
import resource
import signal
import struct
import subprocess
import time

import pytest
import safetensors
from conftest import EXIT_BAD_INPUT, EXIT_CANNOT_WRITE, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, KL, ROOT, run_kl

ORACLE = ROOT / "tests/golden/oracle"
IDS = "3 300 17 250 99 4 180 181 7 64 2 31\n"


def tensors(folder):
    found = {}
    for path in sorted(folder.glob("model*.safetensors")):
        for name, (dtype, shape, values) in safetensors.load(path).items():
            found[name] = (dtype, shape, bytes(values))
    return found


def files(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


@pytest.fixture
def logits(tmp_path):
    """The bytes of the logits of a model, nothing if it does not load."""
    (tmp_path / "ids").write_text(IDS)

    def run(model, *flags):
        done = run_kl("logits", "-m", model, "--tokens", tmp_path / "ids", "-o", tmp_path / "logits", *flags)
        return bytes(safetensors.load(tmp_path / "logits")["logits"][2]) if done.status == EXIT_OK else None

    return run


@pytest.fixture
def convert(ok, tmp_path):
    def run(source, name, *flags):
        ok("convert", "-m", source, "-o", tmp_path / name, *flags)
        return tmp_path / name

    return run


@pytest.fixture
def small(ok, tmp_path):
    """A model of several shards when cut at 0.1 MB, in bf16."""
    ok("synth", "--like", "tiny", "-o", tmp_path / "small")
    return tmp_path / "small"


# --- numbers that are only rearranged --------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["tiny", "headdims", "demo"])
def test_the_same_weights_in_every_format_have_the_same_logits_bits(convert, logits, demo, model):
    source = demo if model == "demo" else ORACLE / model
    expected = logits(source)
    assert expected is not None
    mlx, kl = convert(source, "mlx", "--to", "mlx"), convert(source, "kl", "--to", "kl")
    assert logits(mlx) == expected and logits(kl) == expected
    gguf = convert(source, "gguf", "--to", "gguf", "--type", "f32") / "model.gguf"
    assert logits(gguf) == expected
    for name, other in (("mlx2", mlx), ("kl2", kl), ("gguf2", gguf)):
        back = convert(other, "back-" + name, "--to", "hf")
        assert logits(back) == expected
        if name == "mlx2":
            assert tensors(back) == tensors(source)


def test_grouped_tied_and_softmax_models_keep_their_logits(convert, logits):
    for model in ("grouped", "softmax"):
        expected = logits(ORACLE / model)
        for to in ("mlx", "kl", "hf"):
            assert logits(convert(ORACLE / model, f"{model}-{to}", "--to", to)) == expected


def test_quantised_numbers_of_mlx_are_kept(convert, logits):
    """Packed, the numbers are those the engine makes of MLX's at load.  Back in MLX's layout, where numbers about a middle get
    that as a bias, they have the same values: integer products of the two kinds differ in the order of their sums."""
    for name in ("tiny-mlx-4bit-g32", "tiny-mlx-mixed", "tiny-mlx-mxfp4-g32", "tiny-mlx-old-kvb-4bit-g32"):
        kl = convert(ORACLE / name, name + "-kl", "--to", "kl")
        assert logits(kl) == logits(ORACLE / name)
        mlx = convert(kl, name + "-mlx", "--to", "mlx")
        assert logits(mlx, "--compute", "f32") == logits(ORACLE / name, "--compute", "f32")
    source, back = tensors(ORACLE / "tiny-mlx-4bit-g32"), tensors(convert(kl.parent / "tiny-mlx-4bit-g32-kl", "b", "--to", "mlx"))
    assert {k: v for k, v in back.items() if v[0] == "U32"} == {k: v for k, v in source.items() if v[0] == "U32"}


def test_blocks_of_gguf_are_kept(convert, logits):
    expected = logits(ORACLE / "tiny-gguf-q4_0/model.gguf")
    kl = convert(ORACLE / "tiny-gguf-q4_0/model.gguf", "kl", "--to", "kl")
    assert logits(kl) == expected
    assert logits(convert(kl, "gguf", "--to", "gguf") / "model.gguf") == expected


@pytest.mark.parametrize("bits", ["4", "8"])
def test_packed_weights_go_to_gguf_and_come_back(ok, convert, logits, tmp_path, demo, bits):
    ok("quantize", "-m", demo, "-o", tmp_path / "q", "--bits", bits)
    gguf = convert(tmp_path / "q", "gguf", "--to", "gguf") / "model.gguf"
    back = convert(gguf, "back", "--to", "kl")
    a, b = tensors(tmp_path / "q"), tensors(back)
    packed = {name for name in a if ".q" in name.rsplit(".", 1)[-1] or name.rsplit(".", 1)[-1].startswith("q")}
    routers = {name for name in packed if ".gate." in name}  # f32 in GGUF
    assert len(packed - routers) > 40
    assert {n: a[n] for n in packed - routers} == {n: b[n] for n in packed - routers}
    assert logits(gguf, "--compute", "f32") == logits(back, "--compute", "f32")


def test_quantised_weights_are_decoded_only_when_asked(convert, logits):
    source = ORACLE / "tiny-mlx-4bit-g32"
    hf = convert(source, "hf", "--to", "hf", "--type", "f32")
    assert {dtype for dtype, _, _ in tensors(hf).values()} == {"F32"}
    assert logits(hf) is not None


# --- numbers that are rounded -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags, golden", [
    (["--type", "bf16"], "tiny-mlx-bf16"),
    (["--bits", "4", "--group-size", "32"], "tiny-mlx-4bit-g32"),
    (["--mode", "mxfp4"], "tiny-mlx-mxfp4-g32"),
])
def test_mlx_folders_are_those_of_mlx_lm_byte_for_byte(convert, flags, golden):
    ours, theirs = convert(ORACLE / "tiny", "mlx", "--to", "mlx", *flags), ORACLE / golden
    assert tensors(ours) == tensors(theirs)
    blocks = [json.loads((f / "config.json").read_text()).get("quantization") for f in (ours, theirs)]
    assert blocks[0] == blocks[1]


def test_blocks_are_those_of_llama_cpp_byte_for_byte(convert):
    ours, theirs = (gguf_tensors(path) for path in
                    (convert(ORACLE / "tiny", "gguf", "--to", "gguf", "--type", "q4_0") / "model.gguf",
                     ORACLE / "tiny-gguf-q4_0/model.gguf"))
    assert ours.keys() == theirs.keys()
    same_type = [n for n in ours if ours[n][0] == theirs[n][0] and not n.endswith("ssm_a")]
    assert len(same_type) > 70  # llama.cpp gives some tensors more bits
    assert {n: ours[n] for n in same_type} == {n: theirs[n] for n in same_type}


def gguf_tensors(path):
    """{name: (type, bytes)} by the rules of the format, read independently of the program."""
    data = path.read_bytes()
    sizes = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 8: (32, 34), 30: (1, 2)}
    at = 8

    def number(code):
        nonlocal at
        (value,) = struct.unpack_from("<" + code, data, at)
        at += struct.calcsize(code)
        return value

    def text():
        nonlocal at
        length = number("Q")
        at += length
        return data[at - length:at].decode()

    def value(kind):
        if kind == 8:
            return text()
        if kind == 9:
            element, count = number("I"), number("Q")
            return [value(element) for _ in range(count)]
        return number({0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}[kind])

    num_tensors, num_keys = number("Q"), number("Q")
    for _ in range(num_keys):
        text()
        value(number("I"))
    infos = []
    for _ in range(num_tensors):
        name, rank = text(), number("I")
        elements = 1
        for _ in range(rank):
            elements *= number("Q")
        kind = number("I")
        values, size = sizes[kind]
        infos.append((name, kind, number("Q"), elements // values * size))
    start = (at + 31) // 32 * 32
    return {name: (kind, data[start + offset:start + offset + size]) for name, kind, offset, size in infos}


def test_what_is_rounded_is_told(ok, tmp_path):
    out = ok("convert", "-m", ORACLE / "tiny", "-o", tmp_path / "out", "--to", "hf", "--type", "bf16").out
    assert " rounded to bf16" in out
    told = json.loads(ok("convert", "-m", ORACLE / "tiny", "-o", tmp_path / "q", "--to", "mlx", "--bits", "8", "--json").out)
    assert told["quantized_weights"] > 0.7 * told["weights"] and told["rounded_weights"] == 0


def test_the_tokenizer_comes_along(ok, convert, demo):
    text = "ROMEO: O, thou wilt be more light; \n\n 123 äöü"
    expected = ok("tokenize", "-m", demo, stdin=text).out
    gguf = convert(demo, "gguf", "--to", "gguf") / "model.gguf"
    back = convert(gguf, "back", "--to", "hf")
    for model in (gguf, back, convert(demo, "mlx", "--to", "mlx")):
        assert ok("tokenize", "-m", model, stdin=text).out == expected


# --- the folder ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["hf", "mlx", "kl", "gguf"])
def test_a_folder_has_checksums_and_a_card(convert, small, to):
    folder = convert(small, "out", "--to", to, "--shard-size", "0.0001")
    shards = sorted(folder.glob("model*.gguf" if to == "gguf" else "model*.safetensors"))
    assert len(shards) > 2
    listed = dict(reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text().splitlines())
    found = files(folder)
    assert found.pop("SHA256SUMS") and listed == found
    card = (folder / "README.md").read_text()
    assert card.startswith('---\nbase_model: "small"\n') and f'command: "kl convert --to {to}"' in card
    model = shards[0] if to == "gguf" else folder
    assert json.loads(run_kl("inspect", "-m", model, "--json").out)["problems"] == []


@pytest.mark.parametrize("args, status, named", [
    ([], EXIT_USAGE, "--to: expected to be given"),
    (["--to", "onnx"], EXIT_USAGE, "--to: expected hf or mlx or kl or gguf, got onnx"),
    (["--to", "mlx", "--bits", "7"], EXIT_USAGE, "--bits: expected 2 or 3 or 4 or 5 or 6 or 8, got 7"),
    (["--to", "mlx", "--mode", "mxfp4", "--bits", "8"], EXIT_USAGE, "--bits: expected 4 for mxfp4, got 8"),
    (["--to", "mlx", "--mode", "mxfp4", "--group-size", "64"], EXIT_USAGE, "--group-size: expected 32 for mxfp4, got 64"),
    (["--to", "mlx", "--type", "q4_0"], EXIT_USAGE, "--type: expected keep, f32, f16 or bf16 for mlx, got q4_0"),
    (["--to", "hf", "--bits", "4"], EXIT_USAGE, "hf folders hold no quantised weights"),
    (["--to", "gguf", "--bits", "4"], EXIT_USAGE, "--type q8_0 and q4_0 quantise GGUF"),
    (["--to", "kl", "--bits", "4"], EXIT_USAGE, "kl quantize writes packed folders"),
    (["--to", "kl", "--type", "bf16"], EXIT_USAGE, "--type: expected keep for kl"),
    (["--to", "mlx", "--q-bits", "4"], EXIT_USAGE, "it is --bits here"),
    (["--to", "hf", "-o", "full"], EXIT_CANNOT_WRITE, "full: expected a new or empty folder, got one in use"),
    (["--to", "hf", "-o", "file"], EXIT_CANNOT_WRITE, "file: expected a new or empty folder"),
    (["--to", "hf", "-o", "model"], EXIT_USAGE, "model: expected a folder outside"),
    (["--to", "hf", "-o", "model/inside"], EXIT_USAGE, "model/inside: expected a folder outside"),
    (["--to", "hf", "-o", "/proc/q"], EXIT_CANNOT_WRITE, "/proc/q: "),
])
def test_what_cannot_be_done_is_said_and_leaves_nothing(model_copy, tmp_path, args, status, named):
    model_copy.rename(tmp_path / "model")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").touch()
    (tmp_path / "file").touch()
    before = sorted(p.name for p in tmp_path.rglob("*"))
    out = [] if "-o" in args else ["-o", "out"]
    result = run_kl("convert", "-m", "model", *out, *args, cwd=tmp_path)
    assert (result.status, result.out) == (status, "") and named in result.err
    assert sorted(p.name for p in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("source, args, named", [
    ("tiny-mlx-4bit-g32", ["--to", "hf"], "--type bf16 or f32 decodes them"),
    ("tiny-mlx-4bit-g32", ["--to", "mlx", "--bits", "8"], "expected weights that are not quantised yet, got MLX ones"),
    ("tiny-mlx-4bit-g32", ["--to", "gguf", "--type", "q8_0"], "expected weights that are not quantised yet, got MLX ones"),
    ("tiny-mlx-4bit-g32", ["--to", "gguf"], "expected scales that f16 holds"),
    ("softmax", ["--to", "gguf"], "num_shared_experts: expected at least 1, which is all llama.cpp computes, got 0"),
    ("grouped", ["--to", "gguf"], "num_expert_group: expected 1, which is all llama.cpp computes, got 4"),
])
def test_what_a_format_does_not_hold_is_refused(tmp_path, source, args, named):
    result = run_kl("convert", "-m", ORACLE / source, "-o", tmp_path / "out", *args)
    assert result.status == EXIT_BAD_INPUT and named in result.err
    assert not (tmp_path / "out").exists()


# --- interruptions ------------------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_nothing_before_a_file_is_complete(tmp_path, demo):
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # noqa: E731
    result = run_kl("convert", "-m", demo, "-o", tmp_path / "q", "--to", "mlx", preexec_fn=limit)
    assert result.status == EXIT_CANNOT_WRITE and "q/model.safetensors" in result.err
    assert list(tmp_path.iterdir()) == []


def test_what_is_complete_is_continued_by_the_same_command(ok, convert, small, tmp_path):
    flags = ["--to", "mlx", "--shard-size", "0.0001"]
    whole = convert(small, "whole", *flags)
    largest = max(whole.glob("model*.safetensors"), key=lambda p: p.stat().st_size).stat().st_size
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest - 1, largest - 1))  # noqa: E731
    out = tmp_path / "part"
    stopped = run_kl("convert", "-m", small, "-o", out, *flags, preexec_fn=limit)
    assert stopped.status == EXIT_CANNOT_WRITE
    complete = sorted(p.name for p in out.glob("model*.safetensors"))
    assert complete and not (out / "config.json").exists()
    assert run_kl("run", "-m", out, "-p", "x").status == EXIT_BAD_INPUT

    other = run_kl("convert", "-m", small, "-o", out, "--to", "mlx", "--bits", "4", "--shard-size", "0.0001")
    assert other.status == EXIT_CANNOT_WRITE and "got an unfinished one that differs in" in other.err
    (out / complete[0]).write_bytes(b"broken")  # found by its checksum, and written again
    told = json.loads(ok("convert", "-m", small, "-o", out, *flags, "--json").out)
    assert told["resumed_files"] == len(complete) - 1
    assert files(out) == {**files(whole), "README.md": files(out)["README.md"], "SHA256SUMS": files(out)["SHA256SUMS"]}
    assert tensors(out) == tensors(whole)


def test_two_cannot_write_one_folder(small, tmp_path):
    import fcntl
    import os

    (tmp_path / "out").mkdir()
    held = os.open(tmp_path / "out", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    result = run_kl("convert", "-m", small, "-o", tmp_path / "out", "--to", "hf")
    os.close(held)
    assert result.status == EXIT_CANNOT_WRITE and "no other kl is writing to" in result.err


@pytest.mark.parametrize("command, kills", [(["convert", "--to", "mlx", "--shard-size", "0.0001"], 30),
                                            (["convert", "--to", "gguf", "--type", "q8_0", "--shard-size", "0.00005"], 30),
                                            (["quantize"], 20)])
def test_killed_at_any_moment_it_is_never_wrong_and_the_same_command_completes_it(ok, small, tmp_path, logits, command, kills):
    ok("synth", "--like", "tiny", "-o", tmp_path / "again")
    started = time.monotonic()
    ok(command[0], "-m", small, "-o", tmp_path / "q", *command[1:], "-t", "1")
    seconds = time.monotonic() - started
    expected_files = files(tmp_path / "q")
    model = lambda: next(iter(sorted((tmp_path / "q").glob("*.gguf"))), tmp_path / "q")  # noqa: E731
    expected = logits(model())
    generator, loaded = random.Random(1), 0
    for path in (tmp_path / "q").iterdir():
        path.unlink()
    for _ in range(kills):
        process = subprocess.Popen([KL, command[0], "-m", small, "-o", tmp_path / "q", *command[1:], "-t", "1"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(generator.uniform(0, 0.8 * seconds))
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = logits(model())
        assert found in (None, expected)
        if found is not None or not (tmp_path / "q" / ".kl-unfinished").exists():  # complete, or nothing: begin again
            loaded += found is not None
            for path in (tmp_path / "q").glob("*") if (tmp_path / "q").exists() else ():
                path.unlink()
            for path in (tmp_path / "q").glob(".*") if (tmp_path / "q").exists() else ():
                path.unlink()
    assert loaded < kills, "some were killed before they were done"
    ok(command[0], "-m", small, "-o", tmp_path / "q", *command[1:])
    assert files(tmp_path / "q") == expected_files


def test_a_signal_keeps_what_is_complete(small, tmp_path):
    process = subprocess.Popen([KL, "convert", "-m", small, "-o", tmp_path / "q", "--to", "hf", "--shard-size", "0.00005", "-t", "1"],
                               stdout=subprocess.DEVNULL)
    while not list((tmp_path / "q").glob("model-00002*")) and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) in (EXIT_INTERRUPTED, EXIT_OK)
    result = run_kl("convert", "-m", small, "-o", tmp_path / "q", "--to", "hf", "--shard-size", "0.00005", "--json")
    if process.returncode == EXIT_INTERRUPTED:
        assert result.status == EXIT_OK and json.loads(result.out)["resumed_files"] > 0
