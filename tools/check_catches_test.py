#!/usr/bin/env python3
"""check_catches.py must fail where it should, and only there."""
import pathlib
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import check_catches  # noqa: E402

CATCH = "try {\n} catch (const Error& error) {\n}\n"


def problems_of(files):
    """What is reported of a tree made of {path: text} in which src/end.cc has a row."""
    with tempfile.TemporaryDirectory() as folder, \
            mock.patch.object(check_catches, "ENDS", {"src/end.cc": "why"}), \
            mock.patch.object(check_catches, "PASSES", {}):
        for path, text in files.items():
            (pathlib.Path(folder) / path).parent.mkdir(parents=True, exist_ok=True)
            (pathlib.Path(folder) / path).write_text(text)
        return check_catches.check_tree(pathlib.Path(folder))


class Catches(unittest.TestCase):
    def test_a_file_without_a_row_is_reported_with_its_line(self):
        for what in ("const Error& e", "const kl::Error&", "...", "const std::exception& e", "const std::runtime_error&"):
            text = f"try {{\n}} catch ({what}) {{\n}}\n"
            self.assertEqual(problems_of({"src/end.cc": CATCH, "src/a/b.cc": text}),
                             ["src/a/b.cc:2: catches errors without a row in tools/check_catches.py"])

    def test_stale_rows_are_reported(self):
        self.assertEqual(problems_of({"src/end.cc": "int x;\n"}),
                         ["src/end.cc:1: catches no error, but has a row in tools/check_catches.py"])
        self.assertEqual(problems_of({"src/other.cc": "int x;\n"}),
                         ["src/end.cc:1: has a row in tools/check_catches.py, but is not there"])

    def test_what_runs_out_of_memory_or_is_no_error_of_ours_may_be_caught(self):
        self.assertEqual(problems_of({"src/end.cc": CATCH, "src/a.cc": "} catch (const std::bad_alloc&) {\n"}), [])


if __name__ == "__main__":
    unittest.main()
