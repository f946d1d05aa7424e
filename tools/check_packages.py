#!/usr/bin/env python3
"""Fails if ./demo.sh or ./test.sh needs something that no package of tools/lib/packages.sh brings.

    tools/check_packages.py [ROOT]        prints file:line: what is wrong, one line each; exit status 1 if there is any

Looked at are the headers that C++ files include, the modules that Python files import, and the programs that shell scripts,
CMake, Python and C++ files call by their names.  Each needs a row in one of the tables below; where the row's package is
installed, dpkg says whether the thing is really in it.  What this cannot see, tools/bare_root.sh does.
"""
import ast
import fnmatch
import functools
import pathlib
import re
import subprocess
import sys

# Files that neither ./demo.sh nor ./test.sh builds or runs; whoever does so installs what they need.
OPT_IN = {
    "bench/*.cc":                  "benchmarks, built with -DKL_BENCH=ON",
    "bench/CMakeLists.txt":        "benchmarks, built with -DKL_BENCH=ON",
    "tests/compat/*":              "other people's clients, from PyPI",
    "tests/golden/*.py":           "makers of the golden files, with other people's models",
    "tools/train/*":               "training, with PyTorch",
    "tools/bare_root.sh":          "before a release, as root",
    "tools/check_conversions.py":  "compares with other people's converters, from PyPI",
    "tools/compare_*.py":          "compare with other people's programs, from PyPI",
    "tools/dump_*.py":             "dumps of other people's models, from PyPI",
    "tools/generate_*.py":         "tables that are checked in",
    "tools/measure_quality.py":    "numbers of docs/",
}

HEADERS = {  # an exact name, or a folder
    "CLI/":       "libcli11-dev",
    "boost/":     "libboost1.81-dev",
    "fmt/":       "libfmt-dev",
    "gtest/":     "libgtest-dev",
    "histedit.h": "libedit-dev",
    "nlohmann/":  "nlohmann-json3-dev",
    "openssl/":   "libssl-dev",
    "xxhash.h":   "libxxhash-dev",
}
# The C and C++ libraries and the compiler's own, which come with g++.
COMPILER_HEADER = re.compile(r"[a-z_]+|sys/\w+\.h|(cpuid|fcntl|immintrin|poll|pthread|sched|signal|termios|time|unistd)\.h")

MODULES = {
    "jsonschema": "python3-jsonschema",
    "numpy":      "python3-numpy",
    "pytest":     "python3-pytest",
}

PROGRAMS = {
    "ccache":          "ccache",
    "clang":           "clang++",
    "clang-format":    "clang-format",
    "cmake":           "cmake ctest",
    "binutils":        "nm",
    "ninja-build":     "ninja",
    "openssl":         "openssl",
    "python3":         "python3",
    # Part of every Debian: packages that are essential.
    "bash":            "bash",
    "coreutils":       "basename cat cp cut dirname env head mkdir mktemp mv nproc rm seq sha256sum sort sleep tail tr wc",
    "dash":            "sh",
    "dpkg":            "dpkg-query",
    "findutils":       "find xargs",
    "grep":            "grep",
    "gzip":            "gzip",
    "libc-bin":        "ldd",
    "mawk":            "awk",
    "sed":             "sed",
}
EVERYWHERE = {"bash", "coreutils", "dash", "dpkg", "findutils", "grep", "gzip", "libc-bin", "mawk", "sed"}
PACKAGE_OF_PROGRAM = {program: package for package, programs in PROGRAMS.items() for program in programs.split()}

# Called where they are there; nothing fails without them.
OPTIONAL = {
    "chromium": "the tests of the chat page skip without it",
    "pip":      "bench/compare_llama.sh compiles llama.cpp with it, which its tests do not",
    "sudo":     "without it the command to type is printed",
}


# --- what files need --------------------------------------------------------------------------------------------------------

# In shell text, in this order: comments, strings, and what only looks like commands.
SHELL_NOISE = [
    (re.compile(r"<<-?'?(\w+)'?.*?\n.*?\n\1\n", re.S), "\n"),                                  # here-documents
    (re.compile(r"\\\n"), " "),
    (re.compile(r"""(?<!\S)\#[^\n]*|\$?'[^']*'|"(?:\\.|\$\((?:[^()"]|"[^"]*"|\([^()]*\))*\)|[^"\\])*\""""),
     lambda match: shell_string(match[0])),
    (re.compile(r"\$\{[^}]*\}"), "$x"),
    (re.compile(r"\$?\(\((?:[^()]|\([^()]*\))*\)\)"), "_"),                                    # arithmetic
    (re.compile(r"\w+\+?=\([^()]*\)"), "_=_"),                                                 # arrays
    (re.compile(r"^[^()\n]*\)(?=\s)", re.M), ";"),                                             # patterns of a case
]
SHELL_SEPARATOR = re.compile(r"[\n;|&({}!`]")
SHELL_RESERVED = set("if then else elif fi while until do done esac in function time".split())
SHELL_BUILTINS = set("""[[ [ alias bg break cd continue declare echo eval exec exit export false getopts hash kill let local printf
    pwd read readonly return set shift source test times trap true type ulimit umask unset wait""".split())
SHELL_PREFIXES = {"env", "exec", "nice", "sudo", "timeout", "xargs"}  # the word after them is a command as well
NAME = re.compile(r"[A-Za-z][\w+.-]*")


def shell_string(text):
    """What is left of a comment or string: the commands substituted into it, or a single word."""
    if text[0] != '"':
        return "_" if text[0] in "'$" else ""
    inner = " ".join(f"$({command})" for command in re.findall(r"\$\(([^()]+)", text))
    return inner.replace('"', "") or (text[1:-1] if re.fullmatch(r'"[\w$./-]+"', text) else "_")


def functions_of_shell(text):
    return set(re.findall(r"(?m)^ *(\w+)\(\)", text))


def needs_of_shell(text, functions=frozenset()):
    """Yields ("program" or "module", name) for what a shell script calls; `functions` are those it sources."""
    for pattern, replacement in SHELL_NOISE:
        text = pattern.sub(replacement, text)
    for command in SHELL_SEPARATOR.split(text.replace(")", "\n_ ")):  # what follows a ")" is no command
        words = [word for word in command.split() if not re.match(r"\w+\+?=|[0-9]*[<>]", word)]
        while words and words[0] in SHELL_RESERVED:
            words.pop(0)
        if not words or words[0] in ("for", "case", "command"):
            continue
        if "python" in words[0] and "-m" in words[:-1]:
            yield from modules_of([words[words.index("-m") + 1]])
        if not NAME.fullmatch(words[0]):
            continue
        for name in filter(NAME.fullmatch, words):
            if name not in SHELL_BUILTINS and name not in functions:
                yield "program", name
            if name not in SHELL_PREFIXES:
                break


def modules_of(names, local=frozenset()):
    """Yields ("module", name) for those that neither the standard library nor the repository has."""
    for name in names:
        name = name.split(".")[0]
        if name not in sys.stdlib_module_names and name not in local:
            yield "module", name


def needs_of_python(text, local):
    """Yields (kind, name) for the modules a Python file imports and the programs it starts; `local` are the repository's own."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from modules_of([alias.name for alias in node.names], local)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from modules_of([node.module], local)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            words = [w.value if isinstance(w, ast.Constant) else "_" for w in getattr(node.args[0], "elts", [node.args[0]])]
            if node.func.attr == "importorskip":
                yield from modules_of([words[0]], local)
            elif getattr(node.func.value, "id", "") in ("subprocess", "shutil") and words and NAME.fullmatch(str(words[0])):
                yield "program", words[0]
                if words[0] in ("sh", "bash") and "-c" in words:
                    yield from needs_of_shell(words[words.index("-c") + 1])


def needs_of_cpp(text):
    yield from (("header", name) for name in re.findall(r"(?m)^\s*#\s*include\s*<([^>]+)>", text))
    yield from (("program", name) for name in re.findall(r'\b(?:popen|system)\(\(?"([\w-]+)', text))


def needs_of_cmake(text):
    yield from (("program", name) for name in re.findall(r"find_program\(\w+ ([\w+-]+)", text))


def needs_of_tree(root):
    """Yields (path, kind, name) for the files of a repository, each once."""
    folders = ("include", "src", "examples", "tests", "fuzz", "bench", "tools", "cmake", ".ci")
    paths = [path.relative_to(root) for folder in folders for path in sorted((root / folder).rglob("*")) if path.is_file()]
    paths += [path.relative_to(root) for path in sorted(root.glob("*")) if path.is_file()]
    local = {path.stem for path in paths if path.suffix == ".py"} | {path.parent.name for path in paths if path.name == "__init__.py"}
    scripts = {path: (root / path).read_text(encoding="utf-8") for path in paths if path.suffix == ".sh" or str(path) == ".ci/run"}
    functions = set().union(*map(functions_of_shell, scripts.values()))
    for path in paths:
        if any(fnmatch.fnmatch(str(path), pattern) for pattern in OPT_IN):
            continue
        read = functools.partial((root / path).read_text, encoding="utf-8")
        if path.suffix in (".cc", ".h"):
            needs = needs_of_cpp(read())
        elif path.suffix == ".py":
            needs = needs_of_python(read(), local)
        elif path.suffix == ".cmake" or path.name == "CMakeLists.txt":
            needs = needs_of_cmake(read())
        elif path in scripts:
            needs = needs_of_shell(scripts[path], functions)
        else:
            continue
        yield from ((path, kind, name) for kind, name in sorted(set(needs)))


# --- what packages bring ----------------------------------------------------------------------------------------------------

def package_of(kind, name):
    """The package that brings a thing, "" if none has to, None if no table knows it."""
    if kind == "header":
        if COMPILER_HEADER.fullmatch(name):
            return "g++"
        return HEADERS.get(name) or HEADERS.get(name.split("/")[0] + "/")
    return "" if name in OPTIONAL else (MODULES if kind == "module" else PACKAGE_OF_PROGRAM).get(name)


@functools.cache
def files_of(package):
    """The files of an installed package and of those it depends on, or None where it is not installed."""
    def ask(*command):
        return subprocess.run(command, capture_output=True, text=True).stdout

    try:
        status, depends = ask("dpkg-query", "-W", "-f", "${db:Status-Status}|${Pre-Depends}, ${Depends}", package).partition("|")[::2]
    except FileNotFoundError:
        return None
    if status != "installed":
        return None
    return set(ask("dpkg-query", "-L", package, *re.findall(r"(?:^|, )([a-z0-9][a-z0-9+.-]*)", depends)).splitlines())


def is_in(package, kind, name):
    """False if the package is installed and dpkg knows no such thing in it."""
    files = None if package in EVERYWHERE | {"g++"} else files_of(package)
    if files is None:
        return True
    if kind == "header":
        return f"/usr/include/{name}" in files
    if kind == "module":
        return any(f"/usr/lib/python3/dist-packages/{name}{end}" in files for end in ("", ".py"))
    return any(f"{folder}/{name}" in files for folder in ("/bin", "/usr/bin", "/sbin", "/usr/sbin"))


def packages_of(root):
    """The two lists of tools/lib/packages.sh."""
    script = 'source "$0" && echo "${build_packages[@]}" && echo "${test_packages[@]}"'
    lines = subprocess.run(["bash", "-c", script, str(root / "tools/lib/packages.sh")], check=True, capture_output=True,
                           text=True).stdout.splitlines()
    return [set(line.split()) for line in lines]


def documented_packages(root):
    """The two lists of docs/dependencies.md: bullets or rows that begin with a package."""
    text = (root / "docs/dependencies.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"(?ms)^## ([^\n]+)\n(.*?)(?=^## |\Z)", text))
    return [set(re.findall(r"(?m)^(?:\||-) `([^`]+)`", sections.get(title, ""))) for title in ("To build the program", "To test")]


# --- the check --------------------------------------------------------------------------------------------------------------

def is_for_the_program(path):
    """Whether ./demo.sh needs it."""
    return path.parts[0] in ("include", "src", "demo.sh", "CMakeLists.txt") or path.parts[:2] == ("tools", "lib")


def line_of(file, name):
    lines = file.read_text(encoding="utf-8").splitlines()
    return next((number for number, line in enumerate(lines, 1) if re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", line)), 1)


def check_tree(root):
    """All problems of a repository as lines file:line: problem."""
    build, test = packages_of(root)
    problems = []
    for path, kind, name in needs_of_tree(root):
        package = package_of(kind, name)
        may = EVERYWHERE | build | (set() if is_for_the_program(path) else test)
        if package is None:
            why = f"expected a row in a table of tools/check_packages.py for the {kind} {name}, got none"
        elif package and package not in may:
            why = f"the {kind} {name}: expected {package} in a list of tools/lib/packages.sh for it, got none"
        elif package and not is_in(package, kind, name):
            why = f"the {kind} {name}: expected to find it in the package {package}, but dpkg lists no such file"
        else:
            continue
        problems.append(f"{path}:{line_of(root / path, name)}: {why}")
    for kind, listed, told in zip(("build", "test"), (build, test), documented_packages(root)):
        if listed != told:
            problems.append(f"docs/dependencies.md:1: expected the {kind}_packages of tools/lib/packages.sh, got other ones: "
                            f"{' '.join(sorted(listed ^ told))}")
    return problems


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
    problems = check_tree(root)
    print("\n".join(problems) if problems else "every header, module and program comes with a package")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
