"""bench/compare_llama.sh with two stand-ins that print what the real programs print."""
import json
import os
import stat
import subprocess
import sys

import pytest
from conftest import ROOT

SCRIPT = ROOT / "bench/compare_llama.sh"


def bench(rates, **more):
    results = [{"test": test, "median": rate, "best": rate, "runs": [rate], "percent_of_limit": 80.0}
               for test, rate in rates.items()]
    return json.dumps({"load_s": 2.0, "rss_mib": 100.0, "results": results} | more)


@pytest.fixture
def run(tmp_path):
    """run(kl outputs, llama.cpp outputs, arguments): the n-th call of each prints its n-th output."""

    def executable(path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def run(kl, llama, *args):
        stand_in = (f"#!{sys.executable}\nimport pathlib, sys\nhere = pathlib.Path(__file__)\n"
                    "calls = here.with_name(here.name + '.calls')\n"
                    "with calls.open('a') as f: f.write(' '.join(sys.argv[1:]) + chr(10))\n"
                    "print(OUTPUTS[len(calls.read_text().splitlines()) - 1])\n")
        executable(tmp_path / "kl", stand_in.replace("OUTPUTS", repr(kl)))
        executable(tmp_path / "shared/peers/llama_bench.py", stand_in.replace("OUTPUTS", repr(llama)))
        (tmp_path / "modules").mkdir()
        (tmp_path / "modules/llama_cpp.py").write_text("")
        (tmp_path / "m.gguf").write_text("")
        env = os.environ | {"KL_PROGRAM": str(tmp_path / "kl"), "KL_SHARED": str(tmp_path / "shared"),
                            "LLAMA_PYTHON": sys.executable, "PYTHONPATH": str(tmp_path / "modules")}
        return subprocess.run(["bash", SCRIPT, *args], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)

    return run


def test_ratios_are_medians_of_the_rounds(run, tmp_path):
    kl = [bench({"pp512": rate, "tg32": 30.0}) for rate in (100.0, 300.0, 240.0)]
    llama = [bench({"pp512": rate, "tg32": 15.0, "tg32 @ d9": 1.0}, load_s=8.0) for rate in (50.0, 100.0, 60.0)]
    result = run(kl, llama, "model", "m.gguf", "--rounds", "3", "-p", "512", "-n", "32")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[2:] == ["| pp512 | 240.00 | 60.00 | 3.00 | 2.00 | 4.00 | 80.0 |",
                                              "| tg32 | 30.00 | 15.00 | 2.00 | 2.00 | 2.00 | 80.0 |",
                                              "| load, s | 2.00 | 8.00 | 0.250 | | | |",
                                              "| resident, MiB | 100.00 | 100.00 | 1.000 | | | |"]
    assert (tmp_path / "kl.calls").read_text() == "bench -m model -p 512 -n 32 -o json\n" * 3
    assert (tmp_path / "shared/peers/llama_bench.py.calls").read_text() == "m.gguf -p 512 -n 32 -o json\n" * 3


@pytest.mark.parametrize("args, status, named", [
    (["model"], 2, "MODEL_DIR MODEL.gguf: expected two paths, got 1"),
    (["model", "m.gguf", "--rounds", "0"], 2, "--rounds: expected a whole number from 1, got 0"),
])
def test_bad_usage(run, args, status, named):
    result = run([], [], *args)
    assert result.returncode == status and named in result.stderr
