#!/usr/bin/env python3
"""Fails if a line is wider than 120 columns.

    tools/check_line_width.py [ROOT]

Checked is what git tracks of the kinds below, but for files that others wrote or programs made.
"""
import pathlib
import subprocess
import sys

WIDTH = 120
KINDS = {".md"}
MADE_ELSEWHERE = ("fuzz/corpus/", "tests/golden/text/")


def too_wide(text):
    """Numbers and widths of the lines that do not fit."""
    return [(number, len(line)) for number, line in enumerate(text.split("\n"), 1) if len(line) > WIDTH]


def files_of(root):
    names = subprocess.check_output(["git", "-C", str(root), "ls-files", "-z"], text=True).split("\0")
    return [name for name in names if pathlib.Path(name).suffix in KINDS and not name.startswith(MADE_ELSEWHERE)]


def main(root):
    wrong = 0
    for name in files_of(root):
        if not (root / name).exists():
            continue
        for number, width in too_wide((root / name).read_text()):
            print(f"{name}:{number}: expected at most {WIDTH} columns, got {width}")
            wrong += 1
    if wrong == 0:
        print("every line fits")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()))
