import json
import os
import random
import resource
import struct
import subprocess
import time

import pytest
from conftest import EXIT_BAD_INPUT, EXIT_CANNOT_WRITE, EXIT_OK, EXIT_USAGE, KL, run_kl

DRAWN = ["-n", "24", "--temp", "1", "--seed", "3"]
QUESTIONS = ["What is thy name, and what dost thou here?", "Who is there?", "Speak!", "What news from the king?"]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "talk.session"


def talk(ok, *lines, flags=DRAWN):
    return ok("chat", "-v", *flags, stdin="".join(line + "\n" for line in lines)).out


def test_a_conversation_goes_on_after_a_restart_as_if_there_had_been_none(ok, file):
    whole = talk(ok, *QUESTIONS)
    pieces = [talk(ok, question, flags=[*DRAWN, "--session", file]) for question in QUESTIONS]
    assert "".join(pieces) == whole
    assert len(set(pieces)) > 1


@pytest.mark.parametrize("flags", [["--cache-type", "int8"], ["--cache-type", "bf16", "--state-type", "bf16"],
                                   ["--mla", "absorbed"], ["-t", "1", "--chunk", "64"]])
def test_whatever_the_engine_flags(ok, file, flags):
    long = "What is thy name? " * 60  # more than 192 tokens: MLA's other form
    lines = ["Who is there?", long, "Speak!"]
    whole = talk(ok, *lines, flags=[*DRAWN, *flags])
    assert "".join(talk(ok, line, flags=[*DRAWN, *flags, "--session", file]) for line in lines) == whole


def test_threads_and_passes_may_change_between_restarts(ok, file):
    first = talk(ok, QUESTIONS[0], flags=[*DRAWN, "-t", "1", "--session", file])
    second = talk(ok, QUESTIONS[1], flags=[*DRAWN, "-t", "2", "--chunk", "8", "--session", file])
    assert first + second == talk(ok, *QUESTIONS[:2])


def test_the_seed_goes_on_unless_another_is_given(ok, file):
    whole = talk(ok, *QUESTIONS[:3])
    unseeded = ["-n", "24", "--temp", "1", "--session", file]
    first = talk(ok, QUESTIONS[0], flags=[*DRAWN, "--session", file])
    assert first + "".join(talk(ok, question, flags=unseeded) for question in QUESTIONS[1:3]) == whole
    saved = file.read_bytes()
    assert talk(ok, "Who is there?", flags=unseeded) == talk_again(ok, file, saved, unseeded)
    assert talk_again(ok, file, saved, unseeded) != talk_again(ok, file, saved, [*unseeded, "--seed", "99"])


def talk_again(ok, file, saved, flags):
    file.write_bytes(saved)
    return talk(ok, "Who is there?", flags=flags)


def test_the_last_answer_can_be_drawn_anew_after_a_restart(ok, file):
    whole = talk(ok, QUESTIONS[0], QUESTIONS[1], "/regen", "/regen", QUESTIONS[2])
    flags = [*DRAWN, "--session", file]
    pieces = [talk(ok, *lines, flags=flags) for lines in (QUESTIONS[:2], ["/regen"], ["/regen", QUESTIONS[2]])]
    assert "".join(pieces) == whole


def test_messages_come_back_too(ok, file, tmp_path):
    for line in (QUESTIONS[0], QUESTIONS[1]):
        talk(ok, line, flags=[*DRAWN, "--session", file])
    talk(ok, f"/save {tmp_path}/a", flags=[*DRAWN, "--session", file])
    talk(ok, QUESTIONS[0], QUESTIONS[1], f"/save {tmp_path}/b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_system_message_belongs_to_the_conversation(ok, file):
    system = ["--system", "You are a ghost."]
    whole = talk(ok, *QUESTIONS[:2], flags=[*DRAWN, *system])
    first = talk(ok, QUESTIONS[0], flags=[*DRAWN, *system, "--session", file])
    saved = file.read_bytes()
    for flags in (system, []):
        file.write_bytes(saved)
        assert first + talk(ok, QUESTIONS[1], flags=[*DRAWN, *flags, "--session", file]) == whole
    refused = run_kl("chat", "--session", file, "--system", "You are a king.", stdin="Hello\n")
    assert refused.status == EXIT_USAGE and "--system: expected none or that of the conversation" in refused.err


def test_reset_and_system_begin_anew_on_disk_as_well(ok, file):
    flags = [*DRAWN, "--session", file]
    talk(ok, QUESTIONS[0], "/reset", flags=flags)
    assert talk(ok, QUESTIONS[1], flags=flags) == talk(ok, QUESTIONS[0], "/reset", QUESTIONS[1])[len(talk(ok, QUESTIONS[0])):]
    talk(ok, "/system You are a ghost.", flags=flags)
    assert run_kl("chat", *flags, "--system", "You are a ghost.", stdin="").status == EXIT_OK


def test_an_interrupted_answer_is_kept_as_far_as_it_came(file):
    chat = subprocess.Popen([KL, "chat", "-n", "100000", "--ignore-eos", "--session", str(file)], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    chat.stdin.write(b"Hello\n")
    chat.stdin.flush()
    seen = chat.stdout.read1(100)
    chat.send_signal(2)
    chat.stdin.close()
    seen += chat.stdout.read()
    assert chat.wait(timeout=20) == EXIT_OK
    assert seen.decode().rstrip("\n") in note(file)["messages"][1]["content"]


def note(path):
    """What kl chat keeps in the file, read by the format's description."""
    header = path.read_bytes()[:128]
    magic, version, _, size, fingerprint, length = struct.unpack("<8sIIQQQ", header[:40])
    assert magic == b"kl-sess\n" and version == 1 and size == path.stat().st_size
    begin = 128 + (fingerprint + 63) // 64 * 64
    return json.loads(path.read_bytes()[begin:begin + length])


# --- files that are not what was saved --------------------------------------------------------------------------------

def refused(file, *flags, status=EXIT_BAD_INPUT):
    """What kl chat says of a file it must neither use nor touch."""
    before = file.read_bytes()
    result = run_kl("chat", *DRAWN, "--session", file, *flags, stdin="Hello\n")
    assert result.status == status, result.err
    assert result.out == "" and file.read_bytes() == before
    assert result.err.startswith(f"kl: {file}: ") and "expected " in result.err and ", got " in result.err
    return result.err


def test_a_damaged_file_is_refused_and_left_alone(ok, file):
    talk(ok, *QUESTIONS[:2], flags=[*DRAWN, "--session", file])
    good = file.read_bytes()
    rng = random.Random(1)
    for _ in range(12):
        at = rng.randrange(len(good))
        file.write_bytes(good[:at] + bytes([good[at] ^ 1 << rng.randrange(8)]) + good[at + 1:])
        refused(file)
    for length in (0, 5, 127, 128, 4000, len(good) - 1):
        file.write_bytes(good[:length])
        refused(file)
    file.write_bytes(b"To be, or not to be, that is the question\n" * 10)
    assert "a file of another kind" in refused(file)


def test_a_session_of_another_model_or_of_other_flags_is_refused(ok, file, tmp_path):
    ok("synth", "--like", "tiny", "-o", tmp_path / "tiny")
    talk(ok, QUESTIONS[0], flags=[*DRAWN, "--session", file])
    assert "expected a session of this model and these flags, model=" in refused(file, "-m", tmp_path / "tiny")
    assert "--cache-type=int8, got --cache-type=f32" in refused(file, "--cache-type", "int8")
    assert "--mla=absorbed, got --mla=auto" in refused(file, "--mla", "absorbed")


def test_the_same_shape_with_other_weights_is_another_model(ok, file, tmp_path):
    for seed in ("1", "2"):
        ok("synth", "--like", "tiny", "-o", tmp_path / seed, "--seed", seed)
    ok("quantize", "-m", tmp_path / "1", "-o", tmp_path / "q4")
    talk(ok, "Hello", flags=["-n", "4", "-m", tmp_path / "1", "--session", file])
    for other in ("2", "q4"):
        assert "model=" in refused(file, "-m", tmp_path / other, "--cache-type", "f32")


def test_a_folder_is_no_session(kl, tmp_path):
    result = kl("chat", "--session", tmp_path, stdin="Hello\n")
    assert result.status == EXIT_BAD_INPUT and f"kl: {tmp_path}: expected" in result.err


# --- writing ----------------------------------------------------------------------------------------------------------

def test_a_full_disk_ends_neither_the_conversation_nor_the_old_file(ok, file):
    talk(ok, QUESTIONS[0], flags=[*DRAWN, "--session", file])
    before = file.read_bytes()
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, len(before) // 2))
    result = run_kl("chat", *DRAWN, "--session", file, stdin="Who is there?\nSpeak!\n", preexec_fn=limit)
    assert result.status == EXIT_CANNOT_WRITE
    assert result.err.count(f"{file}: expected to write a file, got File too large") == 3, "after both answers, and at the end"
    assert result.out == talk(ok, *QUESTIONS[:1], "Who is there?", "Speak!")[len(talk(ok, QUESTIONS[0])):]
    assert file.read_bytes() == before
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_a_folder_that_is_not_there_is_told_at_the_end(kl, tmp_path):
    result = kl("chat", *DRAWN, "--session", tmp_path / "no" / "file", stdin="Hello\n")
    assert result.status == EXIT_CANNOT_WRITE and "no/file: expected to write a file" in result.err


def test_kill_9_while_saving_leaves_the_old_file_or_the_new_one(ok, file):
    """KL_KILLS=50 for more."""
    kills = int(os.environ.get("KL_KILLS", "10"))
    rng = random.Random(2)
    answers = 0
    for _ in range(kills):
        chat = subprocess.Popen([KL, "chat", "-n", "2", "--ignore-eos", "--session", str(file)], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        chat.stdin.write(b"Hello\n" * 2000)
        chat.stdin.flush()
        chat.stdout.read1(1)
        time.sleep(rng.uniform(0, 0.15))
        chat.kill()
        chat.communicate()
        if file.exists():
            messages = note(file)["messages"]
            assert len(messages) % 2 == 0 and len(messages) >= answers
            answers = len(messages)
    assert answers > 2 * kills, "otherwise little was killed while it saved"
    assert talk(ok, "Hello", flags=["-n", "2", "--session", file])
