#!/usr/bin/env python3
"""Compares kl's chat templates with Jinja itself: random templates and conversations, rendered by both, equal byte for byte.

    python3 -m venv /tmp/jinja && /tmp/jinja/bin/pip install jinja2==3.1.6
    /tmp/jinja/bin/python tools/compare_jinja.py [--program build/release/bin/kl] [--count 2000] [--seed 1]

Jinja is set up as transformers sets it up for chat templates, with lists and dicts that can be changed.  Where Jinja raises
an exception, kl must answer with an error; where kl refuses what Jinja renders, that counts as a difference, unless the
message says that it is beyond kl's subset.  Exit status 1 on any difference.
"""
import argparse
import datetime
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile

import jinja2
import jinja2.ext
import jinja2.sandbox

ROOT = pathlib.Path(__file__).resolve().parent.parent
BEYOND = re.compile(r"64 bits|is not in kl's subset|that kl has|expected ASCII")


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = jinja2.sandbox.SandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    return env


# --- what is generated -------------------------------------------------------------------------------------------------

STRINGS = ["", "a", "Hello, World", "  two  words\n", "ÀÉß straße ΣΑΣ", "日本語 テスト", "<|im_end|>", "it's \"quoted\"", "x-y z_w", "1", "-2.5",
           "0x1f", " 42 ", "1_000", "tab\there", "a,b,,c", "line\r\nline\u2028end", "\u200b\u00a0\u3000", "👩🏿‍🚀", "ǆ ŉ ﬁ İı", "{% raw %}", "\\n"]
NUMBERS = ["0", "1", "2", "-3", "7", "10", "255", "100", "1.5", "-0.0", "2.0", "1e16", "1e-7", "0.1", "123456.789", "1e22", "3.0e2"]
VARIABLES = {
    "s": "Hello <|im_end|> World", "u": "日本 ßÀ é", "e": "", "n": 5, "z": 0, "neg": -7, "f": 2.5, "g": 1e16, "t": True, "no": False, "nil": None,
    "l": [3, 1, 2], "w": ["b", "A", "c", "a", "B"], "m": [1, "x", None, 2.0, [1], {"k": 1}], "el": [],
    "d": {"b": 1, "a": "x", "C": [1, 2], "é": None}, "ed": {}, "dd": {"p": {"q": {"r": "deep"}}, "items": 3, "x": "y"},
    "r": [{"n": "x", "v": 2, "ok": True}, {"n": "Y", "v": 1}, {"n": "z", "v": 3, "ok": False}], "big": 123456789012345678901234567890,
}
BY_KIND = {"str": ["s", "u", "e"], "int": ["n", "z", "neg"], "num": ["n", "z", "neg", "f", "g"], "list": ["l", "w", "m", "el", "r"],
           "dict": ["d", "ed", "dd"], "bool": ["t", "no"], "any": [*VARIABLES, "nothing"]}


class Expressions:
    """Expressions of a wanted kind, most of them without type errors."""

    def __init__(self, rng):
        self.rng = rng

    def literal(self, text):
        quote = self.rng.choice("'\"")
        body = text.replace("\\", "\\\\").replace(quote, "\\" + quote).replace("\n", "\\n").replace("\r", "\\r")
        return quote + body + quote

    def make(self, kind, depth=3):
        r = self.rng
        if r.random() < 0.04:
            kind = r.choice(list(BY_KIND))
        if depth <= 0 or r.random() < 0.15:
            if r.random() < 0.6:
                return r.choice(BY_KIND[kind])
            return {"str": lambda: self.literal(r.choice(STRINGS)), "int": lambda: str(r.randrange(0, 12)), "num": lambda: r.choice(NUMBERS),
                    "list": lambda: r.choice(["[]", "[1, 2, 3]", "['a', 'B']", "(1, 'x')"]), "dict": lambda: r.choice(["{}", "{'a': 1, 'b': [2]}"]),
                    "bool": lambda: r.choice(["true", "false"]), "any": lambda: r.choice(["none", "1", "'x'", "nothing"])}[kind]()
        return getattr(self, "of_" + kind)(depth - 1)

    def of_any(self, depth):
        r, e = self.rng, self.make
        return r.choice([
            lambda: e(r.choice(["str", "num", "list", "dict", "bool"]), depth),
            lambda: f"({e('any', depth)} if {e('bool', depth)} else {e('any', depth)})",
            lambda: f"({e('any', depth)} {r.choice(['or', 'and'])} {e('any', depth)})",
            lambda: f"{e('list', depth)}[{r.randrange(-3, 4)}]",
            lambda: f"{e('dict', depth)}.{r.choice(['a', 'b', 'p.q', 'zz'])}",
            lambda: f"{e('dict', depth)}[{e('str', depth)}]",
            lambda: f"{e('dict', depth)}.get({e('str', depth)}{r.choice(['', ', 1'])})",
            lambda: f"{e('list', depth)}|{r.choice(['first', 'last'])}",
            lambda: f"({e('any', depth)}|default({e('any', depth)}{r.choice(['', ', true'])}))",
        ])()

    def of_str(self, depth):
        r, e = self.rng, self.make
        return r.choice([
            lambda: f"({e('str', depth)} + {e('str', depth)})",
            lambda: f"({e('any', depth)} ~ {e('any', depth)})",
            lambda: f"({e('str', depth)} * {r.randrange(0, 4)})",
            lambda: f"{e('str', depth)}[{self.index()}:{self.index()}{r.choice(['', '', ':-1', ':2'])}]",
            lambda: f"({e('any', depth)}|{r.choice(['string', 'upper', 'lower', 'title', 'capitalize', 'trim'])})",
            lambda: f"({e('str', depth)}|trim({e('str', depth)}))",
            lambda: f"({e('any', depth)}|replace({e('str', 0)}, {e('str', 0)}{r.choice(['', ', 1'])}))",
            lambda: f"({e('list', depth)}|join{r.choice(['', '(s)', '(' + self.literal(', ') + ')'])})",
            lambda: f"({e('str', depth)}|indent({r.choice(['', '2', '2, true', '3, true, true'])}))",
            lambda: f"({e('any', depth)}|tojson{self.json_arguments()})",
            lambda: f"({e('str', depth)}|string|reverse)",
            lambda: f"{e('str', depth)}.{r.choice(['strip', 'lstrip', 'rstrip', 'upper', 'lower', 'title', 'capitalize'])}()",
            lambda: f"{e('str', depth)}.{r.choice(['strip', 'lstrip', 'rstrip'])}({e('str', 0)})",
            lambda: f"{e('str', depth)}.replace({e('str', 0)}, {e('str', 0)})",
            lambda: f"{self.literal(r.choice(STRINGS))}.join({e('str', depth)}.split())",
        ])()

    def index(self):
        return self.rng.choice(["", "", "0", "1", "2", "-1", "-2", "5", "100", "-100"])

    def json_arguments(self):
        return self.rng.choice(["", "", "(ensure_ascii=true)", "(separators=(',', ':'))", "(indent=2)", "(indent='\\t')", "(true, 1)",
                                "(indent=0)", "(separators=('; ', ' = '), indent=1)"])

    def of_int(self, depth):
        r, e = self.rng, self.make
        return r.choice([
            lambda: f"({e('int', depth)} {r.choice(['+', '-', '*', '//', '%'])} {e('int', depth)})",
            lambda: f"({e(r.choice(['str', 'list', 'dict', 'any']), depth)}|length)",
            lambda: f"({e('any', depth)}|int{r.choice(['', '(7)', '(base=16)', '(1, 0)'])})",
            lambda: f"{e('str', depth)}.{r.choice(['find', 'count'])}({e('str', depth)})",
            lambda: f"-{e('int', depth)}",
            lambda: f"({e('list', depth)}.count({e('any', depth)}))",
        ])()

    def of_num(self, depth):
        r, e = self.rng, self.make
        return r.choice([
            lambda: e("int", depth),
            lambda: f"({e('num', depth)} {r.choice(['+', '-', '*', '/', '//', '%'])} {e('num', depth)})",
            lambda: f"({e('int', depth)} ** {r.randrange(0, 4)})",
            lambda: f"({e('num', depth)}|int)",
            lambda: f"-{e('num', depth)}",
        ])()

    def of_bool(self, depth):
        r, e = self.rng, self.make
        compare = r.choice(["==", "!=", "<", "<=", ">", ">="])
        kind = r.choice(["str", "num", "int"])
        tests = ["defined", "undefined", "none", "string", "mapping", "sequence", "iterable", "number", "integer", "float", "boolean", "true",
                 "false", "callable"]
        return r.choice([
            lambda: f"({e(kind, depth)} {compare} {e(kind, depth)})",
            lambda: f"({e('num', depth)} < {e('num', depth)} {compare} {e('num', depth)})",
            lambda: f"({e('any', depth)} {r.choice(['==', '!='])} {e('any', depth)})",
            lambda: f"({e('any', depth)} {r.choice(['in', 'not in'])} {e('list', depth)})",
            lambda: f"({e('str', depth)} {r.choice(['in', 'not in'])} {e(r.choice(['str', 'dict']), depth)})",
            lambda: f"({e('any', depth)} is {r.choice(['', 'not '])}{r.choice(tests)})",
            lambda: f"({e('int', depth)} is {r.choice(['odd', 'even', 'divisibleby 3', 'divisibleby(2)', 'eq 3', 'gt(1)', 'in [1, 2]'])})",
            lambda: f"(not {e('any', depth)})",
            lambda: f"({e('bool', depth)} {r.choice(['and', 'or'])} {e('bool', depth)})",
            lambda: f"{e('str', depth)}.{r.choice(['startswith', 'endswith'])}({e('str', depth)})",
        ])()

    def of_list(self, depth):
        r, e = self.rng, self.make
        return r.choice([
            lambda: f"[{e('any', depth)}, {e('any', depth)}]",
            lambda: f"({e('list', depth)} + {r.choice(['[]', '[1]', 'w'])})",
            lambda: f"{e('list', depth)}[{self.index()}:{self.index()}{r.choice(['', '', ':-1', ':2'])}]",
            lambda: f"{e('str', depth)}.split({r.choice(['', self.literal(','), self.literal(' ')])}{''})",
            lambda: f"{e('str', depth)}.{r.choice(['split', 'rsplit'])}({r.choice(['none', self.literal('l')])}, {r.randrange(0, 3)})",
            lambda: f"{e('str', depth)}.splitlines()",
            lambda: f"({e(r.choice(['str', 'list', 'dict']), depth)}|list)",
            lambda: f"({e('list', depth)}|{r.choice(['sort', 'sort(reverse=true)', 'sort(case_sensitive=true)', 'reverse|list'])})",
            lambda: f"(r|{r.choice(['map(attribute=`n`)', 'selectattr(`ok`)', 'rejectattr(`ok`)', 'selectattr(`v`, `gt`, 1)', 'sort(attribute=`v`)'])}|list)".replace("`", "'"),
            lambda: f"({e('list', depth)}|map({r.choice(['`string`', '`upper`', '`default`, `q`', '`tojson`'])})|list)".replace("`", "'"),
            lambda: f"({e('list', depth)}|{r.choice(['select', 'reject'])}{r.choice(['', '(`string`)', '(`number`)', '(`eq`, 1)'])}|list)".replace("`", "'"),
            lambda: f"({e('dict', depth)}|{r.choice(['dictsort', 'items|list', 'dictsort(true)', 'dictsort(reverse=true)'])})",
            lambda: f"({e('dict', depth)}.{r.choice(['items', 'keys', 'values'])}()|list)",
            lambda: f"(range({r.randrange(-2, 6)}{r.choice(['', ', 7', ', 9, 2', ', -5, -1'])})|list)",
        ])()

    def of_dict(self, depth):
        r, e = self.rng, self.make
        return r.choice([
            lambda: f"{{{self.literal(r.choice('abc'))}: {e('any', depth)}, {e('str', depth)}: {e('any', depth)}}}",
            lambda: f"dict(a={e('any', depth)}, b=2)",
            lambda: "dd.p",
            lambda: "r[0]",
        ])()


class Templates:
    """Statements around expressions, with whitespace and its control everywhere."""

    def __init__(self, rng):
        self.rng, self.expressions, self.macros = rng, Expressions(rng), 0

    def tag(self, inside):
        left, right = self.rng.choice(["", "", "-", "+"]), self.rng.choice(["", "", "-", "+"])
        return "{%" + left + " " + inside + " " + right + "%}"

    def output(self, kind="any"):
        left, right = self.rng.choice(["", "", "-"]), self.rng.choice(["", "", "-"])
        return "{{" + left + " " + self.expressions.make(kind) + " " + right + "}}"

    def text(self):
        return "".join(self.rng.choice(["", " ", "\n", "\n  ", "\t", "x", "<|im_end|>", "é", "\r\n", "  \n", "} ", "{ ", "# "])
                       for _ in range(self.rng.randrange(0, 4)))

    def body(self, depth):
        return "".join(self.text() + self.statement(depth) for _ in range(self.rng.randrange(1, 4))) + self.text()

    def statement(self, depth):
        r, e = self.rng, self.expressions.make
        if depth <= 0:
            return self.output()
        return r.choice([self.output, lambda: self.output(r.choice(list(BY_KIND))), lambda: self.for_loop(depth - 1),
                         lambda: self.if_block(depth - 1), lambda: self.macro(depth - 1), lambda: self.tag(f"set v = {e('any')}"),
                         lambda: self.tag("set v") + self.body(depth - 1) + self.tag("endset"), lambda: self.namespace(depth - 1),
                         lambda: "{#" + r.choice(["", "-"]) + " c " + r.choice(["", "-"]) + "#}",
                         lambda: self.tag("raw") .replace("+%}", "%}") + self.text() + "{{ x }}" + self.tag("endraw"),
                         lambda: self.tag(f"with v = {e('any')}") + "{{ v }}" + self.body(depth - 1) + self.tag("endwith"),
                         lambda: self.tag(f"filter {r.choice(['upper', 'trim', 'replace(`a`, `b`)|lower'])}".replace("`", "'")) + self.body(depth - 1) + self.tag("endfilter"),
                         lambda: self.tag("set v, q = " + e("list")) + "{{ v }}{{ q }}" if r.random() < 0.3 else "{{ v }}"])()

    def for_loop(self, depth):
        r, e = self.rng, self.expressions.make
        head = r.choice(["for v in " + e("list"), "for v in " + e("str"), "for v in " + e("dict"), "for k, v in " + e("dict") + ".items()",
                         "for v in " + e("list") + " if " + e("bool"), "for v in l if v > 1", "for v in " + e("any")])
        inside = r.choice(["{{ loop.index }}", "{{ loop.first }}{{ loop.last }}", "{{ loop.revindex0 }}", "{{ v }}", "{{ loop.length }}", "",
                           "{{ loop.previtem }}{{ loop.nextitem }}", "{{ loop.cycle('a', 'b') }}", "{% set v = 9 %}", "{{ loop.changed(v) }}"])
        leave = r.choice(["", "", self.tag("if loop.index > 2") + self.tag(r.choice(["break", "continue"])) + self.tag("endif")])
        otherwise = self.tag("else") + self.body(0) if r.random() < 0.3 else ""
        return self.tag(head) + self.text() + inside + leave + self.body(depth) + otherwise + self.tag("endfor")

    def if_block(self, depth):
        e = self.expressions.make
        parts = [self.tag("if " + e("bool")), self.body(depth)]
        if self.rng.random() < 0.4:
            parts += [self.tag("elif " + e("any")), self.body(depth)]
        if self.rng.random() < 0.5:
            parts += [self.tag("else"), self.body(depth)]
        return "".join(parts) + self.tag("endif")

    def macro(self, depth):
        self.macros += 1
        name, e = f"m{self.macros}", self.expressions.make
        call = self.rng.choice([f"{name}({e('any')})", f"{name}(1, b={e('any')})", f"{name}(b=2)", f"{name}()", f"{name}(c=1)", f"{name}(1, 2, 3)"])
        return (self.tag(f"macro {name}(a, b={e('any')})") + "{{ a }}{{ b }}" + self.body(depth) + self.tag("endmacro") + "{{ " + call + " }}" +
                (self.tag(f"call {name}(1)") + "x" + self.tag("endcall") if self.rng.random() < 0.1 else ""))

    def namespace(self, depth):
        e = self.expressions.make
        return (self.tag(f"set ns = namespace(i=0, x={e('any')})") + self.tag("for q in [1, 2]") + self.tag("set ns.i = ns.i + q") +
                self.tag(f"set ns.x = {e('any')}") + self.body(depth) + self.tag("endfor") + "{{ ns.i }}{{ ns.x }}")


def conversation(rng):
    words = ["Hello", "<|im_end|>", " ", "\n", "日本", "it's", "{{ x }}", "", "👩🏿‍🚀", "\u2028", "\\", '"']
    text = lambda: "".join(rng.choice(words) for _ in range(rng.randrange(0, 8)))
    value = lambda: rng.choice([1, -0.0, 1e16, 1e-7, 10**30, True, None, text(), [1, {"a": text()}], {"z": 1, "a": {"c": 2, "b": text()}}])
    content = lambda: rng.choice([text(), text(), text(), None, [{"type": "text", "text": text()}, {"type": "text", "text": text()}], []])
    messages = []
    for _ in range(rng.randrange(0, 7)):
        role = rng.choice(["system", "user", "assistant", "tool", "developer"])
        message = {"role": role, "content": content()}
        if rng.random() < 0.2:
            message["name"] = text()
        if role == "tool":
            message["tool_call_id"] = rng.choice(["functions.a:0", text()])
        if role == "assistant" and rng.random() < 0.5:
            message["tool_calls"] = [{"id": f"functions.f{i}:{i}", "type": "function", "function": {
                "name": f"f{i}", "arguments": rng.choice([json.dumps({"a": value()}), {"k": value(), text(): value()}])}} for i in range(rng.randrange(0, 3))]
            if rng.random() < 0.2:
                for call in message["tool_calls"]:
                    del call["id"]
        messages.append(message)
    tools = [{"type": "function", "function": {"name": "f", "description": text(), "parameters": value()}}] if rng.random() < 0.3 else None
    return {"messages": messages, "tools": tools, "add_generation_prompt": rng.random() < 0.5}


# --- comparison --------------------------------------------------------------------------------------------------------

def in_order(value):
    if isinstance(value, dict):
        return {k: in_order(v) for k, v in sorted(value.items())}
    return [in_order(v) for v in value] if isinstance(value, list) else value


def by_jinja(env, template, line):
    variables = json.loads(json.dumps(line.get("chat_template_kwargs", {})))
    try:
        return env.from_string(template).render(**variables, documents=None, messages=line["messages"], tools=in_order(line["tools"]),
                                                add_generation_prompt=line["add_generation_prompt"]), None
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


def by_kl(program, path, lines):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    result = subprocess.run([program, "render", "-m", ROOT / "models/demo", "--chat-template", path, "--jsonl"], input=text.encode(),
                            capture_output=True, timeout=60)
    if result.returncode != 0:
        return [{"error": result.stderr.decode()}] * len(lines)
    return [json.loads(line) for line in result.stdout.decode().splitlines()]


def builtin_template():
    return re.search(r'R"template\((.*)\)template"', (ROOT / "src/chat/builtin_template.cc").read_text(), re.DOTALL)[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=ROOT / "build/release/bin/kl")
    parser.add_argument("--count", type=int, default=2000, help="random templates, and as many conversations")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--template", action="append", default=[], type=pathlib.Path, help="more templates for the conversations")
    arguments = parser.parse_args()
    rng, env, different, errors, beyond, checked = random.Random(arguments.seed), environment(), 0, 0, 0, 0
    jobs = [(builtin_template(), [conversation(rng) for _ in range(arguments.count)])]
    jobs += [(path.read_text(), jobs[0][1]) for path in arguments.template]
    nothing = {"messages": [], "tools": None, "add_generation_prompt": True, "chat_template_kwargs": VARIABLES}
    jobs += [(Templates(rng).body(rng.randrange(0, 3)), [nothing]) for _ in range(arguments.count)]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "t.jinja"
        for template, lines in jobs:
            path.write_bytes(template.encode())
            for line, got in zip(lines, by_kl(arguments.program, path, lines), strict=True):
                expected, error = by_jinja(env, template, line)
                checked += 1
                message = got["error"] if isinstance(got, dict) else None
                errors += error is not None
                if (error is None and got == expected) or (error is not None and message is not None):
                    continue
                if error is None and message is not None and BEYOND.search(message):
                    beyond += 1
                    continue
                different += 1
                if different <= 20:
                    print(f"--- {template!r}\n    jinja {expected!r} {error}\n    kl    {got!r}")
    print(f"{checked} rendered by both: {different} different, {errors} errors in both, {beyond} beyond kl's subset")
    return different > 0


if __name__ == "__main__":
    sys.exit(main())
