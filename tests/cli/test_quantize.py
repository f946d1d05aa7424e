import hashlib
import json
import random
import resource
import signal
import subprocess
import time

import pytest
from conftest import (EXIT_BAD_INPUT, EXIT_CANNOT_WRITE, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, KL, run_kl)


def digest(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("group", [32, 64])
def test_a_quantised_folder_is_whole_small_and_writes(ok, demo, tmp_path, bits, group):
    told = json.loads(ok("quantize", "-m", demo, "-o", tmp_path / "q", "--bits", bits, "--group-size", group, "--json").out)
    assert bits < told["bits_per_weight"] < bits + 0.9
    found = json.loads(ok("inspect", "-m", tmp_path / "q", "--json").out)
    assert found["problems"] == [] and found["weights"]["tensor_bytes"] == told["tensor_bytes"]
    assert found["parameters"] == told["packed_weights"] + told["kept_weights"]
    text = ok("run", "-m", tmp_path / "q", "-p", "ROMEO:\n", "-n", "30", "--temp", "0", "--raw").out
    assert len(text) > 20
    assert ok("run", "-m", tmp_path / "q", "-p", "ROMEO:\n", "-n", "30", "--temp", "0", "--raw", "-t", "3").out == text


def test_the_demo_model_is_the_default(ok, tmp_path):
    assert "2,054,656 weights in 4 bits" in ok("quantize", "-o", tmp_path / "q").out


@pytest.mark.parametrize("compute", ["auto", "f32"])
def test_logits_are_near_those_of_the_model_it_came_from(ok, demo, tmp_path, compute):
    import safetensors

    ok("quantize", "-m", demo, "-o", tmp_path / "q", "--bits", "8")
    (tmp_path / "ids").write_text("35 300 44 500 12 8 9 700\n")
    values = []
    for model, flags in ((demo, []), (tmp_path / "q", ["--compute", compute])):
        ok("logits", "-m", model, "--tokens", tmp_path / "ids", "-o", tmp_path / "out", *flags)
        values.append(safetensors.load(tmp_path / "out")["logits"][2])
    scale = max(map(abs, values[0]))
    assert 0 < max(abs(a - b) for a, b in zip(*values)) < 0.1 * scale


@pytest.mark.parametrize("args, status, named", [
    (["-o", "q", "--bits", "5"], EXIT_USAGE, "--bits: expected 4 or 8, got 5"),
    (["-o", "q", "--group-size", "48"], EXIT_USAGE, "--group-size: expected 32 or 64, got 48"),
    ([], EXIT_USAGE, "--out: expected to be given"),
    (["-o", "full"], EXIT_CANNOT_WRITE, "full: expected a new or empty folder, got one in use"),
    (["-o", "file"], EXIT_CANNOT_WRITE, "file: expected a new or empty folder"),
    (["-o", "model"], EXIT_USAGE, "model: expected a folder outside"),
    (["-o", "model/inside"], EXIT_USAGE, "model/inside: expected a folder outside"),
    (["-o", "/proc/q"], EXIT_CANNOT_WRITE, "/proc/q: "),
])
def test_what_cannot_be_done_is_said_and_leaves_nothing(model_copy, tmp_path, args, status, named):
    model_copy.rename(tmp_path / "model")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").touch()
    (tmp_path / "file").touch()
    before = sorted(p.name for p in tmp_path.rglob("*"))
    result = run_kl("quantize", "-m", "model", *args, cwd=tmp_path)
    assert (result.status, result.out) == (status, "") and named in result.err
    assert sorted(p.name for p in tmp_path.rglob("*")) == before


def test_a_quantised_folder_is_not_quantised_again(ok, tmp_path):
    ok("quantize", "-o", tmp_path / "q")
    result = run_kl("quantize", "-m", tmp_path / "q", "-o", tmp_path / "again")
    assert result.status == EXIT_BAD_INPUT and "not quantised yet, got packed ones" in result.err
    assert not (tmp_path / "again").exists()


def test_a_folder_of_a_newer_kl_is_refused(ok, tmp_path):
    ok("quantize", "-o", tmp_path / "q")
    config = json.loads((tmp_path / "q/config.json").read_text())
    config["quantization_config"]["version"] = 99
    (tmp_path / "q/config.json").write_text(json.dumps(config))
    result = run_kl("run", "-m", tmp_path / "q", "-p", "x")
    assert result.status == EXIT_BAD_INPUT
    assert "quantization_config.version: expected at most 1, got 99: a newer kl packed these weights" in result.err


def test_a_truncated_shard_is_refused(ok, tmp_path):
    ok("quantize", "-o", tmp_path / "q")
    file = tmp_path / "q/model.safetensors"
    file.write_bytes(file.read_bytes()[:-64])
    result = run_kl("run", "-m", tmp_path / "q", "-p", "x")
    assert result.status == EXIT_BAD_INPUT and "model.safetensors" in result.err


def test_a_full_disk_leaves_nothing(tmp_path):
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # noqa: E731
    result = run_kl("quantize", "-o", tmp_path / "q", preexec_fn=limit)
    assert result.status == EXIT_CANNOT_WRITE and "q/model.safetensors" in result.err
    assert list(tmp_path.iterdir()) == []


def test_a_signal_leaves_nothing(ok, tmp_path):
    ok("synth", "--config", write_wide_config(ok, tmp_path), "-o", tmp_path / "wide")
    process = subprocess.Popen([KL, "quantize", "-m", tmp_path / "wide", "-o", tmp_path / "q", "-t", "1"])
    while not (tmp_path / "q").exists() and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == EXIT_INTERRUPTED
    assert not (tmp_path / "q").exists()


def write_wide_config(ok, folder):
    """The tiny model with enough experts to take some tenths of a second."""
    ok("synth", "--like", "tiny", "-o", folder / "like")
    config = json.loads((folder / "like/config.json").read_text())
    (folder / "wide.json").write_text(json.dumps(config | {"num_experts": 256, "intermediate_size": 8192, "vocab_size": 20000}))
    return folder / "wide.json"


def test_killed_at_any_moment_it_leaves_no_folder_that_loads_and_is_wrong(ok, demo, tmp_path):
    (tmp_path / "ids").write_text("1 2 3 4 5\n")

    def logits(model):
        result = run_kl("logits", "-m", model, "--tokens", tmp_path / "ids", "-o", tmp_path / "out")
        return (tmp_path / "out").read_bytes() if result.status == EXIT_OK else None

    started = time.monotonic()
    ok("quantize", "-o", tmp_path / "whole", "-t", "1")
    seconds, expected = time.monotonic() - started, logits(tmp_path / "whole")
    generator, outcomes = random.Random(1), []
    for i in range(15):
        process = subprocess.Popen([KL, "quantize", "-m", demo, "-o", tmp_path / f"q{i}", "-t", "1"],
                                   stdout=subprocess.DEVNULL)
        time.sleep(generator.uniform(0, 1.2 * seconds))
        process.kill()
        process.wait()
        found = logits(tmp_path / f"q{i}")
        assert found in (None, expected)
        outcomes.append(found is not None)
    assert not all(outcomes), "some were killed before they were done"
