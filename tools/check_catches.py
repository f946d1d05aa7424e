#!/usr/bin/env python3
"""Fails if a file catches errors without a reason in the tables below (docs/architecture.md, "Errors").

    tools/check_catches.py [ROOT]         prints file:line: what is wrong, one line each; exit status 1 if there is any
"""
import pathlib
import re
import sys

# Where an error ends: what it spoils is over, and somebody is told.
ENDS = {
    "src/base/problems.cc": "problem_of(): for those whose result is what is wrong, such as kl inspect",
    "src/cli/main.cc": "the program: a line for the person, a status for the script",
    "src/engine/engine.cc": "the engine's thread, and what a caller asked of it",
    "src/engine/engine_step.cc": "one text among many",
    "src/server/api/api.cc": "reading a request",
    "src/server/api/reply.cc": "a reply in the making",
    "src/server/api_error.cc": "a request's error as its reply",
    "src/server/http/http_exchange.cc": "an exchange",
    "src/server/http/http_server.cc": "a connection that could not be taken",
}

# Where it is thrown on: by another thread, with more said about it, or when something was put back.
PASSES = {
    "src/base/json.cc": "says at which byte",
    "src/base/run_tasks.cc": "from a task's thread to the caller's",
    "src/base/thread_pool.cc": "ends the threads that could be had",
    "src/chat/chat_template.cc": "says how to do without the template",
    "src/cli/chat_session.cc": "takes the unanswered message back",
    "src/cli/run.cc": "says which file the schema was in",
    "src/convert/model_output.cc": "gives a folder up that would fail again",
    "src/convert/resumable_folder.cc": "removes the folders it made",
    "src/grammar/schema_tree.cc": "a schema that is no JSON is the caller's",
    "src/grammar/structured.cc": "says which tool's schema it was",
    "src/server/api/conversation.cc": "says that the messages were refused",
    "src/server/api/json.cc": "a body that is no JSON is the client's",
    "src/server/api/server_state.cc": "names the client's file, not where it lies",
    "src/server/api/tools.cc": "says which field the schema was in",
}

CATCH = re.compile(r"\bcatch \((\.\.\.|const (kl::)?Error\b|const std::(exception|runtime_error)\b)")


def check_tree(root):
    """All problems of a source tree as lines file:line: problem."""
    problems = []
    for path in sorted(p for top in ("include", "src") for p in (root / top).rglob("*") if p.suffix in {".h", ".cc"}):
        name = path.relative_to(root).as_posix()
        lines = path.read_text(encoding="utf-8").splitlines()
        found = [number for number, line in enumerate(lines, 1) if CATCH.search(line)]
        if name in ENDS or name in PASSES:
            if not found:
                problems.append(f"{name}:1: catches no error, but has a row in tools/check_catches.py")
        else:
            problems += [f"{name}:{number}: catches errors without a row in tools/check_catches.py" for number in found]
    missing = [name for name in [*ENDS, *PASSES] if not (root / name).exists()]
    return problems + [f"{name}:1: has a row in tools/check_catches.py, but is not there" for name in missing]


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent)
    problems = check_tree(root)
    print("\n".join(problems) if problems else "errors are caught where the tables say")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
