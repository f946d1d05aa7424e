import json
import math
import os
import pty
import shutil
import signal
import subprocess
import time

import pytest
from conftest import EXIT_INTERRUPTED, EXIT_OK, KL

PROMPT = "ROMEO:\nBut, soft!"


def text_of(ok, *args, **options):
    return ok("run", "-p", PROMPT, "-n", "40", *args, **options).out


def json_of(ok, *args, **options):
    return json.loads(ok("run", "--json", *args, **options).out)


def test_only_text_goes_to_standard_output_and_nothing_to_standard_error(ok):
    assert len(text_of(ok)) > 20


def test_the_same_seed_gives_the_same_text(ok):
    assert text_of(ok, "--seed", "7") == text_of(ok, "--seed", "7")
    assert text_of(ok, "--seed", "7") != text_of(ok, "--seed", "8")
    assert text_of(ok) != text_of(ok), "without --seed every run differs"


@pytest.mark.parametrize("flags", [["-t", "1"], ["-t", "3"], ["--chunk", "1"], ["--chunk", "7"]])
def test_threads_and_chunks_do_not_change_the_text(ok, flags):
    assert text_of(ok, "--seed", "7", "--mla", "absorbed", *flags) == text_of(ok, "--seed", "7", "--mla", "absorbed")


@pytest.mark.parametrize("flags", [["--temp", "0"], ["--seed", "7", "--temp", "0.2"]])
def test_speculation_changes_counts_and_not_the_text(ok, flags):
    flags = ["-p", 4 * PROMPT, "-n", "60", *flags]
    plain, fast = json_of(ok, *flags), json_of(ok, *flags, "--speculate", "ngram")
    assert fast["ids"] == plain["ids"] and fast["text"] == plain["text"]
    assert plain["counts"]["drafted_tokens"] == plain["counts"]["accepted_tokens"] == 0
    assert fast["counts"]["drafted_tokens"] > 0, "the prompt repeats itself"
    assert 0 <= fast["counts"]["accepted_tokens"] <= fast["counts"]["drafted_tokens"]
    assert "drafted were right" in ok("run", *flags, "--speculate", "ngram", "-v").err


def test_the_seed_that_was_drawn_can_be_used_again(ok):
    first = json_of(ok, "-p", PROMPT, "-n", "20")
    assert json_of(ok, "-p", PROMPT, "-n", "20", "--seed", first["seed"])["ids"] == first["ids"]


def test_temperature_zero_needs_no_seed(ok):
    greedy = text_of(ok, "--temp", "0")
    for flags in (["--temp", "0"], ["--top-k", "1"], ["--temp", "1e-300"], ["--top-p", "1e-9"], ["--min-p", "1"]):
        assert text_of(ok, *flags) == greedy


def test_the_prompt_may_come_from_a_file_or_standard_input(ok, tmp_path):
    (tmp_path / "prompt.txt").write_text(PROMPT)
    flags = ["-n", "20", "--seed", "1"]
    expected = ok("run", "-p", PROMPT, *flags).out
    assert ok("run", "-f", tmp_path / "prompt.txt", *flags).out == expected
    assert ok("run", "-", *flags, stdin=PROMPT).out == expected
    assert ok("run", "-f", "-", *flags, stdin=PROMPT).out == expected


def test_no_prompt_at_all_starts_from_the_beginning_of_text_token(ok):
    assert json_of(ok, "-n", "5")["counts"]["prompt_tokens"] == 1
    assert json_of(ok, "-p", "", "-n", "5")["counts"]["prompt_tokens"] == 1


def test_a_prompt_may_begin_with_a_dash(ok):
    assert ok("run", "-p", "--temp", "-n", "3").out


def test_bytes_that_are_no_utf8_are_read_as_replacement_characters(ok, tmp_path):
    (tmp_path / "broken").write_bytes(b"caf\xe9 \xff")
    (tmp_path / "sound").write_text("caf\ufffd \ufffd")
    flags = ["-n", "10", "--seed", "1"]
    assert ok("run", "-f", tmp_path / "broken", *flags).out == ok("run", "-f", tmp_path / "sound", *flags).out


def test_json_holds_all_a_script_needs(ok, demo):
    result = json_of(ok, "-p", PROMPT, "-n", "12", "--seed", "3", "-t", "1")
    assert result["text"] == ok("run", "-p", PROMPT, "-n", "12", "--seed", "3").out
    assert len(result["ids"]) == result["counts"]["completion_tokens"] == 12
    assert result["finish_reason"] == "length" and result["stop_string"] is None
    assert result["seed"] == 3 and result["threads"] == 1
    assert result["model"] == str(demo)
    assert all(result["timings"][k] >= 0 for k in ("load_s", "prompt_s", "decode_s", "prompt_tokens_per_s",
                                                   "decode_tokens_per_s"))
    assert "logprobs" not in result


def test_logprobs_are_of_the_chosen_and_the_likeliest(ok):
    result = json_of(ok, "-p", PROMPT, "-n", "6", "--temp", "0", "--logprobs", "3")
    assert [p["id"] for p in result["logprobs"]] == result["ids"]
    for position in result["logprobs"]:
        assert position["top"][0]["id"] == position["id"], "greedy takes the likeliest"
        assert position["top"][0]["logprob"] == position["logprob"]
        values = [t["logprob"] for t in position["top"]]
        assert values == sorted(values, reverse=True) and len(values) == 3
        assert sum(math.exp(v) for v in values) <= 1.0001
    alone = json_of(ok, "-p", PROMPT, "-n", "2", "--logprobs", "0")["logprobs"]
    assert all(p["top"] == [] and p["logprob"] < 0 for p in alone)


def test_a_stop_string_ends_the_text_before_it(ok):
    whole = text_of(ok, "--temp", "0")
    stop = whole[15:19]
    result = json_of(ok, "-p", PROMPT, "-n", "40", "--temp", "0", "--stop", "never there", "--stop", stop)
    assert result["text"] == whole[:whole.index(stop)]
    assert result["finish_reason"] == "stop" and result["stop_string"] == stop


def test_a_stop_token_ends_the_text_unless_ignored(ok, demo):
    end = json.loads((demo / "generation_config.json").read_text())["eos_token_id"]
    force = ["-p", PROMPT, "-n", "5", "--logit-bias", f"{end}=1000"]
    result = json_of(ok, *force)
    assert result["ids"] == [end] and result["text"] == "" and result["finish_reason"] == "stop"
    result = json_of(ok, *force, "--ignore-eos")
    assert result["ids"] == [end] * 5 and result["finish_reason"] == "length"


def test_forbidden_tokens_are_not_drawn(ok):
    first = json_of(ok, "-p", PROMPT, "-n", "1", "--temp", "0")["ids"][0]
    assert json_of(ok, "-p", PROMPT, "-n", "1", "--temp", "0", "--logit-bias", f"{first}=-inf")["ids"] != [first]


def test_chat_wraps_the_prompt_as_render_does(ok):
    conversation = {"messages": [{"role": "system", "content": "Speak."}, {"role": "user", "content": "Who's there?"}],
                    "add_generation_prompt": True}
    rendered = json.loads(ok("render", "--jsonl", stdin=json.dumps(conversation)).out)
    flags = ["-n", "12", "--seed", "1", "--json"]
    by_chat = json.loads(ok("run", "--chat", "--system", "Speak.", "-p", "Who's there?", *flags).out)
    by_hand = json.loads(ok("run", "--special", "-p", rendered, *flags).out)
    assert by_chat["ids"] == by_hand["ids"]
    assert by_chat["counts"] == by_hand["counts"]
    as_text = json.loads(ok("run", "-p", rendered, *flags).out)
    assert as_text["counts"]["prompt_tokens"] > by_hand["counts"]["prompt_tokens"], "control text is ordinary by default"


@pytest.fixture
def made_for_chat(demo, tmp_path):
    """Two folders that carry a chat template, one in each place where Hugging Face keeps it."""
    folders = [shutil.copytree(demo, tmp_path / name) for name in ("inside", "beside")]
    config = folders[0] / "tokenizer_config.json"
    template = ("{% for m in messages %}<|im_user|>{{ m.role }}<|im_middle|>{{ m.content }}<|im_end|>{% endfor %}"
                "<|im_assistant|>assistant<|im_middle|>")
    config.write_text(json.dumps(json.loads(config.read_text()) | {"chat_template": template}))
    (folders[1] / "chat_template.jinja").write_text(template)
    return folders


def test_a_folder_with_a_chat_template_is_chatted_with_unless_told_otherwise(ok, made_for_chat, demo):
    def ids_and_format(model, *flags):
        result = json.loads(ok("run", "-m", model, "-n", "6", "--temp", "0", "--json", *flags).out)
        return result["counts"]["prompt_tokens"], result["ids"], result["format"]

    prompt = ["-p", "Who is there?"]
    raw, chat = (ids_and_format(demo, *prompt, flag) for flag in ("--raw", "--chat"))
    assert raw[2] == "raw" and chat[2] == "chat" and raw[0] < chat[0]
    assert ids_and_format(demo, *prompt) == raw
    for model in made_for_chat:
        assert ids_and_format(model, *prompt) == chat
        assert ids_and_format(model, *prompt, "--raw") == raw
        assert ids_and_format(model, *prompt, "--special") == raw
        assert ids_and_format(model) == ids_and_format(demo), "without a prompt there is nothing to answer"


def test_a_system_message_means_chat(ok):
    flags = ["-p", "Who is there?", "--system", "You are a ghost.", "-n", "6", "--temp", "0"]
    assert ok("run", *flags).out == ok("run", "--chat", *flags).out


def test_zero_tokens_only_read_the_prompt(ok):
    result = json_of(ok, "-p", PROMPT, "-n", "0")
    assert result["ids"] == [] and result["text"] == "" and result["finish_reason"] == "length"


def test_verbose_adds_one_line_about_the_cost(ok):
    result = ok("run", "-p", PROMPT, "-n", "5", "--seed", "9", "-v")
    assert "prompt" in result.err and "text 5 tokens" in result.err and "seed 9" in result.err


def interrupt(*args):
    """Starts kl, waits for its first output, presses Ctrl-C; returns (status, standard output)."""
    process = subprocess.Popen([KL, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    first = os.read(process.stdout.fileno(), 1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert err == b""
    return process.returncode, (first + out).decode()


def test_ctrl_c_stops_cleanly_with_what_was_written(ok):
    endless = ["run", "-p", PROMPT, "-n", "1000000", "--ignore-eos", "--seed", "5"]
    status, text = interrupt(*endless)
    assert status == EXIT_INTERRUPTED
    undisturbed = ok("run", "-p", PROMPT, "-n", "200", "--ignore-eos", "--seed", "5").out
    common = min(len(text), len(undisturbed))
    assert common > 0 and text[:common] == undisturbed[:common]


def test_ctrl_c_during_json_still_gives_the_object():
    process = subprocess.Popen([KL, "run", "-p", PROMPT, "-n", "1000000", "--ignore-eos", "--json"],
                               stdout=subprocess.PIPE)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=10)
    assert process.returncode == EXIT_INTERRUPTED
    assert json.loads(out)["finish_reason"] == "interrupted"


def at_terminal(*args, press_ctrl_c_after=None):
    """(status, all that a person at a terminal sees)"""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(KL, [KL, *args])
    seen = b""
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:  # the other side has gone
            break
        if not data:
            break
        seen += data
        if press_ctrl_c_after and press_ctrl_c_after in seen:
            os.write(terminal, b"\x03")
            press_ctrl_c_after = None
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), seen.decode()


def test_a_terminal_gets_a_final_line_break_and_the_summary():
    status, seen = at_terminal("run", "-p", PROMPT, "-n", "4", "--seed", "1")
    assert status == EXIT_OK
    assert "\r\n" in seen and "[prompt" in seen and "seed 1" in seen


def test_a_long_prompt_shows_a_progress_bar_at_a_terminal_and_can_be_interrupted(tmp_path):
    (tmp_path / "long.txt").write_text("To be, or not to be: that is the question.\n" * 50000)
    status, seen = at_terminal("run", "-f", str(tmp_path / "long.txt"), "-t", "1", press_ctrl_c_after=b" left")
    assert status == EXIT_INTERRUPTED
    assert "reading prompt [" in seen and " %" in seen
