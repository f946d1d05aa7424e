"""A hostile surrounding: streams that are closed or full, signals, limits, files that change, names that lie."""
import json
import os
import resource
import signal
import subprocess
import time

import pytest
from conftest import (EXIT_BAD_INPUT, EXIT_CANNOT_WRITE, EXIT_INTERRUPTED, EXIT_MEMORY, EXIT_OK, EXIT_USAGE, KL, ROOT,
                      run_kl)

SANITIZED = "dev" in KL or "tsan" in KL  # sanitizers need all of the address space


def shell(command, **options):
    """Runs a shell line in which $KL is the program."""
    return subprocess.run(["bash", "-c", command], env=os.environ | {"KL": KL}, capture_output=True, text=True,
                          timeout=60, **options)


@pytest.fixture
def ids_file(tmp_path):
    (tmp_path / "in").mkdir()
    path = tmp_path / "in/ids.txt"
    path.write_text("1 2 3\n")
    return path


# --- standard streams -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("stderr", ["2>&-", "2>/dev/full"])
@pytest.mark.parametrize("command, status", [
    ("$KL frobnicate", EXIT_USAGE), ("$KL", EXIT_USAGE), ("$KL run -m nowhere", EXIT_BAD_INPUT),
    ("$KL run -p x -n 2 -v", EXIT_OK), ("echo /help | $KL chat", EXIT_OK)])
def test_a_standard_error_nobody_can_write_to_changes_no_status(command, status, stderr):
    assert shell(f"{command} {stderr}").returncode == status


def test_closed_streams_do_not_end_up_in_the_output_file(tmp_path, ids_file):
    command = f"$KL logits --tokens {ids_file} -o {tmp_path}/a; $KL logits --tokens {ids_file} -o {tmp_path}/b <&- >&- 2>&-"
    assert shell(command).returncode == EXIT_OK
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert shell(f"$KL logits --tokens {ids_file} -o {tmp_path}/no/c 2>&-").returncode == EXIT_CANNOT_WRITE


@pytest.mark.parametrize("command", ["run -", "chat", "tokenize", "tokenize --jsonl", "detokenize", "render --jsonl",
                                     "logits --tokens - -o out"])
def test_a_closed_standard_input_is_a_bad_one(tmp_path, command):
    result = shell(f"$KL {command} <&-", cwd=tmp_path)
    assert result.returncode == EXIT_BAD_INPUT
    assert result.stderr.startswith("kl: standard input: expected readable data, got ")
    assert list(tmp_path.iterdir()) == []


# --- signals ----------------------------------------------------------------------------------------------------------------

def start(*args, stdin=subprocess.DEVNULL, **options):
    return subprocess.Popen([KL, *map(str, args)], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def wait_for(condition):
    end = time.time() + 60
    while not condition():
        assert time.time() < end
        time.sleep(0.01)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
class TestSignals:
    def test_end_synth_and_leave_nothing(self, tmp_path, sent):
        process = start("synth", "--like", "slice4", "-o", tmp_path / "a/b/c")
        wait_for(lambda: list(tmp_path.glob("a/b/c/.model*")))
        process.send_signal(sent)
        assert process.wait(timeout=60) == EXIT_INTERRUPTED
        assert list(tmp_path.iterdir()) == []

    def test_end_logits_and_leave_nothing(self, tmp_path, ids_file, sent):
        ids_file.write_text("1 " * 200_000)
        process = start("logits", "--tokens", ids_file, "-o", tmp_path / "out")
        wait_for(lambda: list(tmp_path.glob(".out*")))
        process.send_signal(sent)
        assert process.wait(timeout=60) == EXIT_INTERRUPTED
        assert [p.name for p in tmp_path.iterdir()] == ["in"]

    def test_end_run_in_good_order(self, sent):
        process = start("run", "-p", "x", "-n", "1000000", "--ignore-eos", "--json")
        time.sleep(0.5)
        process.send_signal(sent)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == EXIT_INTERRUPTED
        assert json.loads(out)["finish_reason"] == "interrupted"


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("text", [b"", b"Hello\n"])
def test_chat_ends_when_told_to_whether_it_waits_or_answers(sent, text):
    process = start("chat", "-n", "1000000", "--ignore-eos", stdin=subprocess.PIPE)
    process.stdin.write(text)
    process.stdin.flush()
    if text:
        process.stdout.read(1)
    else:
        time.sleep(0.5)
    process.send_signal(sent)
    assert process.wait(timeout=60) == EXIT_INTERRUPTED


def test_a_signal_the_parent_ignores_stays_ignored():
    process = start("run", "-p", "x", "-n", "20", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=60) == EXIT_OK


# --- limits -----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("command", ["synth --like tiny -o out", "logits --tokens in/ids.txt -o out",
                                     "tokenize --ids -f long > in/out"])
def test_a_file_that_may_not_grow_cannot_be_written(tmp_path, ids_file, command):
    (tmp_path / "long").write_text("word " * 100_000)
    result = shell(f"ulimit -f 4; $KL {command}", cwd=tmp_path)
    assert result.returncode == EXIT_CANNOT_WRITE
    assert "File too large" in result.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "long"]


@pytest.mark.skipif(SANITIZED, reason="sanitizers need all of the address space")
def test_threads_that_cannot_be_had():
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20))
    result = run_kl("run", "-p", "x", "-t", "500", preexec_fn=limit)
    assert result.status == EXIT_MEMORY
    assert result.err.startswith("kl: threads: expected 500 of them, got ")


@pytest.mark.skipif(SANITIZED, reason="sanitizers need all of the address space")
@pytest.mark.parametrize("megabytes", [10, 12, 14, 16, 18, 19, 20, 22, 24, 28])
def test_any_address_space_ends_in_text_or_status_4(megabytes):
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))
    if run_kl("--version", preexec_fn=limit).status not in (EXIT_OK, EXIT_MEMORY):
        pytest.skip("not even the program's libraries fit, or what they do before main()")
    result = run_kl("run", "-p", "x", "-n", "2", "-t", "1", preexec_fn=limit)
    assert result.status in (EXIT_OK, EXIT_MEMORY), result.err
    assert result.status == EXIT_OK or result.err.startswith("kl: ")


@pytest.mark.parametrize("args", [["run", "-f"], ["tokenize", "-f"], ["tokenize", "--jsonl", "-f"],
                                  ["logits", "-o", "out", "--tokens"]])
def test_an_input_without_end_is_refused(tmp_path, args):
    result = run_kl(*args, "/dev/zero", cwd=tmp_path)
    assert result.status == EXIT_BAD_INPUT
    assert "/dev/zero: expected a readable file, got a device" in result.err
    assert list(tmp_path.iterdir()) == []


def test_a_text_larger_than_any_is_refused_unread(tmp_path):
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", (1 << 30) + 1)
    result = run_kl("tokenize", "-f", tmp_path / "sparse", timeout=10)
    assert result.status == EXIT_BAD_INPUT
    assert "sparse: expected at most 1073741824 bytes, got more" in result.err


# --- files ------------------------------------------------------------------------------------------------------------------

def test_a_model_cut_short_while_in_use_ends_with_a_message(model_copy, tmp_path, ids_file):
    ids_file.write_text("1 " * 200_000)
    process = start("logits", "-m", model_copy, "--tokens", ids_file, "-o", tmp_path / "in/out")
    wait_for(lambda: list(tmp_path.glob("in/.out*")))
    os.truncate(model_copy / "model.safetensors", 20_000)
    _, err = process.communicate(timeout=60)
    assert process.returncode == EXIT_BAD_INPUT
    assert b"model.safetensors: could not be read any more" in err
    assert [p.name for p in (tmp_path / "in").iterdir()] == ["ids.txt"]


def test_what_is_read_is_not_written_over(model_copy, ids_file):
    text = ids_file.read_text()
    (ids_file.parent / "link").symlink_to(model_copy / "model.safetensors")
    for out in (ids_file, model_copy / "model.safetensors", model_copy / "config.json", ids_file.parent / "link"):
        result = run_kl("logits", "-m", model_copy, "--tokens", ids_file, "-o", out)
        assert result.status == EXIT_USAGE
        assert "--out: expected a new file, got " in result.err
    assert ids_file.read_text() == text
    assert (model_copy / "model.safetensors").read_bytes() == (ROOT / "models/demo/model.safetensors").read_bytes()


def test_an_output_may_have_the_longest_name_there_is(tmp_path, ids_file):
    assert run_kl("logits", "--tokens", ids_file, "-o", tmp_path / ("n" * 255)).status == EXIT_OK


@pytest.mark.parametrize("text, named", [("hello\n", ":1: expected \"base64 rank\""), ("", "got an empty file")])
def test_synth_takes_no_tokenizer_that_is_none(tmp_path, text, named):
    (tmp_path / "t").write_text(text)
    result = run_kl("synth", "--like", "tiny", "--tokenizer", "t", "-o", "out", cwd=tmp_path)
    assert result.status == EXIT_BAD_INPUT and named in result.err
    assert [p.name for p in tmp_path.iterdir()] == ["t"]


def test_synth_takes_no_tokenizer_larger_than_the_vocabulary(demo, tmp_path):
    result = run_kl("synth", "--like", "tiny", "--tokenizer", demo / "tiktoken.model", "-o", tmp_path / "out")
    assert result.status == EXIT_BAD_INPUT
    assert "expected at most 320 tokens (the model's vocab_size), got " in result.err
    assert list(tmp_path.iterdir()) == []


def break_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def damage_tokenizer(folder):
    (folder / "tiktoken.model").write_text("not base64\n")


def damage_link(folder):
    (folder / "tokenizer_config.json").unlink()
    (folder / "tokenizer_config.json").symlink_to("nowhere")


@pytest.mark.parametrize("damage, named", [(damage_tokenizer, "tiktoken.model:1"), (damage_link, "tokenizer_config.json")])
def test_inspect_sees_a_tokenizer_that_run_would_refuse(model_copy, damage, named):
    damage(model_copy)
    for command in (["run", "-p", "x"], ["inspect"]):
        result = run_kl(*command, "-m", model_copy)
        assert result.status == EXIT_BAD_INPUT
        assert named in result.err + result.out


def test_an_empty_prompt_needs_a_beginning_the_model_knows(model_copy):
    break_config(model_copy, bos_token_id=10**9)
    result = run_kl("run", "-m", model_copy, "-p", "")
    assert result.status == EXIT_USAGE
    assert "no beginning-of-text token" in result.err


@pytest.mark.parametrize("changes, named", [
    (dict(num_hidden_layers=4096, num_experts=4096, linear_attn_config=None, mlp_layer_types=None, first_k_dense_replace=0),
     "tensors and heads in all"),
    (dict(num_hidden_layers=4096, num_attention_heads=65536, linear_attn_config=None, kv_lora_rank=1, qk_nope_head_dim=1,
          v_head_dim=1, hidden_size=1), "tensors and heads in all"),
    (dict(num_hidden_layers=10**9), "num_hidden_layers"),
    (dict(vocab_size=2**31 - 1), "vocab_size"),
    (dict(eos_token_id=list(range(900_000))), "eos_token_id: expected at most 1024 ids"),
])
def test_absurd_dimensions_are_refused_at_once(model_copy, tmp_path, changes, named):
    break_config(model_copy, **changes)
    (model_copy / "generation_config.json").unlink()
    limit = lambda: resource.setrlimit(resource.RLIMIT_CPU, (20, 20)) if SANITIZED else \
        resource.setrlimit(resource.RLIMIT_CPU, (2, 2))
    for command in (["inspect", "-m", model_copy], ["run", "-m", model_copy, "-p", "x"],
                    ["synth", "--config", model_copy / "config.json", "-o", tmp_path / "out"]):
        result = run_kl(*command, preexec_fn=limit)
        assert result.status == EXIT_BAD_INPUT, result.err
    assert named in result.err
    assert not (tmp_path / "out").exists()


# --- what is shown ----------------------------------------------------------------------------------------------------------

EVIL = "\x1b[31m\x07\x9b0m\u202e"


@pytest.mark.parametrize("args", [["run", "-m", EVIL], ["run", "-f", EVIL], ["inspect", "-m", EVIL], [EVIL],
                                  ["run", "--" + EVIL], ["run", "--mla", EVIL], ["synth", "--config", EVIL, "-o", "x"],
                                  ["logits", "--tokens", EVIL, "-o", "x"], ["tokenize", "-f", EVIL]])
def test_no_message_can_steer_the_terminal(args):
    result = run_kl(*args, stdin=f"/{EVIL}\n")
    assert result.status in (EXIT_USAGE, EXIT_BAD_INPUT)
    assert not set(EVIL) - set("[310m") & set(result.err)


@pytest.mark.parametrize("changes", [{EVIL: 1}, {"moe_router_activation_func": EVIL}, {"layer_types": [EVIL] * 4},
                                     {"mlp_layer_types": [EVIL] * 4}, {"model_type": EVIL}, {"dtype": EVIL}])
def test_no_config_can_steer_the_terminal(model_copy, changes):
    break_config(model_copy, **changes)
    for command in (["run", "-p", "x", "-n", "1"], ["inspect"], ["inspect", "--json"]):
        result = run_kl(*command, "-m", model_copy)
        assert not set(EVIL) - set("[310m") & set(result.err + (result.out if "inspect" in command else ""))


def test_two_dashes_end_the_flags(ok):
    assert ok("detokenize", "-", stdin=ok("tokenize", "--ids", "--", "--text").out).out == "--text"
    result = run_kl("tokenize", "--", "a", "b")
    assert result.status == EXIT_USAGE and result.err.startswith("kl: b: expected a flag of kl tokenize")
