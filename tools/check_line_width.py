#!/usr/bin/env python3
"""Fails if a line is wider than 120 columns.

    tools/check_line_width.py [ROOT]

Checked are the kinds of files below, but for what programs made.  A line of C++ that holds a literal may be wider: there
clang-format, which breaks all code, has no place to break.
"""
import pathlib
import sys

WIDTH = 120
KINDS = {".md"}
MADE = ("fuzz/corpus/", "tests/golden/text/")
SKIP = {"build", ".git", ".venv", ".cache", ".pytest_cache"}


def too_wide(text, kind):
    """Numbers and widths of the lines that do not fit."""
    lines = text.split("\n")
    if kind != ".md" and any("generated" in line.lower() for line in lines[:3]):
        return []
    return [(number, len(line)) for number, line in enumerate(lines, 1)
            if len(line) > WIDTH and (kind == ".md" or '"' not in line)]


def files_of(root):
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if path.suffix in KINDS and path.is_file() and not SKIP & set(name.parts) and not str(name).startswith(MADE):
            yield name


def main(root):
    wrong = 0
    for name in files_of(root):
        for number, width in too_wide((root / name).read_text(), name.suffix):
            print(f"{name}:{number}: expected at most {WIDTH} columns, got {width}")
            wrong += 1
    if wrong == 0:
        print("every line fits")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()))
