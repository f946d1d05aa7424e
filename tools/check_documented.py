#!/usr/bin/env python3
"""Fails if a class or a function has no word of documentation where every one must: the folders of DOCUMENTED.

    tools/check_documented.py [ROOT]        prints file:line: what is missing, one line each; exit status 1 if there is any

A word is a comment right above, or at the end of a line of the declaration.  A comment also speaks for the declarations
of one line that follow without an empty line, and a comment above a definition for the declaration in the header.
Nothing is asked of destructors, of what is copied, moved, defaulted or deleted, and of overrides.
"""
import pathlib
import re
import sys

DOCUMENTED = ["include", "src/layers", "src/model", "src/kernels"]
SUFFIXES = {".h", ".cc"}

TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\'|^[ \t]*#(?:[^\n\\]|\\.)*(?:\\\n[^\n]*)*',
                   re.S | re.M)
NO_FUNCTION = re.compile(r"(using|typedef|friend|static_assert|extern|template\s+(class|struct)|namespace|enum)\b")
SPECIFIER = re.compile(r"(public|private|protected)\s*:(?!:)")


class Declaration:
    """A class or a function: where its head is, and whether anybody says a word about it."""

    def __init__(self, name, kind, first, last, scope):
        self.name, self.kind, self.first, self.last, self.scope = name, kind, first, last, scope
        self.is_documented = False


def blank(text):
    """The text without comments, strings and directives, every other character in its place; and the lines with comments."""
    commented = set()

    def replace(match):
        if match[0].startswith(("//", "/*")):
            first = text.count("\n", 0, match.start())
            commented.update(range(first, first + match[0].count("\n") + 1))
        return re.sub(r"[^\n]", " ", match[0]) if not match[0].startswith('"') else '"' + " " * (len(match[0]) - 2) + '"'

    return TOKEN.sub(replace, text), commented


def without_templates(head):
    """A head without template<..> clauses, attributes and requirements."""
    head = re.sub(r"\[\[.*?\]\]|\balignas\s*\([^()]*\)", " ", head, flags=re.S).strip()
    while re.match(r"template\s*<", head):
        depth, end = 0, head.index("<")
        for end in range(end, len(head)):
            depth += {"<": 1, ">": -1}.get(head[end], 0)
            if depth == 0:
                break
        head = head[end + 1:].strip()
    return head


def class_name(head):
    """The name of the class or enum that a head of a body opens, or None."""
    match = re.match(r"(?:typedef\s+)?(?:class|struct|union|enum(?:\s+class)?)\s+([\w:]+(?:\s*<[^{]*?>)?)", head)
    return match and "(" not in head.split("{")[0].split(":")[0] and match[1]


def function_name(head):
    """The name of the function that a head declares, or None."""
    operator = re.search(r"((?:\w+::)*operator\s*(?:\(\)|[^\s(\w]+|[\w:<>*& ]+?))\s*\(", head)
    if operator:
        return re.sub(r"\s+", " ", operator[1])
    before = head.split("(")[0]
    if "(" not in head or "=" in before or NO_FUNCTION.match(head) or re.match(r"\(\s*[*&]", head[len(before):]):
        return None
    match = re.search(r"((?:[\w<>]+\s*::\s*)*~?\w+)\s*$", before)
    return match and match[1]


def needs_no_word(name, head):
    """Whether a function says all there is to say by what it is."""
    own = name.split("::")[-1]
    is_copy = re.search(r"\(\s*(?:const\s+)?" + re.escape(own) + r"\s*&{1,2}\s*\w*\s*\)", head)
    return bool("~" in name or is_copy or own in ("operator=", "main") or
                re.search(r"=\s*(default|delete)\s*$|\b(override|final)\b", head))


def skip_body(code, at):
    """The position behind the bracket that closes the one at `at`."""
    depth = 0
    for i in range(at, len(code)):
        depth += {"{": 1, "}": -1}.get(code[i], 0)
        if depth == 0:
            return i + 1
    return len(code)


def is_member_initializer(head):
    """Whether a { behind this head gives a member its value, as in `A() : x{1}, y_{2} {`."""
    return bool(re.search(r"\)\s*(noexcept\s*)?:[^:]", head) and re.search(r"[\w>]\s*$", head) and
                not re.search(r"\)\s*(const|noexcept|override)\s*$", head))


def declarations(code):
    """Classes and functions of blanked code, in order; bodies of functions are not looked into."""
    found, scopes, start, parens, i = [], [], None, 0, 0

    def line(position):
        return code.count("\n", 0, position)

    def add(name, kind, end):
        found.append(Declaration(name, kind, line(start), line(end), [s for s in scopes if s]))

    while i < len(code):
        c = code[i]
        if start is None and not c.isspace() and c not in "};":
            access = SPECIFIER.match(code, i)
            if access:
                i = access.end()
                continue
            start = i
        if c in "()":
            parens += 1 if c == "(" else -1
        elif c == ";" and parens == 0:
            if start is not None:
                head = without_templates(code[start:i])
                name = function_name(head)
                if name and not needs_no_word(name, head):
                    add(name, "function", i)
                elif class_name(head) and code.startswith("template", start):
                    add(class_name(head), "class", i)  # its specialisations are documented by it
            start = None
        elif c == "{" and parens == 0:
            head = without_templates(code[start:i])
            name = class_name(head)
            if re.match(r"(inline\s+)?namespace\b|extern\s*\"", head):
                scopes.append("(anonymous)" if re.match(r"namespace\s*$", head) else "")
                start = None
            elif name and "enum" in head.split()[:2]:
                add(name, "enum", i)
                i = skip_body(code, i)
                continue
            elif name:
                add(name, "class", i)
                scopes.append(name)
                start = None
            elif function_name(head) and not is_member_initializer(head):
                if not needs_no_word(function_name(head), head):
                    add(function_name(head), "function", i)
                i, start = skip_body(code, i), None
                continue
            else:  # the value of a variable or a member
                i = skip_body(code, i)
                continue
        elif c == "}" and parens == 0:
            if scopes:
                scopes.pop()
            start = None
        i += 1
    return found


def read(path):
    """The declarations of a file, each marked as documented or not."""
    code, commented = blank(path.read_text(encoding="utf-8"))
    lines = code.split("\n")
    found = declarations(code)
    for d in found:
        above, heads_run = d.first - 1, d.first == d.last
        while heads_run and re.search(r"[;}]\s*$", lines[above]) and not re.match(r"\s*}", lines[above]):
            above -= 1  # up a run of declarations of one line, to the comment that speaks for all of it
        by_comment = above in commented and not lines[above].strip()
        d.is_documented = by_comment or any(n in commented for n in range(d.first, d.last + 1))
    return found


def check_tree(root):
    """All problems of a source tree as lines file:line: problem."""
    files = {path.relative_to(root): read(path) for folder in DOCUMENTED if (root / folder).exists()
             for path in sorted((root / folder).rglob("*")) if path.suffix in SUFFIXES}

    def plain(name):
        return re.sub(r"\s*<.*?>", "", name)

    declared = {d.name for path, found in files.items() if path.suffix == ".h" for d in found}
    defined = {plain(d.name) for found in files.values() for d in found if "::" in d.name and d.is_documented}
    problems = []
    for path, found in files.items():
        for d in found:
            if d.is_documented or (d.kind == "function" and "::" in d.name):
                continue
            if path.suffix == ".cc" and "(anonymous)" not in d.scope and d.name in declared:
                continue
            scope = [s for s in d.scope if s != "(anonymous)"]
            templates = {t.name for t in found if t.is_documented}
            if plain("::".join(scope + [d.name])) in defined or (plain(d.name) != d.name and plain(d.name) in templates):
                continue  # above the definition, or the template that it specialises
            problems.append(f"{path}:{d.first + 1}: {d.kind} {'::'.join(scope + [d.name])} has no word of documentation")
    return problems


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent)
    problems = check_tree(root)
    print("\n".join(problems) if problems else "every class and function has a word")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
