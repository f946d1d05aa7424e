import hashlib
import json
import signal
import subprocess
import time

import pytest
import safetensors
from conftest import DEMO, EXIT_BAD_INPUT, EXIT_CANNOT_WRITE, EXIT_INTERRUPTED, EXIT_USAGE, KL, run_kl


def digest(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def test_a_small_model_is_whole_and_runs(ok, tmp_path):
    told = json.loads(ok("synth", "--like", "tiny", "-o", tmp_path / "tiny", "--json").out)
    found = json.loads(ok("inspect", "-m", tmp_path / "tiny", "--json").out)
    assert found["problems"] == []
    assert told["parameters"] == found["parameters"] == found["weights"]["parameters"]
    assert told["tensors"] == found["tensors"]
    assert told["tensor_bytes"] == found["weights"]["tensor_bytes"]
    assert told["files"] == len(found["weights"]["files"])
    (tmp_path / "ids").write_text("1 2 3 4 5\n")
    ok("logits", "-m", tmp_path / "tiny", "--tokens", tmp_path / "ids", "-o", tmp_path / "out")
    values = safetensors.load(tmp_path / "out")["logits"][2]
    assert 0.01 < max(map(abs, values)) < 1000, "healthy: neither dead nor exploding"


def test_the_same_seed_gives_the_same_bytes(ok, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        ok("synth", "--like", "tiny", "-o", tmp_path / name, "--seed", seed)
    a, b, c = (digest(tmp_path / name) for name in "abc")
    assert a == b
    assert a["model.safetensors"] != c["model.safetensors"] and a["config.json"] == c["config.json"]


@pytest.mark.parametrize("dtype", ["bf16", "f16", "f32"])
def test_the_type_of_the_weights_can_be_chosen(ok, tmp_path, dtype):
    ok("synth", "--like", "tiny", "-o", tmp_path / "m", "--dtype", dtype)
    dtypes = json.loads(ok("inspect", "-m", tmp_path / "m", "--json").out)["weights"]["dtypes"]
    assert max(dtypes, key=lambda d: dtypes[d]["tensors"]) == dtype.upper()


def test_a_config_and_a_tokenizer_make_a_model_that_writes(ok, demo, tmp_path):
    ok("synth", "--config", demo / "config.json", "--tokenizer", demo / "tiktoken.model", "-o", tmp_path / "m")
    result = json.loads(ok("run", "-m", tmp_path / "m", "-p", "To be", "-n", "5", "--json").out)
    assert result["counts"]["completion_tokens"] > 0
    assert json.loads((tmp_path / "m/config.json").read_text())["hidden_size"] > 0


def test_the_message_says_what_was_written(ok, tmp_path):
    text = ok("synth", "--like", "tiny", "-o", tmp_path / "m").out
    assert text.startswith(str(tmp_path / "m")) and "parameters" in text and "1 file\n" in text


@pytest.mark.parametrize("args, status, named", [
    (["-o", "m"], EXIT_USAGE, "--config or --like: expected one of them, got none"),
    (["--like", "tiny"], EXIT_USAGE, "--out: expected to be given"),
    (["--like", "7b", "-o", "m"], EXIT_USAGE, "--like: expected 48b or slice4 or slice8 or tiny, got 7b"),
    (["--like", "tiny", "--config", "x", "-o", "m"], EXIT_USAGE, "expected one of them, got both"),
    (["--like", "tiny", "-o", "m", "--dtype", "int4"], EXIT_USAGE, "--dtype: expected bf16 or f16 or f32, got int4"),
    (["--like", "tiny", "-o", "m", "--seed", "x"], EXIT_USAGE, "--seed: expected a whole number"),
    (["--config", "nowhere.json", "-o", "m"], EXIT_BAD_INPUT, "nowhere.json"),
    (["--config", "bad.json", "-o", "m"], EXIT_BAD_INPUT, "bad.json"),
    (["--like", "tiny", "-o", "m", "--tokenizer", "nowhere"], EXIT_BAD_INPUT, "nowhere"),
    (["--like", "tiny", "-o", "m", "--tokenizer", "bad.json"], EXIT_BAD_INPUT, "bad.json:1: expected"),
    (["--like", "tiny", "-o", "m", "--tokenizer", DEMO / "tiktoken.model"], EXIT_BAD_INPUT, "expected at most 320 tokens"),
    (["--like", "tiny", "-o", "full"], EXIT_CANNOT_WRITE, "full"),
    (["--like", "tiny", "-o", "bad.json"], EXIT_CANNOT_WRITE, "bad.json"),
    (["--like", "tiny", "-o", "/proc/m"], EXIT_CANNOT_WRITE, "/proc/m"),
])
def test_what_cannot_be_made_leaves_nothing_behind(tmp_path, args, status, named):
    (tmp_path / "bad.json").write_text("{}")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/keep").write_text("mine")
    result = run_kl("synth", *args, cwd=tmp_path, timeout=5)
    assert result.status == status, result.err
    assert result.err.startswith("kl: ") and named in result.err
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == ["bad.json", "full", "full/keep"]


def test_ctrl_c_removes_what_was_written(tmp_path):
    process = subprocess.Popen([KL, "synth", "--like", "slice4", "-o", "m"], cwd=tmp_path, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 20
    while not any(p.stat().st_size > 1_000_000 for p in tmp_path.rglob("*") if p.is_file()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == EXIT_INTERRUPTED
    assert err == b""
    assert list(tmp_path.iterdir()) == []


def test_without_a_tokenizer_the_folder_reads_bytes_and_runs(ok, tmp_path):
    ok("synth", "--like", "tiny", "-o", tmp_path / "m")
    assert ok("tokenize", "-m", tmp_path / "m", "--ids", "hi").out.split() == ["104", "105"]
    result = json.loads(ok("run", "-m", tmp_path / "m", "-p", "hi", "-n", "4", "--ignore-eos", "--json").out)
    assert result["counts"] | {"prompt_tokens": 2, "completion_tokens": 4} == result["counts"]
