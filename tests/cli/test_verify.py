"""`kl verify`: integrity of a folder, and parity with what another program computed."""
import hashlib
import json
import random
import shutil
import struct
import subprocess

import pytest
import safetensors
from conftest import EXIT_BAD_INPUT, EXIT_FAILURE, EXIT_OK, EXIT_USAGE, ROOT, run_kl

np = pytest.importorskip("numpy", reason="needs python3-numpy")

from random_model import RandomModel  # noqa: E402
from reference import Reference  # noqa: E402
from test_reference import load  # noqa: E402

ORACLE = ROOT / "tests/golden/oracle"
TYPES = {"float64": "F64", "float32": "F32", "int64": "I64", "int32": "I32"}


# --- integrity --------------------------------------------------------------------------------------------------------------

@pytest.fixture
def tiny(tmp_path):
    """A small model with a tokenizer, and its checksums."""
    run_kl("synth", "--like", "tiny", "-o", tmp_path / "tiny")
    assert run_kl("verify", "-m", tmp_path / "tiny", "--write-sums").status == EXIT_OK
    return tmp_path / "tiny"


def findings(folder, status):
    result = run_kl("verify", "-m", folder, "--json")
    assert result.status == status, result.err
    return json.loads(result.out)["findings"]


def rules(folder, status):
    return [(f["rule"], f["file"]) for f in findings(folder, status)]


@pytest.mark.parametrize("model", ["tiny", "headdims", "grouped", "softmax", "stress", "tiny-mlx-bf16", "tiny-transformers"])
def test_sound_models_raise_no_suspicion(ok, model):
    assert "problems     none" in ok("verify", "-m", ORACLE / model).out


@pytest.mark.parametrize("bits", [[], ["--bits", "4"], ["--bits", "8", "--group-size", "64"]], ids=" ".join)
def test_models_kl_writes_raise_no_suspicion(ok, tmp_path, bits):
    ok("synth", "--like", "tiny", "-o", tmp_path / "m", *bits)
    ok("verify", "-m", tmp_path / "m")
    ok("verify")


def test_checksums_are_those_of_sha256sum(ok, tiny):
    assert subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=tiny).returncode == 0
    lines = dict(reversed(line.split("  ")) for line in (tiny / "SHA256SUMS").read_text().splitlines())
    assert set(lines) == {p.name for p in tiny.iterdir()} - {"SHA256SUMS"}
    assert all(hashlib.sha256((tiny / name).read_bytes()).hexdigest() == digest for name, digest in lines.items())
    report = json.loads(ok("verify", "-m", tiny, "--json").out)
    assert report["checksums"] and report["files_hashed"] == len(lines) and report["findings"] == []


def test_changed_missing_and_extra_files_are_named(tiny):
    config = (tiny / "config.json").read_text()
    (tiny / "config.json").write_text(config + " ")
    assert rules(tiny, EXIT_BAD_INPUT) == [("checksum", "config.json")]
    assert run_kl("verify", "-m", tiny, "--write-sums").status == EXIT_OK
    (tiny / "more.txt").write_text("x")
    assert rules(tiny, EXIT_FAILURE) == [("extra", "more.txt")]
    (tiny / "more.txt").rename(tiny / ".hidden")
    assert run_kl("verify", "-m", tiny).status == EXIT_OK
    (tiny / "SHA256SUMS").write_text((tiny / "SHA256SUMS").read_text() + "0" * 64 + "  gone\n")
    assert rules(tiny, EXIT_BAD_INPUT) == [("missing", "gone")]


@pytest.mark.parametrize("line, rule", [
    ("hello", 'expected 64 hexadecimal digits, two blanks and a name, got "hello"'),
    ("0" * 64 + "  ../secret", "expected a name inside the folder"),
    ("0" * 64 + "  /etc/passwd", "expected a name inside the folder")])
def test_a_malformed_list_of_checksums_is_refused(tiny, line, rule):
    number = len((tiny / "SHA256SUMS").read_text().splitlines()) + 1
    (tiny / "SHA256SUMS").write_text((tiny / "SHA256SUMS").read_text() + line + "\n")
    result = run_kl("verify", "-m", tiny)
    assert result.status == EXIT_BAD_INPUT
    assert f"SHA256SUMS:{number}: {rule}" in result.out


def test_flipped_bits_are_found_in_every_file(tiny):
    """A few by the program itself; tests/verify/integrity_test.cc flips ten thousand."""
    generator = random.Random(5)
    for path in sorted(tiny.iterdir()):
        bytes_ = bytearray(path.read_bytes())
        for _ in range(8):
            at, bit = generator.randrange(len(bytes_)), 1 << generator.randrange(8)
            bytes_[at] ^= bit
            path.write_bytes(bytes_)
            result = run_kl("verify", "-m", tiny)
            assert result.status == EXIT_BAD_INPUT and "PROBLEM" in result.out, (path.name, at, bit)
            bytes_[at] ^= bit
        path.write_bytes(bytes_)
    assert run_kl("verify", "-m", tiny).status == EXIT_OK


def test_structure_is_checked_as_inspect_does(model_copy):
    config = json.loads((model_copy / "config.json").read_text())
    (model_copy / "config.json").write_text(json.dumps(config | {"intermediate_size": 100}))
    (model_copy / "tiktoken.model").write_text("not base64\n")
    found = [f["text"] for f in findings(model_copy, EXIT_BAD_INPUT) if f["rule"] == "structure"]
    assert len([text for text in found if "layers.0.mlp" in text]) == 3
    assert any("tiktoken.model:1" in text for text in found)


def broken_model(folder, change):
    """A random model after `change(weights)`."""
    model = RandomModel(3, kinds="KKKM", vocab_size=300, hidden_size=64, num_experts=4)
    change(model.weights)
    model.write(folder)
    return folder


def put(name, index, value):
    def change(weights):
        weights[name].reshape(-1)[index] = value
    return change


def copy(to, source):
    def change(weights):
        weights[to][:] = weights[source]
    return change


def scale(name, factor):
    def change(weights):
        weights[name] *= np.float32(factor)
    return change


EXPERT = "model.layers.2.block_sparse_moe.experts.{}.w1.weight"


@pytest.mark.parametrize("change, rule, tensor, text", [
    (put("lm_head.weight", 7, np.nan), "not_finite", "lm_head.weight", "got 1 NaN and 0 infinite of 19200, the first at 7"),
    (put("model.norm.weight", 0, np.inf), "not_finite", "model.norm.weight", "0 NaN and 1 infinite"),
    (scale(EXPERT.format(1), 0), "zero", EXPERT.format(1), "zeros"),
    (put("lm_head.weight", 9, 1e30), "huge", "lm_head.weight", "got 1e+30"),
    (put("lm_head.weight", 9, 5000), "outlier", "lm_head.weight", "got 5000"),
    (copy(EXPERT.format(3), EXPERT.format(0)), "duplicate", EXPERT.format(3), EXPERT.format(0)),
    (scale("model.layers.1.input_layernorm.weight", 30), "peers", "model.layers.1.input_layernorm.weight", "its 3 peers"),
])
def test_what_looks_wrong_is_named_with_tensor_file_and_numbers(tmp_path, change, rule, tensor, text):
    folder = broken_model(tmp_path / "m", change)
    found = findings(folder, EXIT_BAD_INPUT if rule == "not_finite" else EXIT_FAILURE)
    assert [(f["rule"], f["tensor"], f["file"]) for f in found] == [(rule, tensor, "model.safetensors")]
    assert text in found[0]["text"]
    assert f"model.safetensors: {tensor}: expected" in run_kl("verify", "-m", folder).out


def test_one_of_stacked_experts_is_named(tmp_path):
    model = RandomModel(3, kinds="KM", hidden_size=64, num_experts=4, moe_intermediate_size=32)
    copy("model.layers.1.block_sparse_moe.experts.2.w2.weight", "model.layers.1.block_sparse_moe.experts.0.w2.weight")(
        model.weights)
    model.write(tmp_path / "m", naming="mlx")
    name = "model.layers.1.mlp.switch_mlp.down_proj.weight"
    assert [(f["rule"], f["tensor"]) for f in findings(tmp_path / "m", EXIT_FAILURE)] == [("duplicate", f"{name}[2]")]


def test_scales_of_packed_weights_are_looked_at(ok, tmp_path):
    ok("synth", "--like", "tiny", "-o", tmp_path / "m", "--bits", "4")
    file = tmp_path / "m/model.safetensors"
    data = bytearray(file.read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    name = next(n for n in header if n.endswith(".q4_g32_f16"))
    at = 8 + length + header[name]["data_offsets"][0] + 512  # the first scale, behind 512 bytes of weights
    data[at:at + 2] = b"\x00\x7e"
    file.write_bytes(data)
    found = findings(tmp_path / "m", EXIT_BAD_INPUT)
    assert [(f["rule"], f["tensor"]) for f in found] == [("not_finite", name)]
    assert "expected finite scales, got 1 NaN" in found[0]["text"]


# --- parity -----------------------------------------------------------------------------------------------------------------

def save(path, arrays, **metadata):
    """Writes {name: array} as safetensors."""
    header, blobs, at = {"__metadata__": metadata} if metadata else {}, [], 0
    for name, values in arrays.items():
        blobs.append(np.ascontiguousarray(values).tobytes())
        header[name] = {"dtype": TYPES[str(values.dtype)], "shape": list(values.shape),
                        "data_offsets": [at, at + len(blobs[-1])]}
        at += len(blobs[-1])
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))
    return path


def parity(model, dump, *flags, status=EXIT_OK):
    result = run_kl("verify", "-m", model, "--against", dump, "--json", *flags, timeout=300)
    assert result.status == status, result.err
    return json.loads(result.out)


def oracle_weights(name):
    """config.json and weights of a golden, in float32."""
    return json.loads((ORACLE / name / "config.json").read_text()), load(ORACLE / name / "model.safetensors")


@pytest.fixture(scope="module")
def tiny_dump(tmp_path_factory):
    """tiny_dump(convention=...) -> a dump of `tiny` with all streams, made by the float64 model of reference.py"""
    config, weights = oracle_weights("tiny")
    tokens = load(ORACLE / "tiny/golden.safetensors")["tokens"]
    folder = tmp_path_factory.mktemp("dumps")

    def make(**convention):
        arrays = Reference(config, weights, **convention).run(tokens)
        return save(folder / f"dump{len(list(folder.iterdir()))}.safetensors", {"tokens": tokens, **arrays})

    return make


@pytest.mark.parametrize("name", ["tiny", "headdims", "grouped", "softmax", "stress"])
def test_goldens_are_dumps_and_agree(name):
    report = parity(ORACLE / name, ORACLE / name / "golden.safetensors")
    assert report["agrees"] and report["switches"] == [] and report["first_deviation"] is None
    assert len(report["runs"]) == 1 and report["sequences"] == 2
    assert all(a["relative"] <= a["budget"] / 4 for a in report["arrays"]), "the budget leaves room"
    assert {a["name"] for a in report["arrays"]} >= {"logits_f64", "logits2_f64"}
    assert ("layer.1.hidden" in {a["name"] for a in report["arrays"]}) == (name != "stress")


def test_the_aliasing_slip_is_found_in_the_router_of_the_first_moe_layer(tiny_dump):
    report = parity(ORACLE / "tiny", tiny_dump(router_weights="hf"))
    assert report["switches"] == ["--router-weights hf"]
    first = report["first_deviation"]
    assert (first["layer"], first["name"], first["position"]) == (1, "layer.1.router_weights", 0)
    text = run_kl("verify", "-m", ORACLE / "tiny", "--against", tiny_dump(router_weights="hf")).out
    assert "DIFFERS      first in layer 1, router_weights, position 0: difference " in text
    assert "agrees       with --router-weights hf: largest difference " in text


@pytest.mark.parametrize("convention, switches, first", [
    (dict(kv_a_eps=1e-5), ["--kv-a-eps 1e-5"], "layer.3.mla_latent"),
    (dict(l2_eps=1e-5), ["--l2-eps 1e-5"], "layer.1.kda_state"),
    (dict(l2_eps=3.2e-5, kv_a_eps=1e-5), ["--kv-a-eps 1e-5", "--l2-eps 3.2e-5"], "layer.1.kda_state"),
    (dict(router_weights="hf", kv_a_eps=1e-5, l2_eps=1e-5),
     ["--router-weights hf", "--kv-a-eps 1e-5", "--l2-eps 1e-5"], "layer.1.kda_state"),
])
def test_conventions_are_found_alone_and_together(tiny_dump, convention, switches, first):
    report = parity(ORACLE / "tiny", tiny_dump(**convention))
    assert report["switches"] == switches
    assert report["first_deviation"]["name"] == first
    assert report["runs"][0]["agrees"] is False


@pytest.mark.parametrize("variant, switches", [
    ("biased_router", ["--router-weights hf"]),
    ("kv_a_eps_1e-5", ["--kv-a-eps 1e-5"]),
    ("l2_llamacpp", ["--kv-a-eps 1e-5", "--l2-eps 1e-5"]),
    ("l2_mlx_old", ["--kv-a-eps 1e-5", "--l2-eps 3.2e-5"]),
])
def test_the_goldens_variants_are_told_apart_by_logits_alone(tmp_path, variant, switches):
    golden = load(ORACLE / "tiny/golden.safetensors")
    dump = save(tmp_path / "d", {"tokens": golden["tokens"], "logits": golden["variant." + variant]})
    report = parity(ORACLE / "tiny", dump)
    assert report["switches"] == switches
    assert report["first_deviation"]["name"] == "logits" and report["difference"] < 2e-5


def test_flags_given_are_the_beginning(tiny_dump):
    assert parity(ORACLE / "tiny", tiny_dump(router_weights="hf"), "--router-weights", "hf")["switches"] == []
    assert parity(ORACLE / "tiny", tiny_dump(), "--router-weights", "hf")["switches"] == ["--router-weights unbiased"]


def test_a_difference_no_switch_explains_is_named_where_it_begins(tmp_path):
    golden = load(ORACLE / "tiny/golden.safetensors")
    arrays = {n: a.copy() for n, a in golden.items() if n == "tokens" or n.startswith("layer.")}
    arrays["layer.2.hidden"][11, 3] += 0.5
    dump = save(tmp_path / "d", arrays | {"logits": golden["logits_f64"]})
    report = parity(ORACLE / "tiny", dump, status=EXIT_FAILURE)
    first = report["first_deviation"]
    assert not report["agrees"] and (first["name"], first["position"]) == ("layer.2.hidden", 11)
    assert len(report["runs"]) > 8 and not any(run["agrees"] for run in report["runs"])
    result = run_kl("verify", "-m", ORACLE / "tiny", "--against", dump)
    assert "NO ANSWER" in result.out and "expected the numbers of " in result.err


def test_other_experts_are_named_and_their_order_does_not_matter(tmp_path):
    golden = load(ORACLE / "tiny/golden.safetensors")
    arrays = {n: a.copy() for n, a in golden.items() if n == "tokens" or n.startswith("layer.")}
    arrays["logits"] = golden["logits_f64"]
    for what in ("router_ids", "router_weights"):
        arrays[f"layer.1.{what}"] = arrays[f"layer.1.{what}"][:, ::-1]
    assert parity(ORACLE / "tiny", save(tmp_path / "d", arrays))["agrees"]
    ids = arrays["layer.2.router_ids"]
    ids[5, 0] = next(e for e in range(8) if e not in ids[5])
    first = parity(ORACLE / "tiny", save(tmp_path / "d", arrays), status=EXIT_FAILURE)["first_deviation"]
    assert (first["name"], first["position"]) == ("layer.2.router_ids", 5)
    assert "the dump has experts " in first["text"]


def test_a_model_in_8_bit_activations_says_so(ok, tmp_path):
    """A quantised model beside its own exact arithmetic: both the activations and the cache are of fewer bits by default."""
    ok("quantize", "-o", tmp_path / "q", "--bits", "8")
    (tmp_path / "ids").write_text("35 300 44 500 12 8 9 700\n")
    ok("logits", "-m", tmp_path / "q", "--tokens", tmp_path / "ids", "-o", tmp_path / "l", "--compute", "f32",
       "--cache-type", "f32")
    tokens = np.array([35, 300, 44, 500, 12, 8, 9, 700])
    dump = save(tmp_path / "d", {"tokens": tokens, "logits": load(tmp_path / "l")["logits"]})
    assert parity(tmp_path / "q", dump)["switches"] == ["--compute f32"]


def test_rounding_to_bf16_is_judged_by_its_own_budget(tmp_path):
    from random_model import round_bf16

    golden = load(ORACLE / "tiny/golden.safetensors")
    noisy = {"tokens": golden["tokens"], "logits": round_bf16(golden["logits_f64"] * 1.01)}
    assert parity(ORACLE / "tiny", save(tmp_path / "d", noisy, dtype="bfloat16"))["precision"] == "bf16"
    undeclared = save(tmp_path / "d", noisy)
    assert "--precision bf16" in parity(ORACLE / "tiny", undeclared, status=EXIT_FAILURE)["hint"]
    assert parity(ORACLE / "tiny", undeclared, "--precision", "bf16")["switches"] == []
    assert parity(ORACLE / "tiny", save(tmp_path / "d", noisy, dtype="float32"), status=EXIT_FAILURE)["hint"] == ""
    slip = {"tokens": golden["tokens"], "logits": round_bf16(golden["variant.biased_router"])}
    report = parity(ORACLE / "tiny", save(tmp_path / "d", slip, dtype="bfloat16"))
    assert report["agrees"] and "nearer with --router-weights hf: " in report["hint"]


def without(name):
    return lambda arrays: arrays.pop(name)


def replaced(name, make):
    def change(arrays):
        arrays[name] = make(arrays.get(name))
    return change


@pytest.mark.parametrize("change, named", [
    (without("tokens"), "tokens: expected the tokens of the dump, got none"),
    (without("logits"), "logits: expected logits for every sequence of tokens, got none"),
    (replaced("tokens", lambda t: np.where(np.arange(len(t)) == 4, 320, t)),
     "tokens: position 4: expected a token from 0 to 319, as the model has 320, got 320"),
    (replaced("tokens", lambda t: -t - 1), "tokens: position 0: expected a token from 0 to 319"),
    (replaced("tokens", lambda t: t.astype(np.float32)), "tokens: expected a vector of integers, got F32 [48]"),
    (replaced("logits", lambda a: a[:, :300]), "logits: expected 320 columns, the model's vocabulary, got 300"),
    (replaced("logits", lambda a: a[:40]), "logits: expected shape [48, 320], got [40, 320]"),
    (replaced("logits", lambda a: a.astype(np.int32)), "logits: expected F64, F32, F16 or BF16, got I32"),
    (replaced("logits.1", lambda _: np.zeros((3, 320))), "logits.1: expected at most 1 sequences"),
    (replaced("layer.9.hidden", lambda _: np.zeros((48, 64))), "layer.9.hidden: expected a layer from 0 to 3"),
    (replaced("layer.3.kda_state", lambda _: np.zeros((2, 32, 32))),
     "layer.3.kda_state: expected no such array: the model's layer 3 is MLA, MoE"),
    (replaced("layer.0.router_ids", lambda _: np.zeros((48, 2), np.int32)), "layer 0 is KDA, dense"),
    (replaced("layer.1.hidden", lambda a: a[:, :60]), "layer.1.hidden: expected shape [48, 64], got [48, 60]"),
    (replaced("logits_f64", lambda _: np.zeros((48, 320))), "expected one array of logits, got another beside it"),
    (replaced("positions", lambda _: np.array([3, 2])), "positions: expected ascending positions from 0 to 47"),
])
def test_a_dump_that_does_not_fit_is_refused_by_array_and_rule(tmp_path, change, named):
    golden = load(ORACLE / "tiny/golden.safetensors")
    arrays = {n: a for n, a in golden.items() if n == "tokens" or n.startswith("layer.")}
    arrays["logits"] = golden["logits_f64"]
    change(arrays)
    result = run_kl("verify", "-m", ORACLE / "tiny", "--against", save(tmp_path / "dump.safetensors", arrays))
    assert result.status == EXIT_BAD_INPUT and result.out == ""
    assert "dump.safetensors" in result.err and named in result.err


def test_a_damaged_dump_is_refused(tmp_path):
    dump = tmp_path / "d.safetensors"
    shutil.copy(ORACLE / "tiny/golden.safetensors", dump)
    dump.write_bytes(dump.read_bytes()[:-100])
    for path in (dump, tmp_path / "none", tmp_path):
        result = run_kl("verify", "-m", ORACLE / "tiny", "--against", path)
        assert result.status == EXIT_BAD_INPUT and str(path) in result.err


def test_numbers_that_are_none_never_agree(tmp_path):
    golden = load(ORACLE / "tiny/golden.safetensors")
    logits = golden["logits_f64"].copy()
    logits[20, 7] = np.nan
    dump = save(tmp_path / "d", {"tokens": golden["tokens"], "logits": logits})
    first = parity(ORACLE / "tiny", dump, status=EXIT_FAILURE)["first_deviation"]
    assert (first["name"], first["position"], first["difference"]) == ("logits", 20, None)


def test_the_last_logits_alone_will_do(tmp_path):
    golden = load(ORACLE / "tiny/golden.safetensors")
    dump = save(tmp_path / "d", {"tokens": golden["tokens"], "logits": golden["logits_f64"][-1:]})
    assert parity(ORACLE / "tiny", dump)["agrees"]


def test_writing_sums_and_comparing_exclude_each_other(tmp_path):
    assert run_kl("verify", "--write-sums", "--against", "x").status == EXIT_USAGE


@pytest.mark.parametrize("tool", ["dump_hf.py", "dump_mlx.py"])
def test_the_makers_of_dumps_say_what_to_install(tool):
    result = subprocess.run(["python3", "-S", ROOT / "tools" / tool, "-m", "x", "--tokens", "x", "-o", "x"],
                            capture_output=True, text=True)
    assert result.returncode == 1 and "expected to be installed, got none: pip install " in result.stderr
