"""For pytest: leaves out the tests that llama_cpp_deselected.txt names, and says how many of them for which reason.

A line of that file is "WHAT  # REASON".  WHAT is a file, a test with or without its parameters in brackets, or
"mark:NAME".  A line that names nothing is an error: the list says what is true of this version of the tests.
"""
from collections import Counter
from pathlib import Path

import pytest

LIST = Path(__file__).with_name("llama_cpp_deselected.txt")
reasons = Counter()


def read_list():
    lines = [line for line in LIST.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.rsplit("  # ", 1) for line in lines)


def names_of(item):
    """All that a line may say to mean this test."""
    marks = {f"mark:{mark.name}" for mark in item.iter_markers()}
    return {item.nodeid, item.nodeid.split("[")[0], item.nodeid.split("::")[0]} | marks


def pytest_collection_modifyitems(config, items):
    listed = read_list()
    used, kept, left_out = set(), [], []
    for item in items:
        names = names_of(item) & listed.keys()
        used |= names
        (left_out if names else kept).append(item)
        if names:
            reasons[listed[sorted(names)[0]]] += 1
    if stale := listed.keys() - used:
        raise pytest.UsageError(f"{LIST.name} names tests that do not exist: {sorted(stale)}")
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


def pytest_terminal_summary(terminalreporter):
    terminalreporter.section("deselected")
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count:4}  {reason}")
