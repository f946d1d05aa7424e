"""Runs the real program as a user would.  $KL_PROGRAM names it; the default is the release build."""
import os
import pathlib
import shutil
import signal
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
KL = os.environ.get("KL_PROGRAM", str(ROOT / "build/release/bin/kl"))
DEMO = ROOT / "models/demo"

EXIT_OK, EXIT_FAILURE, EXIT_USAGE, EXIT_BAD_INPUT, EXIT_MEMORY, EXIT_CANNOT_WRITE, EXIT_INTERRUPTED = 0, 1, 2, 3, 4, 5, 130


# A test run in the background, or under nohup, inherits ignored signals and would hand them on to the program, which
# leaves alone what its parent ignores.
for name in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
    if signal.getsignal(name) == signal.SIG_IGN:
        signal.signal(name, signal.SIG_DFL)


class Result:
    """Exit status and output of one run; text is decoded strictly, so broken UTF-8 in it fails the test."""

    def __init__(self, process):
        self.status = process.returncode
        self.out_bytes = process.stdout
        self.err = process.stderr.decode()

    @property
    def out(self):
        return self.out_bytes.decode()


def run_kl(*args, stdin=b"", env=None, cwd=None, timeout=60, preexec_fn=None):
    if isinstance(stdin, str):
        stdin = stdin.encode()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KL_")} | (env or {})
    return Result(subprocess.run([KL, *map(str, args)], input=stdin, capture_output=True, env=environment, cwd=cwd,
                                 timeout=timeout, preexec_fn=preexec_fn))


@pytest.fixture
def kl():
    """kl("run", "-p", "x", stdin=..., env=...) -> Result"""
    return run_kl


@pytest.fixture
def ok():
    """As kl, but the run must succeed, and say nothing on standard error unless -v is given."""

    def run(*args, **options):
        result = run_kl(*args, **options)
        assert result.status == EXIT_OK, result.err
        assert result.err == "" or "-v" in args
        return result

    return run


@pytest.fixture(scope="session")
def demo():
    return DEMO


@pytest.fixture
def model_copy(demo, tmp_path_factory):
    """A copy of the demo model to break."""
    return shutil.copytree(demo, tmp_path_factory.mktemp("copy") / "model")
