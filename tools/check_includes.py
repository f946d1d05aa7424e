#!/usr/bin/env python3
"""Fails if an include points the wrong way.  The tables below are the architecture (docs/architecture.md).

    tools/check_includes.py [ROOT]        prints file:line: what is wrong, one line each; exit status 1 if there is any
"""
import pathlib
import re
import sys

# Which folder of src/ implements a public header, and so which layer the header belongs to.
PUBLIC_HEADERS = {
    "arithmetic": "kernels", "benchmark": "benchmark", "chat_template": "chat", "convert": "convert", "engine": "engine",
    "error": "base", "generate": "generation", "gguf": "gguf", "grammar": "grammar", "inspect": "inspect",
    "memory": "model", "mixed_precision": "calibration", "model": "model", "model_args": "config", "options": "base",
    "perplexity": "evaluation", "profile": "layers", "quantize": "convert", "read_token": "text",
    "safetensors": "checkpoint", "sampler": "generation", "session": "session", "structured": "grammar",
    "synth": "synth", "token_counts": "base", "tokenizer": "text", "tool_calls": "chat", "verify": "verify",
    "version": "base",
}

# Who may include what.  A folder may always include itself, the public headers it implements and the C++ standard library.
#   "base/"            any header of that folder of src/, and the public headers it implements
#   "kl/"              any public header
#   "<nlohmann/...>"   a library outside the standard one, in .cc files only
MAY_INCLUDE = {
    "src/base":        ["<system>", "<fmt/...>", "<nlohmann/...>", "<openssl/...>"],
    "src/kernels":     ["base/"],
    "src/gguf":        ["base/", "<fmt/...>"],
    "src/checkpoint":  ["base/", "gguf/", "<system>", "<fmt/...>", "<nlohmann/...>"],
    "src/text":        ["base/", "gguf/", "<fmt/...>", "<nlohmann/...>"],
    "src/jinja":       ["base/", "text/", "<fmt/...>"],
    "src/chat":        ["base/", "gguf/", "text/", "jinja/", "<fmt/...>", "<nlohmann/...>"],
    "src/grammar":     ["base/", "text/", "<fmt/...>"],
    "src/encodings":   ["base/", "gguf/", "kernels/", "checkpoint/", "<fmt/...>"],
    "src/packing":     ["base/", "kernels/", "encodings/", "<fmt/...>"],
    "src/config":      ["base/", "gguf/", "kernels/", "encodings/", "packing/", "<fmt/...>", "<nlohmann/...>"],
    "src/weights":     ["base/", "gguf/", "kernels/", "checkpoint/", "encodings/", "packing/", "config/", "<fmt/...>"],
    "src/folder":      ["base/", "packing/", "config/", "<system>", "<fmt/...>", "<nlohmann/...>"],
    "src/inspect":     ["base/", "gguf/", "kernels/", "checkpoint/", "encodings/", "packing/", "config/", "weights/", "<fmt/...>"],
    "src/synth":       ["base/", "kernels/", "checkpoint/", "packing/", "config/", "weights/", "folder/", "<fmt/...>", "<nlohmann/...>"],
    "src/convert":     ["base/", "gguf/", "kernels/", "checkpoint/", "text/", "encodings/", "packing/", "config/", "weights/", "folder/",
                        "<system>", "<fmt/...>", "<nlohmann/...>"],
    "src/layers":      ["base/", "kernels/", "config/", "weights/"],
    "src/model":       ["base/", "kernels/", "checkpoint/", "text/", "config/", "weights/", "layers/", "<fmt/...>", "<nlohmann/...>"],
    "src/session":     ["base/", "text/", "layers/", "model/", "<fmt/...>"],
    "src/generation":  ["base/", "kernels/", "text/", "grammar/", "model/", "<fmt/...>"],
    "src/engine":      ["base/", "text/", "config/", "model/", "session/", "generation/"],
    "src/evaluation":  ["base/", "text/", "model/", "<fmt/...>"],
    "src/calibration": ["base/", "kernels/", "checkpoint/", "text/", "encodings/", "packing/", "config/", "weights/", "convert/", "layers/",
                        "model/", "evaluation/", "<fmt/...>"],
    "src/benchmark":   ["base/", "kernels/", "layers/", "model/", "<system>"],
    "src/verify":      ["base/", "gguf/", "kernels/", "checkpoint/", "text/", "encodings/", "packing/", "config/", "weights/", "folder/", "inspect/",
                        "model/", "<fmt/...>"],
    "src/server/api":  ["base/", "kl/", "server/api_error.h", "server/exchange.h", "server/metrics.h", "server/route.h", "<fmt/...>", "<nlohmann/...>"],
    "src/server":      ["base/", "kl/", "<system>", "<fmt/...>", "<nlohmann/...>", "<openssl/...>", "<boost/...>"],
    "src/cli":         ["server/server.h", "base/", "kl/", "<system>", "<fmt/...>", "<nlohmann/...>", "<CLI/...>", "<editline/...>"],
    "examples":        ["kl/"],
}

# Compiled with wider instructions than the rest of the program, or shared by such folders.  Any inline function they
# instantiate could be the copy the linker keeps for everybody, so the list is exhaustive (docs/kernels.md).
ISA_HEADERS = ["kernels/kernels.h", "kernels/peaks.h", "base/dtype.h", "kernels/generic/", "<cpuid.h>", "<immintrin.h>",
               "<cstddef>", "<cstdint>"]
MAY_INCLUDE_ONLY = {
    "src/kernels/avx2":    ISA_HEADERS,
    "src/kernels/avx512":  ISA_HEADERS,
    "src/kernels/generic": ISA_HEADERS,
}

SUFFIXES = {".h", ".cc"}
INCLUDE = re.compile(r'\s*#\s*include\s+(?:"([^"]+)"|(<[^>]+>))')
LIGHT = {"<nlohmann/json_fwd.hpp>"}  # headers of libraries that headers may include: they only declare
POSIX = re.compile(r"<(sys/.*|fcntl|unistd|sched|signal|termios|poll|pthread)\.h>|<sys/.*>")


def folder_of(path, table):
    """The longest entry of `table` that `path` lies in, or None."""
    inside = [folder for folder in table if str(path).startswith(folder + "/")]
    return max(inside, key=len, default=None)


def allowed(name, may):
    """Whether an entry of `may` covers the header `name`; "layers/" covers the public headers of that folder too."""
    public = re.fullmatch(r"kl/(\w+)\.h", name)
    home = PUBLIC_HEADERS.get(public[1], "") + "/" if public else None
    return any(entry in (name, home) or (entry.endswith("/") and name.startswith(entry)) or
               (entry.endswith("...>") and name.startswith(entry[:-4])) for entry in may)


def problem_with(path, name, is_cc):
    """Why the file at `path` (relative to the root) must not include `name`, or None.  `name` keeps <> but not quotes."""
    system = name.startswith("<")
    isa = folder_of(path, MAY_INCLUDE_ONLY)
    if isa:
        own = isa.removeprefix("src/") + "/"
        if allowed(name, MAY_INCLUDE_ONLY[isa] + [own]):
            return None
        return f"{isa}/ may include only {', '.join(MAY_INCLUDE_ONLY[isa])} and itself, not {name}"

    is_public = path.parts[:2] == ("include", "kl")
    folder = "src/" + PUBLIC_HEADERS[path.stem] if is_public else folder_of(path, MAY_INCLUDE)
    if not folder:
        return None
    here = str(path) if is_public else folder + "/"
    may = MAY_INCLUDE[folder] + [folder.removeprefix("src/") + "/"]
    if system:
        if POSIX.match(name):
            return None if "<system>" in may and not is_public else f"{here} must not include {name}: the operating system is behind base/"
        if "/" not in name:
            return None  # the standard library
        if is_public or not allowed(name, may):
            return f"{here} must not include {name}"
        return None if is_cc or name in LIGHT else f"{name} compiles slowly: include it in .cc files only"
    if "/" not in name:
        return f'"{name}" must be written with its folder'
    if allowed(name, may) and (name.startswith("kl/") or not is_public):
        return None
    return f"{here} must not include {name}"


def check_file(root, path):
    """Yields (line number, problem) for one file."""
    includes = []
    for number, line in enumerate((root / path).read_text(encoding="utf-8").splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            includes.append((number, match[1] or match[2]))
    for number, name in includes:
        why = problem_with(path, name, path.suffix == ".cc")
        if why:
            yield number, why

    # A .cc file includes its own header first, which proves the header complete.
    own = str(path.with_suffix(".h")).removeprefix("src/")
    if path.suffix == ".cc" and (root / path.with_suffix(".h")).exists() and includes and includes[0][1] != own:
        yield includes[0][0], f"the first include must be the file's own header {own}"


def check_tree(root):
    """All problems of a source tree as lines file:line: problem."""
    problems = []
    for top in ("include", "src", "examples"):
        for path in sorted(p for p in (root / top).rglob("*") if p.suffix in SUFFIXES):
            relative = path.relative_to(root)
            if top == "include":
                is_known = relative.stem in PUBLIC_HEADERS
            else:
                is_known = folder_of(relative, MAY_INCLUDE) is not None or len(relative.parts) <= 2
            if not is_known:
                problems.append(f"{relative}:1: its layer is not in the tables of tools/check_includes.py")
                continue
            problems += [f"{relative}:{line}: {why}" for line, why in check_file(root, relative)]
    return problems


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent)
    problems = check_tree(root)
    print("\n".join(problems) if problems else "every include points the right way")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
