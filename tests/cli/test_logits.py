import json
import signal
import subprocess
import time

import pytest
import safetensors
from conftest import EXIT_INTERRUPTED, KL, run_kl

SEQUENCES = ["To be, or not to be: that is the question.", "ROMEO:", "Now is the winter of our discontent\nMade glorious"]


@pytest.fixture(scope="module")
def lines():
    """The sequences as lines of ids."""
    return [run_kl("tokenize", "--ids", s).out for s in SEQUENCES]


@pytest.fixture
def logits(ok, tmp_path):
    """logits(lines, flags...) -> bytes of the output file"""

    def run(lines, *flags, model=None):
        (tmp_path / "ids.txt").write_text("".join(lines))
        out = tmp_path / "out.safetensors"
        ok("logits", *(["-m", model] if model else []), "--tokens", tmp_path / "ids.txt", "-o", out, *flags)
        return out.read_bytes()

    return run


@pytest.fixture
def tensors(logits, tmp_path):
    def run(lines, *flags, **options):
        logits(lines, *flags, **options)
        return safetensors.load(tmp_path / "out.safetensors")

    return run


@pytest.mark.parametrize("flags", [["--chunk", "1"], ["--chunk", "7"], ["--chunk", "64"], ["--chunk", "10000"],
                                   ["-t", "1"], ["-t", "2"], ["-t", "5"], ["--chunk", "3", "-t", "2"], ["--all"]],
                         ids=" ".join)
def test_chunks_and_threads_do_not_change_a_byte(logits, lines, flags):
    everything = ["--layers", "--state"]
    assert logits(lines, *everything, *flags) == logits(lines, *everything)


def test_the_exact_mode_is_the_default(logits, lines):
    assert logits(lines) == logits(lines, "--mla", "absorbed", "--compute", "f32", "--router-weights", "unbiased")


def test_a_sequence_alone_gives_the_same_numbers_as_in_a_batch(tensors, lines):
    batch = tensors(lines, "--layers", "--state")
    for j, line in enumerate(lines):
        suffix = f".{j}" if j else ""
        for name, tensor in tensors([line], "--layers", "--state").items():
            assert batch[name + suffix] == tensor, name


def test_names_types_and_shapes_are_those_of_the_manual(tensors, lines, demo):
    config = json.loads((demo / "config.json").read_text())
    kda = config["linear_attn_config"]
    length = len(lines[0].split())
    hidden, experts = config["hidden_size"], config["num_experts_per_token"]
    heads, width = kda["num_heads"], kda["head_dim"]
    expected = {"logits": ("F32", [length, config["vocab_size"]])}
    for i in range(config["num_hidden_layers"]):
        expected[f"layer.{i}.hidden"] = ("F32", [length, hidden])
        if i >= config["first_k_dense_replace"]:
            expected[f"layer.{i}.router_ids"] = ("I32", [length, experts])
            expected[f"layer.{i}.router_weights"] = ("F32", [length, experts])
        if i + 1 in kda["kda_layers"]:
            expected[f"layer.{i}.kda_state"] = ("F32", [heads, width, width])
            expected[f"layer.{i}.conv_state"] = ("F32", [3, kda["short_conv_kernel_size"] - 1, heads * width])
        else:
            expected[f"layer.{i}.mla_latent"] = ("F32", [length, config["kv_lora_rank"]])
            expected[f"layer.{i}.mla_k_pe"] = ("F32", [length, config["qk_rope_head_dim"]])
    found = tensors(lines[:1], "--layers", "--state")
    assert {name: (dtype, shape) for name, (dtype, shape, _) in found.items()} == expected
    for name, (_, _, values) in found.items():
        assert any(values), f"{name} is all zero"
    ids = found[f"layer.{config['num_hidden_layers'] - 1}.router_ids"][2]
    assert all(a < b for a, b in zip(ids[0::experts], ids[1::experts])), "chosen experts come in ascending order"


def test_only_what_is_asked_for_is_written(tensors, lines):
    assert list(tensors(lines[:1])) == ["logits"]
    assert set(tensors(lines)) == {"logits", "logits.1", "logits.2"}
    assert not any("state" in n or "mla" in n for n in tensors(lines, "--layers"))
    assert not any("hidden" in n or "router" in n for n in tensors(lines, "--state"))


def test_last_is_the_last_row_of_all(tensors, lines):
    every, last = tensors(lines), tensors(lines, "--last")
    for name, (_, (rows, vocab), values) in last.items():
        assert rows == 1
        assert values == every[name][2][-vocab:]


def test_the_likeliest_token_is_the_one_run_draws(tensors, lines, ok):
    values = tensors(lines[:1], "--last")["logits"][2]
    drawn = json.loads(ok("run", "-p", SEQUENCES[0], "-n", "1", "--temp", "0", "--json").out)["ids"]
    assert drawn == [values.index(max(values))]


def test_ids_may_come_from_standard_input_and_overwrite_an_older_file(ok, logits, lines, tmp_path):
    expected = logits(lines)
    ok("logits", "--tokens", "-", "-o", tmp_path / "out.safetensors", stdin="".join(lines))
    assert (tmp_path / "out.safetensors").read_bytes() == expected
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ids.txt", "out.safetensors"], "no temporary file is left"


def difference(a, b):
    return max(abs(x - y) for x, y in zip(a["logits"][2], b["logits"][2]))


def test_conventions_of_other_implementations_change_the_numbers(tensors, lines):
    ours = tensors(lines[:1])
    for flags in (["--router-weights", "hf"], ["--kv-a-eps", "0.01"], ["--l2-eps", "0.01"]):
        assert difference(tensors(lines[:1], *flags), ours) > 1e-4, flags


def test_the_expanded_form_agrees_up_to_rounding(tensors, lines):
    assert 0 < difference(tensors(lines[:1], "--mla", "expanded"), tensors(lines[:1])) < 1e-4


def test_ctrl_c_leaves_nothing_behind(tmp_path):
    ids = "1 " * 200_000 + "\n"
    process = subprocess.Popen([KL, "logits", "--tokens", "-", "-o", "out"], cwd=tmp_path, stdin=subprocess.PIPE)
    process.stdin.write(ids.encode())
    process.stdin.close()
    while not list(tmp_path.iterdir()):  # the temporary file
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == EXIT_INTERRUPTED
    assert list(tmp_path.iterdir()) == []
