#!/usr/bin/env python3
"""Fails if documentation points at something that is not there.

    tools/check_links.py [ROOT]

Checked in every tracked *.md file: relative links and pictures [..](path#heading), and every path of this repository written
as `src/...`, `tools/...` and so on.  Web addresses are left alone.
"""
import pathlib
import re
import sys

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
# `src/layers/mlp.cc`, `src/layers/{a,b}.h`, `src/kernels/` ; braces as in a shell, an optional *.
CODE_PATH = re.compile(r"`((?:src|include|tests|tools|docs|examples|fuzz|bench|cmake|models)/[\w./{},*-]*)`")
SKIP = {"build", ".git", ".venv", ".cache", ".pytest_cache"}


def braces(text):
    """Expands a/{b,c}.h as a shell does, one level."""
    match = re.search(r"\{([^}]*)\}", text)
    if not match:
        return [text]
    return [x for part in match[1].split(",") for x in braces(text[:match.start()] + part + text[match.end():])]


def anchor_of(heading):
    """The anchor code hosts give a heading."""
    text = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", lambda m: m[1] or "", heading.strip().lower())
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def without_code_blocks(text):
    """The text with fenced blocks emptied, line numbers kept."""
    out, inside = [], False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            inside = not inside
            line = ""
        out.append("" if inside else line)
    return out


def anchors_in(path):
    return {anchor_of(line.lstrip("#")) for line in without_code_blocks(path.read_text(encoding="utf-8"))
            if re.match(r"#{1,6} ", line)}


def check_file(root, path):
    """Yields 'file:line: problem'."""
    for number, line in enumerate(without_code_blocks(path.read_text(encoding="utf-8")), 1):
        where = f"{path.relative_to(root)}:{number}"
        for target in LINK.findall(line):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            file = (path.parent / name).resolve() if name else path
            if not file.exists():
                yield f"{where}: no such file: {target}"
            elif anchor and file.suffix == ".md" and anchor not in anchors_in(file):
                yield f"{where}: no such heading: {target}"
        for code in CODE_PATH.findall(line):
            for name in braces(code):
                if not list(root.glob(name.rstrip("/"))):
                    yield f"{where}: no such path: {name}"


def check_tree(root):
    files = sorted(p for p in root.rglob("*.md") if not SKIP & set(p.relative_to(root).parts))
    return [problem for path in files for problem in check_file(root, path)]


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
    problems = check_tree(root)
    print("\n".join(problems) if problems else "every link leads somewhere")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
