"""Files that are missing, of the wrong kind, broken, or cannot be written."""
import json
import os
import pathlib
import resource
import shutil
import subprocess

import pytest
from conftest import (EXIT_BAD_INPUT, EXIT_CANNOT_WRITE, EXIT_FAILURE, EXIT_MEMORY, EXIT_OK, KL, run_kl)


def refused(status, *args, **options):
    result = run_kl(*args, timeout=5, **options)
    assert result.status == status, result.err
    assert result.err.startswith("kl: ")
    return result.err


@pytest.fixture
def ids_file(tmp_path):
    path = tmp_path / "ids.txt"
    path.write_text("1 2 3\n")
    return path


def test_a_prompt_file_that_is_missing_or_a_folder_or_empty(tmp_path):
    assert "nowhere.txt" in refused(EXIT_BAD_INPUT, "run", "-f", tmp_path / "nowhere.txt")
    assert "got a directory" in refused(EXIT_BAD_INPUT, "run", "-f", tmp_path)
    (tmp_path / "empty").write_text("")
    assert "expected a prompt, got an empty file" in refused(EXIT_BAD_INPUT, "run", "-f", tmp_path / "empty")


@pytest.mark.parametrize("command", [["tokenize"], ["detokenize"], ["render", "--jsonl"]])
def test_an_input_file_that_is_missing_or_a_folder(tmp_path, command):
    refused(EXIT_BAD_INPUT, *command, "-f", tmp_path / "nowhere")
    refused(EXIT_BAD_INPUT, *command, "-f", tmp_path)


@pytest.mark.parametrize("command", ["run", "chat", "tokenize", "inspect"])
def test_a_model_folder_that_is_missing_or_a_file_or_empty(tmp_path, command):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for name in ("nowhere", "file", "empty"):
        assert name in refused(EXIT_BAD_INPUT, command, "-m", tmp_path / name)


def test_a_file_of_a_model_folder_is_answered_with_the_folder(demo, tmp_path):
    for name in ("model.safetensors", "config.json"):
        assert f"got a file; name the folder it lies in, {demo}" in refused(EXIT_BAD_INPUT, "run", "-m", demo / name)
    assert "lies in, .\n" in refused(EXIT_BAD_INPUT, "run", "-m", "config.json", cwd=demo)
    (tmp_path / "model.bin").write_text("x")
    assert "got a file; kl reads GGUF files and folders" in refused(EXIT_BAD_INPUT, "run", "-m", tmp_path / "model.bin")


def test_a_folder_of_gguf_files_is_answered_with_one_of_them(tmp_path):
    for name in ("b-00002-of-00002.gguf", "b-00001-of-00002.gguf"):
        (tmp_path / name).write_text("GGUF")
    assert "name one of them, b-00001-of-00002.gguf" in refused(EXIT_BAD_INPUT, "run", "-m", tmp_path)


def test_a_name_from_a_hub_is_not_downloaded(tmp_path):
    named = refused(EXIT_BAD_INPUT, "run", "-m", "moonshotai/Kimi-Linear-48B-A3B-Instruct", cwd=tmp_path)
    assert "kl does not download" in named
    assert "download" not in refused(EXIT_BAD_INPUT, "run", "-m", "nowhere", cwd=tmp_path)
    assert "download" not in refused(EXIT_BAD_INPUT, "run", "-m", "./nowhere", cwd=tmp_path)


def test_a_folder_of_another_model_is_refused_for_that_even_without_tokenizer(model_copy):
    (model_copy / "tiktoken.model").unlink()
    break_config(model_copy, model_type="llama")
    assert 'model_type: expected "kimi_linear", got "llama"' in refused(EXIT_BAD_INPUT, "run", "-m", model_copy)


def test_the_model_named_by_the_environment(kl, demo, tmp_path):
    assert "named by $KL_MODEL" in refused(EXIT_BAD_INPUT, "run", env={"KL_MODEL": str(tmp_path / "nowhere")})
    assert kl("tokenize", "x", env={"KL_MODEL": str(demo)}).status == EXIT_OK


def test_a_program_without_its_bundled_model_says_where_it_looked(tmp_path):
    alone = shutil.copy(KL, tmp_path / "kl")
    result = subprocess.run([alone, "run", "-p", "x"], capture_output=True, text=True)
    assert result.returncode == EXIT_BAD_INPUT
    assert "models/demo" in result.stderr and "-m DIR" in result.stderr


def test_an_installed_program_finds_its_bundled_model(tmp_path):
    build = pathlib.Path(KL).parents[1]
    subprocess.run(["cmake", "--install", build, "--prefix", tmp_path], check=True, capture_output=True)
    result = subprocess.run([tmp_path / "bin/kl", "run", "-p", "x", "-n", "2"], capture_output=True)
    assert result.returncode == EXIT_OK, result.stderr


def break_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("damage, named", [
    (lambda m: (m / "config.json").unlink(), "config.json"),
    (lambda m: (m / "config.json").write_text("{"), "config.json"),
    (lambda m: break_config(m, hidden_size=0), "hidden_size"),
    (lambda m: break_config(m, hidden_size=256), "model.embed_tokens.weight"),
    (lambda m: break_config(m, hidden_act="gelu"), "hidden_act"),
    (lambda m: (m / "model.safetensors").unlink(), "safetensors"),
    (lambda m: os.truncate(m / "model.safetensors", 1_000_000), "model.safetensors"),
    (lambda m: os.truncate(m / "model.safetensors", 5), "model.safetensors"),
    (lambda m: (m / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n"), "Git-LFS"),
    (lambda m: (m / "tiktoken.model").unlink(), "tiktoken.model"),
    (lambda m: (m / "tiktoken.model").write_text("not base64\n"), "tiktoken.model"),
])
def test_a_broken_model_is_refused_by_name(model_copy, damage, named):
    damage(model_copy)
    assert named in refused(EXIT_BAD_INPUT, "run", "-m", model_copy, "-p", "x")


def test_a_model_smaller_than_its_tokenizer_is_refused(model_copy, ok):
    lines = (model_copy / "tiktoken.model").read_text().splitlines()
    import base64
    lines += [f"{base64.b64encode(b'zz%d' % i).decode()} {len(lines) + i}" for i in range(100)]
    (model_copy / "tiktoken.model").write_text("\n".join(lines) + "\n")
    (model_copy / "tokenizer_config.json").unlink()
    refused(EXIT_BAD_INPUT, "run", "-m", model_copy, "-p", "x")


@pytest.mark.parametrize("text, named", [
    ("1 2 x\n", "ids.txt:1: expected token ids below 1024, got x"),
    ("1 2\n3 1024\n", "ids.txt:2: expected token ids below 1024, got 1024"),
    ("1 -2\n", "ids.txt:1: expected token ids below 1024, got -2"),
    ("1 2.5\n", "ids.txt:1: expected token ids below 1024, got 2.5"),
    ("1\n\n2\n", "ids.txt:2: expected token ids, got an empty line"),
    ("", "ids.txt: expected token ids, got none"),
    (" \n\n", "ids.txt: expected token ids, got none"),
])
def test_bad_ids_are_refused_before_anything_is_written(tmp_path, text, named):
    (tmp_path / "ids.txt").write_text(text)
    assert named in refused(EXIT_BAD_INPUT, "logits", "--tokens", tmp_path / "ids.txt", "-o", tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ids.txt"]


def test_an_output_that_cannot_be_written(tmp_path, ids_file):
    for out in (tmp_path / "no/folder/out", tmp_path, "/dev/full", "/proc/out"):
        refused(EXIT_CANNOT_WRITE, "logits", "--tokens", ids_file, "-o", out)


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["run", "-p", "x"], ["run", "-p", "x", "--json"],
                                  ["tokenize", "x"], ["detokenize", "70"], ["inspect"]])
def test_a_full_disk_is_no_success(args):
    with open("/dev/full", "w") as full:
        result = subprocess.run([KL, *args], stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == EXIT_CANNOT_WRITE
    assert "No space left on device" in result.stderr


def test_a_closed_standard_output_is_no_success():
    result = subprocess.run(["sh", "-c", 'exec "$0" --version >&-', KL], capture_output=True, text=True)
    assert result.returncode == EXIT_CANNOT_WRITE


def test_a_reader_that_goes_away_ends_the_program_quietly():
    command = f"'{KL}' run -p x -n 3000 --ignore-eos; echo status $? >&2"
    result = subprocess.run(["bash", "-c", f"({command}) | head -c 20"], capture_output=True, text=True, timeout=30)
    assert result.stderr == "status 0\n"


def test_too_little_memory_has_its_own_status(ids_file, tmp_path):
    if "dev" in KL or "tsan" in KL:
        pytest.skip("sanitizers need all of the address space")
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20))
    ids_file.write_text("1 " * 200_000)
    result = run_kl("logits", "--tokens", ids_file, "-o", tmp_path / "out", "--layers", "-t", "1", preexec_fn=limit)
    assert result.status == EXIT_MEMORY, result.err
    assert not (tmp_path / "out").exists()


def test_weights_that_give_no_numbers_are_noticed(model_copy):
    path = model_copy / "model.safetensors"
    data = bytearray(path.read_bytes())
    header_bytes = int.from_bytes(data[:8], "little")
    entry = json.loads(data[8:8 + header_bytes])["model.norm.weight"]
    begin, end = (8 + header_bytes + offset for offset in entry["data_offsets"])
    data[begin:end] = b"\xff\x7f" * ((end - begin) // 2)  # NaN in bf16
    path.write_bytes(data)
    result = run_kl("run", "-m", model_copy, "-p", "x")
    assert result.status == EXIT_FAILURE
    assert "logits: expected finite numbers, got nan" in result.err
