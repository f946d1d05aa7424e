import os
import pathlib
import re
import subprocess

import pytest
from conftest import EXIT_OK, EXIT_USAGE, KL, ROOT

COMMANDS = ["run", "chat", "serve", "tokenize", "detokenize", "render", "logits", "inspect", "bench", "perplexity", "synth", "quantize", "convert",
            "verify"]


def test_help_lists_every_command_with_one_line(ok):
    text = ok("--help").out
    for command in COMMANDS:
        assert re.search(rf"^  {command} +\S.*$", text, re.M), command


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_ends_with_an_example(ok, command):
    text = ok(command, "--help").out
    example = text[text.rindex("Example:"):]
    assert f"kl {command}" in example
    assert "-m,--model" in text or command == "synth"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_terminal_and_describes_every_flag(ok, command):
    for line in ok(command, "--help").out.splitlines():
        assert len(line) <= 120, line
        if re.match(r"  -", line):
            assert re.search(r"\S {2,}\S", line.strip()) or len(line.strip()) > 28, f"no description: {line}"


def runnable_examples(help_text):
    """The lines under "Example:" but for those that name no real folder, wait for a person, or write gigabytes."""
    lines = help_text[help_text.rindex("Example:"):].splitlines()[1:]
    return [line.strip() for line in lines if not re.search(r"-m DIR|-m /models|^ *kl chat|slice4", line)]


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in ("chat", "serve")])
def test_the_examples_work(ok, command, tmp_path):
    (tmp_path / "models").symlink_to(ROOT / "models")
    (tmp_path / "play.txt").write_text("To be, or not to be\n" * 300)
    examples = runnable_examples(ok(command, "--help").out)
    assert examples
    script = "\n".join(examples).replace("/tmp/", f"{tmp_path}/")
    env = os.environ | {"PATH": f"{pathlib.Path(KL).parent}:{os.environ['PATH']}"}
    result = subprocess.run(["bash", "-e", "-o", "pipefail", "-c", script], cwd=tmp_path, env=env, capture_output=True)
    assert result.returncode == EXIT_OK, result.stderr
    assert result.stdout or command == "logits"


def test_the_manual_names_the_flags_the_program_has_and_no_others(ok):
    manual = (ROOT / "docs/cli.md").read_text().replace("cmake --install build/release --prefix DIR", "")
    texts = [ok("--help").out] + [ok(command, "--help").out for command in COMMANDS]
    names = [name for text in texts for name in re.findall(r"^  ((?:-\w,)?--[a-z0-9-]+(?:,--[a-z0-9-]+)*)", text, re.M)]
    in_program = {flag for name in names for flag in name.split(",") if flag.startswith("--")}
    # The manual gives -h, -m, -p, -f, -n, -o and -v by their short names in most places.
    short = {flag for text in texts for flag in re.findall(r"^  -\w,(--[a-z0-9-]+)", text, re.M)}
    in_manual = set(re.findall(r"--[a-z][a-z0-9-]+", manual))
    assert in_manual <= in_program
    assert in_program - short <= in_manual
    for letter in {flag for text in texts for flag in re.findall(r"^  (-\w),--", text, re.M)} - {"-h"}:
        assert re.search(rf"[`\[| ]{letter}\b", manual), letter


def test_version_names_compiler_and_kernel_tables(ok):
    text = ok("--version").out
    assert re.match(r"kl \d+\.\d+\.\d+\ncompiled with (g\+\+|clang) \d+.*\nkernel tables: .*reference\n$", text)


def test_no_arguments_show_the_help_and_fail(kl):
    result = kl()
    assert result.status == EXIT_USAGE
    assert result.out == "" and "tokenize" in result.err


def test_help_is_also_a_word(ok):
    assert ok("help").out == ok("--help").out
    assert ok("help", "logits").out == ok("logits", "--help").out
    assert ok("version").out == ok("--version").out


def test_help_works_without_any_model(kl):
    assert kl("run", "--help", env={"KL_MODEL": "/nowhere"}).status == EXIT_OK
