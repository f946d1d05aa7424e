#!/usr/bin/env python3
"""Writes src/text/unicode_tables.cc: classes of characters, Unicode 16.0.0, and their other cases.

The classes of the Kimi pre-tokeniser must be those of the regex engine inside tiktoken 0.14, whatever Unicode version
the building machine knows.
The character database is therefore taken from one pinned PyPI package, regex 2024.11.6, which carries Unicode 16.0.0
whole (general categories, scripts, White_Space).  It is downloaded by pip into a temporary folder, never installed.
Cases are for chat templates, which are written for Python: str.lower, upper and title of Python 3.11 (Unicode 14.0.0),
which runs this script.

    tools/generate_unicode_tables.py                       write the file
    tools/generate_unicode_tables.py --check               exit 1 if the committed file differs
    tools/generate_unicode_tables.py --compare FILE.json   compare with classes measured on tiktoken itself, write nothing
                                                           (FILE: {"flags": [[first, last, bits], ...], "python_isspace": [[first, last], ...]})
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import unicodedata

PACKAGE = "regex==2024.11.6"  # Unicode 16.0.0; later releases move to 17.0
OUTPUT = pathlib.Path(__file__).resolve().parent.parent / "src/text/unicode_tables.cc"
LIMIT = 0x110000
CASE_VERSION = "14.0.0"

# One bit a class; the names and values are repeated in src/text/unicode.h.
# White_Space, \s of the pattern, and Python's str.isspace, used by the cut rule, differ in U+001C..U+001F only.
CLASSES = {
    1: r"\p{Script=Han}",
    2: r"\p{L}",
    4: r"\p{N}",
    8: r"\p{White_Space}",
    16: r"[[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]--\p{Script=Han}]",
    32: r"[[\p{Ll}\p{Lm}\p{Lo}\p{M}]--\p{Script=Han}]",
    64: r"[\p{White_Space}\x1c-\x1f]",
    128: r"[[^\p{C}\p{Z}]\x20]",
}
MEASURED = 127  # those that --compare compares

# Facts that hold in 16.0.0 and not in 15.0 or 17.0: the newest letter and digit, the newest unassigned ones.
PROBES = {0x105C0: 2 | 16 | 32 | 128, 0x10D40: 4 | 128, 0x10940: 0, 0x323B0: 0, 0xA7CE: 0}


def load_regex(folder):
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", folder, PACKAGE],
                   check=True)
    wheel = next(pathlib.Path(folder).glob("*.whl"))
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), folder], check=True)
    sys.path.insert(0, folder)
    import regex
    assert regex.__file__.startswith(folder), f"imported {regex.__file__}, not the pinned one"
    return regex


def compute_flags(regex):
    scalars = [c for c in range(LIMIT) if not 0xD800 <= c <= 0xDFFF]
    text = "".join(map(chr, scalars))
    flags = bytearray(LIMIT)
    for bit, pattern in CLASSES.items():
        for match in regex.finditer(f"(?V1){pattern}+", text):
            for c in scalars[match.start():match.end()]:
                flags[c] |= bit
    for c, expected in PROBES.items():
        assert flags[c] == expected, f"U+{c:04X}: expected flags {expected}, got {flags[c]}: not Unicode 16.0.0"
    return flags


def class_runs(flags):
    """Stretches of equal flags, length << 8 | flags."""
    starts = [c for c in range(LIMIT) if c == 0 or flags[c] != flags[c - 1]]
    return [(end - start) << 8 | flags[start] for start, end in zip(starts, starts[1:] + [LIMIT])]


def derived_title(c):
    """str.title of most characters."""
    return chr(c).upper()[0] + chr(c).upper()[1:].lower()


def case_table(name, convert, usual):
    """Characters for which convert() is not usual(): runs of those that become one character, texts of the others."""
    found, several = [], []
    for c in range(LIMIT):
        if 0xD800 <= c < 0xE000 or convert(chr(c)) == usual(c):
            continue
        to = convert(chr(c))
        if len(to) > 1:
            several.append((c, "".join(f"\\u{ord(x):04X}" if ord(x) > 127 else x for x in to)))
            continue
        distance = ord(to) - c
        if found and found[-1][3] == distance:
            run, step = found[-1], c - found[-1][1]
            if step == run[2] or (run[0] == run[1] and step in (1, 2)):
                run[1], run[2] = c, step
                continue
        found.append([c, c, 1, distance])
    runs = rows(f"{{{a}, {b}, {s}, {d}}}" for a, b, s, d in found)
    texts = rows(f'{{{c}, "{text}"}}' for c, text in several)
    return f"""
constexpr CaseRun k{name}Runs[] = {{
{runs}
}};
constexpr CaseText k{name}Texts[] = {{
{texts}
}};
constinit const CaseTable kTo{name} = {{k{name}Runs, k{name}Texts}};
"""


def rows(values):
    lines, line = [], "   "
    for value in values:
        item = f" {value},"
        if len(line) + len(item) > 120:
            lines.append(line)
            line = "   "
        line += item
    return "\n".join(lines + [line])


def render(flags):
    version = unicodedata.unidata_version
    assert version == CASE_VERSION, f"expected a Python of Unicode {CASE_VERSION}, got {version}"
    return f"""// Generated by tools/generate_unicode_tables.py: classes from {PACKAGE} (Unicode 16.0.0), cases from Python 3.11
// (Unicode {CASE_VERSION}).  Do not edit.
// Data derived from the Unicode Character Database, Copyright 1991-2024 Unicode, Inc., under the Unicode License V3.
#include "text/unicode_tables.h"

namespace kl {{

// clang-format off
constexpr std::uint32_t kClassRuns[] = {{
{rows(class_runs(flags))}
}};
constinit const UnicodeTable kUnicode = expand(kClassRuns);
{case_table("Lower", str.lower, chr)}{case_table("Upper", str.upper, chr)}{case_table("Title", str.title, derived_title)}// clang-format on

}}  // namespace kl
"""


def compare(flags, path):
    """Number of code points whose flags differ from those in the file."""
    other = json.loads(pathlib.Path(path).read_text())
    expected = bytearray(LIMIT)
    for first, last, bits in other["flags"]:
        expected[first:last + 1] = bytes([bits]) * (last - first + 1)
    for first, last in other["python_isspace"]:
        for c in range(first, last + 1):
            expected[c] |= 64
    return sum(a & MEASURED != b for a, b in zip(flags, expected))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--compare", metavar="FILE.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        flags = compute_flags(load_regex(folder))
    if arguments.compare:
        different = compare(flags, arguments.compare)
        print(f"{LIMIT:,} code points compared, {different} different")
        return different != 0
    text = render(flags)
    if arguments.check:
        same = OUTPUT.exists() and OUTPUT.read_text() == text
        print(f"{OUTPUT}: {'up to date' if same else 'differs from what the generator writes'}")
        return not same
    OUTPUT.write_text(text)
    print(f"{OUTPUT}: {len(text):,} characters")
    return 0


if __name__ == "__main__":
    sys.exit(main())
