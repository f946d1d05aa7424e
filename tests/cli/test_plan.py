"""The memory plan, held to what a process really takes."""
import json
import random
import subprocess
import sys

import pytest
from conftest import EXIT_MEMORY, EXIT_OK, EXIT_USAGE, KIMI_LINEAR_48B, KL, run_kl

PARTS = ("program", "weights", "scratch", "states", "latents", "cache")


def plan(ok, *args):
    return json.loads(ok("inspect", "--plan", "--json", *args).out)["plan"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """320 MB, half in experts, with real latents: kv_lora_rank 512."""
    folder = tmp_path_factory.mktemp("plan")
    config = KIMI_LINEAR_48B | {
        "vocab_size": 1024, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "hidden_size": 512, "num_hidden_layers": 5,
        "num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 1024, "num_experts": 64,
        "num_experts_per_token": 2, "moe_intermediate_size": 400,
        "linear_attn_config": {"kda_layers": [1, 2, 4], "full_attn_layers": [3, 5], "num_heads": 8, "head_dim": 128,
                               "short_conv_kernel_size": 4}}
    (folder / "config.json").write_text(json.dumps(config))
    assert run_kl("synth", "--config", folder / "config.json", "-o", folder / "model", timeout=120).status == EXIT_OK
    return folder / "model"


def peak_bytes(*command):
    """Most memory a program has in RAM.  A small process starts it: Linux counts the starter's memory as the program's."""
    starter = ("import os, subprocess, sys; _, status, usage = os.wait4(subprocess.Popen(sys.argv[1:]).pid, 0); "
               "print(usage.ru_maxrss * 1024); sys.exit(status != 0)")
    return int(subprocess.run([sys.executable, "-c", starter, *command], check=True, capture_output=True).stdout)


@pytest.mark.parametrize("flags", [[], ["--cache-type", "int8", "--state-type", "bf16"]])
def test_the_plan_is_within_two_percent_of_the_resident_size(ok, model, tmp_path, flags):
    tokens = 2000
    told = plan(ok, "-m", model, "-c", tokens, "--slots", 1, "--cache-bytes", 1, "-t", 2, *flags)
    assert told["total"] == sum(told[part] for part in PARTS)
    rng = random.Random(1)  # all tokens, lest experts or rows of the embedding stay on the disk
    (tmp_path / "ids").write_text(" ".join(str(rng.randrange(1024)) for _ in range(tokens)) + "\n")
    measured = peak_bytes(KL, "logits", "-m", model, "--tokens", tmp_path / "ids", "-o", tmp_path / "out", "--mla", "auto", "-t",
                          "2", *flags)  # all logits: else the last layer's experts see one token
    assert told["total"] == pytest.approx(measured, rel=0.02), {p: told[p] for p in PARTS}


def test_slots_and_context_multiply_what_they_should(ok, demo):
    one = plan(ok, "-c", "128", "--slots", "1", "--cache-bytes", "1000")
    four = plan(ok, "--ctx-size", "256", "--parallel", "4", "--cache-bytes", "1000")
    assert four["states"] == 4 * one["states"] and four["latents"] == 8 * one["latents"]
    assert four["weights"] == one["weights"] and four["scratch"] == one["scratch"] and one["cache"] == 1000
    assert one["fits"] and one["advice"] == ""
    text = ok("inspect", "--plan", "-c", "128").out
    assert "plan         latents" in text and "plan         fits" in text


def test_the_default_cache_is_an_eighth_of_what_is_left(ok):
    told = plan(ok, "-c", "4096")
    rest = told["available"] - told["total"] + told["cache"]
    assert told["cache"] == pytest.approx(rest / 8, rel=0.01)


def test_a_plan_that_does_not_fit_says_what_to_lower(ok):
    told = plan(ok, "-c", "1000000000000", "--slots", "4", "--cache-bytes", "5000000")
    assert not told["fits"]
    for flag in ("lower -c to ", "--parallel (4)", "--cache-bytes (5 MB)", "--cache-type int8"):
        assert flag in told["advice"]
    assert "does not fit: lower -c to" in ok("inspect", "--plan", "-c", "1000000000000").out
    fitting = int(told["advice"].split("-c to ")[1].split(",")[0])
    at_that = plan(ok, "-c", fitting, "--slots", "4", "--cache-bytes", "5000000")
    assert at_that["total"] - at_that["program"] <= told["available"] - told["program"] < at_that["total"] + 4 * 128 * 320


@pytest.mark.parametrize("args", [["run", "-p", "x", "-n", "999999999", "-c", "1000000000"], ["chat", "-c", "1000000000"],
                                  ["run", "-p", "x", "-n", "999999999", "-c", "1000000000", "--cache-type", "int8"]])
def test_what_cannot_fit_is_refused_before_it_begins(kl, args):
    result = kl(*args, stdin="Hello\n")
    assert result.status == EXIT_MEMORY and result.out == ""
    assert "memory: expected " in result.err and " GB free for a text of 1000000000 tokens, got " in result.err
    assert "lower -c to " in result.err


def test_the_context_bounds_a_text(ok, kl):
    def told(*flags):
        return json.loads(ok("run", "-p", "To be, or not to be", "--json", "--ignore-eos", "-n", "50", "--temp", "0", *flags).out)
    free = told()
    prompt = free["counts"]["prompt_tokens"]
    bounded = told("-c", prompt + 10)
    assert bounded["counts"]["completion_tokens"] == 10 and bounded["finish_reason"] == "length"
    assert bounded["ids"] == free["ids"][:10]
    assert told("-c", prompt + 50)["ids"] == free["ids"]
    result = kl("run", "-p", "To be, or not to be", "-c", prompt)
    assert result.status == EXIT_USAGE
    assert f"prompt: expected fewer tokens than the context of {prompt} (-c), got {prompt}" in result.err


def test_the_context_bounds_a_conversation(kl):
    result = kl("chat", "-c", "60", "-n", "1000", "--ignore-eos", "--temp", "0", stdin="Hello\nHello\n/reset\nHello\n")
    assert result.status == EXIT_OK
    assert result.err.count(": -c]") == 2
    assert "message: expected at most 0 tokens, what the context of 60 (-c) has room for, got " in result.err
    half = result.out[:len(result.out) // 2]
    assert result.out == half * 2
