#!/usr/bin/env python3
"""Fails if an include points the wrong way.  The table below is the architecture (docs/architecture.md).

    tools/check_includes.py [ROOT]        prints file:line: what is wrong, one line each; exit status 1 if there is any
"""
import pathlib
import re
import sys

# Who may include what.  A folder may always include itself and the C++ standard library.
#   "base/"            any header of that folder of src/
#   "kl/"              any public header;  "kl/error.h" only that one
#   "<nlohmann/...>"   a library outside the standard one, in .cc files only
MAY_INCLUDE = {
    "include/kl":      ["kl/"],
    "src/base":        ["kl/error.h", "<system>", "<fmt/...>", "<nlohmann/...>", "<openssl/...>"],
    "src/kernels":     ["base/", "kl/error.h", "kl/arithmetic.h"],
    "src/gguf":        ["base/", "kl/error.h", "kl/gguf.h", "<fmt/...>"],
    "src/checkpoint":  ["base/", "gguf/", "kl/error.h", "kl/gguf.h", "kl/safetensors.h", "<system>", "<fmt/...>", "<nlohmann/...>"],
    "src/text":        ["base/", "gguf/", "kl/error.h", "kl/gguf.h", "kl/tokenizer.h", "<fmt/...>", "<nlohmann/...>"],
    "src/jinja":       ["base/", "text/", "kl/error.h", "<fmt/...>"],
    "src/chat":        ["base/", "gguf/", "jinja/", "kl/", "<fmt/...>", "<nlohmann/...>"],
    "src/grammar":     ["base/", "kl/error.h", "kl/grammar.h", "kl/structured.h", "kl/tokenizer.h", "<fmt/...>"],
    "src/encodings":   ["base/", "gguf/", "kernels/", "kl/error.h", "kl/gguf.h", "kl/safetensors.h", "<fmt/...>"],
    "src/packing":     ["base/", "kernels/", "encodings/", "kl/error.h", "<fmt/...>"],
    "src/config":      ["base/", "gguf/", "kernels/", "encodings/", "packing/", "kl/error.h", "kl/gguf.h", "kl/model_args.h", "<fmt/...>",
                        "<nlohmann/...>"],
    "src/weights":     ["base/", "gguf/", "kernels/", "checkpoint/", "encodings/", "packing/", "config/", "kl/error.h", "kl/gguf.h",
                        "kl/model_args.h", "kl/safetensors.h", "<fmt/...>"],
    "src/folder":      ["base/", "packing/", "kl/error.h", "kl/model_args.h", "kl/verify.h", "<system>", "<fmt/...>", "<nlohmann/...>"],
    "src/inspect":     ["base/", "gguf/", "kernels/", "checkpoint/", "encodings/", "packing/", "config/", "weights/", "kl/error.h",
                        "kl/gguf.h", "kl/inspect.h", "kl/model_args.h", "kl/safetensors.h", "<fmt/...>"],
    "src/synth":       ["base/", "kernels/", "packing/", "config/", "weights/", "folder/", "kl/error.h", "kl/model_args.h", "kl/quantize.h",
                        "kl/safetensors.h", "kl/synth.h", "<fmt/...>", "<nlohmann/...>"],
    "src/convert":     ["base/", "gguf/", "kernels/", "checkpoint/", "text/", "encodings/", "packing/", "config/", "weights/", "folder/",
                        "kl/error.h", "kl/convert.h", "kl/gguf.h",
                        "kl/model_args.h", "kl/quantize.h", "kl/safetensors.h", "kl/tokenizer.h", "kl/version.h", "<system>",
                        "<fmt/...>", "<nlohmann/...>"],
    "src/layers":      ["base/", "kernels/", "weights/", "kl/model.h", "kl/model_args.h", "kl/profile.h"],
    "src/model":       ["base/", "kernels/", "checkpoint/", "config/", "weights/", "layers/", "kl/", "<fmt/...>", "<nlohmann/...>"],
    "src/session":     ["base/", "layers/", "model/", "kl/", "<fmt/...>"],
    "src/generation":  ["base/", "kernels/", "text/", "model/", "kl/", "<fmt/...>"],
    "src/engine":      ["base/", "model/", "generation/", "kl/"],
    "src/server/api":  ["base/", "kl/", "server/api_error.h", "server/exchange.h", "server/metrics.h", "server/route.h", "<fmt/...>", "<nlohmann/...>"],
    "src/evaluation":  ["base/", "kl/", "<fmt/...>"],
    "src/calibration": ["base/", "kernels/", "checkpoint/", "encodings/", "packing/", "config/", "weights/", "convert/", "layers/", "model/", "evaluation/", "kl/", "<fmt/...>"],
    "src/benchmark":   ["base/", "kernels/", "model/", "kl/", "<system>"],
    "src/verify":      ["base/", "gguf/", "kernels/", "checkpoint/", "encodings/", "packing/", "config/", "weights/", "folder/", "kl/", "<fmt/...>"],
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
    return any(name == entry or (entry.endswith("/") and name.startswith(entry)) or
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

    folder = folder_of(path, MAY_INCLUDE)
    if not folder:
        return None
    may = MAY_INCLUDE[folder]
    if system:
        if POSIX.match(name):
            return None if "<system>" in may else f"{folder}/ must not include {name}: the operating system is behind base/"
        if "/" not in name:
            return None  # the standard library
        if not allowed(name, may):
            return f"{folder}/ must not include {name}"
        return None if is_cc or name in LIGHT else f"{name} compiles slowly: include it in .cc files only"
    if "/" not in name:
        return f'"{name}" must be written with its folder'
    own = folder.removeprefix("src/") + "/" if folder.startswith("src/") else "kl/"
    if allowed(name, may + [own]):
        return None
    return f"{folder}/ must not include {name}"


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
            if folder_of(relative, MAY_INCLUDE) is None and len(relative.parts) > 2:
                problems.append(f"{relative}:1: its folder is not in the table of tools/check_includes.py")
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
