import re

import pytest
from conftest import EXIT_OK, EXIT_USAGE

COMMANDS = ["run", "chat", "tokenize", "detokenize", "render", "logits", "inspect", "bench", "synth"]


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


def test_version_names_compiler_and_kernel_tables(ok):
    text = ok("--version").out
    assert re.match(r"kl \d+\.\d+\.\d+\ncompiled with (g\+\+|clang) \d+.*\nkernel tables: .*reference\n$", text)


def test_no_arguments_show_the_help_and_fail(kl):
    result = kl()
    assert result.status == EXIT_USAGE
    assert result.out == "" and "tokenize" in result.err


def test_help_works_without_any_model(kl):
    assert kl("run", "--help", env={"KL_MODEL": "/nowhere"}).status == EXIT_OK
