"""The program computes, bit for bit, what it computed when tests/golden/outputs.json was written.

The file holds a SHA-256 of each output of `tools/record_outputs.py --quick`: logits, states, texts, served replies and converted
files, the same from every kernel table but `reference`.  docs/numerics.md promises that nothing but the model and the request
decides them, so a name that differs here means a broken promise: a sum in another order, a rounding at another place, a draw or
a byte of a file format that moved.  Where that is wanted, say so in CHANGELOG.md and write the file again:

    tools/record_outputs.py build/release/bin/kl tests/golden/outputs.json --quick

Left out of the comparison: the reference table, which calls the C library's functions, and words meant for a person.
"""
import json
import pathlib
import sys

import pytest
from conftest import KL, ROOT

sys.path.insert(0, str(ROOT / "tools"))
import record_outputs


def promised(hashes):
    return {name: value for name, value in hashes.items() if not name.startswith(("~", "reference/"))}


def test_outputs_are_those_recorded(capsys):
    program = pathlib.Path(KL).resolve()
    if not record_outputs.Recorder(program, is_whole=False).tables:
        pytest.skip("this CPU has neither AVX2 nor AVX-512: the reference table is within its budgets, not the same bits")
    recorded = json.loads((ROOT / "tests/golden/outputs.json").read_text())
    status = record_outputs.compare(promised(recorded), promised(record_outputs.record(program, is_whole=False)))
    assert status == 0, capsys.readouterr().out


def test_a_difference_is_told(capsys):
    assert record_outputs.compare({"a": "1", "b": "2", "~c": "3"}, {"a": "1", "b": "x", "~c": "4"}) == 1
    assert capsys.readouterr().out == "b: differs\n~c: differs (may be)\n3 outputs, 1 wrong\n"
    assert record_outputs.compare({"a": "1", "~c": "3"}, {"a": "1", "~c": "4"}) == 0
