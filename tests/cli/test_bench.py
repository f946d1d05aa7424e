import csv
import io
import json
import re
import signal
import subprocess
import time
import xml.etree.ElementTree

import pytest
from conftest import EXIT_BAD_INPUT, EXIT_CANNOT_WRITE, EXIT_INTERRUPTED, EXIT_USAGE, KL, run_kl

PARTS = ["projections", "experts", "router", "kda", "mla", "head", "norms and rest"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """One run with everything on: its JSON, and the picture it drew."""
    plot = tmp_path_factory.mktemp("bench") / "roof.svg"
    result = run_kl("bench", "-p", "16,32", "-n", "4", "-d", "0,300", "-b", "1,4", "-r", "2", "-t", "1",
                    "--pp-at-depth", "8", "--breakdown", "-o", "json", "--plot", plot)
    assert result.status == 0 and result.err == ""
    return json.loads(result.out), plot.read_text()


def test_json_has_one_entry_per_test_under_its_usual_name(measured):
    bench, _ = measured
    assert [r["test"] for r in bench["results"]] == [
        "pp16", "pp32", "tg4", "tg4 @ d300", "pp8 @ d300", "tg4 x4 @ d256"]
    for key in ("load_s", "rss_mib", "file_mib"):
        assert bench[key] > 0
    for r in bench["results"]:
        assert len(r["runs"]) == 2 and r["best"] == max(r["runs"])
        assert min(r["runs"]) <= r["median"] <= r["best"]
        assert r["percent_of_limit"] == pytest.approx(100 * r["median"] / r["limit"])
        assert r["bytes_per_token"] > 0 and r["fma_ops_per_token"] > 0


def test_limits_are_those_of_this_machine(measured):
    limits = measured[0]["limits"]
    assert limits["threads"] == 1
    assert limits["read_over_bytes"] >= 64 << 20
    assert 1e8 < limits["read_bytes_per_second"] < 1e12
    assert 1e9 < limits["fma_ops_per_second"] < limits["int8_ops_per_second"]
    for p in limits["instructions"]:
        assert p["kind"] in ("fma", "int8", "bf16_dot") and p["ops_per_second"] > 0


def test_the_limit_is_the_sum_over_parts(measured):
    bench, _ = measured
    limits = bench["limits"]
    for r in bench["results"]:
        seconds = 0
        for part in r["parts"][:-1]:
            computing = sum(part[f"{kind}_ops_per_token"] / limits[f"{kind}_ops_per_second"]
                            for kind in ("fma", "int8", "bf16_dot") if part[f"{kind}_ops_per_token"] > 0)
            seconds += max(part["bytes_per_token"] / limits["read_bytes_per_second"], computing)
        assert 1 / seconds == pytest.approx(r["limit"])


def test_the_breakdown_is_of_all_parts_and_the_barriers(measured):
    for r in measured[0]["results"]:
        assert [p["part"] for p in r["parts"]] == PARTS + ["barriers"]
        assert sum(p["share"] for p in r["parts"][:-1]) == pytest.approx(1)
        assert r["parts"][-1]["seconds_per_token"] > 0
        assert sum(p["bytes_per_token"] for p in r["parts"][:-1]) == pytest.approx(r["bytes_per_token"])


def test_deeper_caches_cost_more_and_sequences_share_weights(measured):
    by_name = {r["test"]: r for r in measured[0]["results"]}
    assert by_name["tg4 @ d300"]["bytes_per_token"] > by_name["tg4"]["bytes_per_token"]
    assert by_name["tg4 x4 @ d256"]["bytes_per_token"] < by_name["tg4"]["bytes_per_token"]
    assert by_name["pp32"]["bytes_per_token"] < by_name["pp16"]["bytes_per_token"]


def test_the_picture_is_svg_with_a_dot_and_a_line_per_test(measured):
    bench, plot = measured
    root = xml.etree.ElementTree.fromstring(plot)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    texts = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
    titles = [t.text for t in root.iter("{http://www.w3.org/2000/svg}title")]
    for r in bench["results"]:
        assert r["test"] in titles and f"{r['test']}: projections" in titles
        assert any(t.startswith(f"{r['test']}: ") for t in texts)
    width, height = float(root.get("width")), float(root.get("height"))
    for circle in root.iter("{http://www.w3.org/2000/svg}circle"):
        assert 0 < float(circle.get("cx")) < width and 0 < float(circle.get("cy")) < height


def test_the_table_and_its_breakdown(ok):
    text = ok("bench", "-p", "0", "-n", "2", "-r", "1", "-t", "1", "--breakdown").out
    assert re.search(r"^limits: read [\d.]+ GB/s \(over .*\);.* vfmadd231ps, 256 bit \d+ Gop/s", text, re.M)
    assert re.search(r"^\| tg2 \| [\d.]+ \| [\d.]+ \| 1 \| [\d.]+ \| [\d.]+ \| [\d.]+ \| [\d.]+ \|$", text, re.M)
    for part in PARTS:
        assert re.search(rf"^\| {part} \| [\d.]+ \|", text, re.M), part
    assert "| of these: barriers |" in text
    assert "pp" not in text and "@" not in text


def test_csv_is_a_line_per_test(ok):
    text = ok("bench", "-p", "8", "-n", "2", "-d", "300", "-r", "2", "-t", "1", "--real-depth", "-o", "csv").out
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["test"] for row in rows] == ["pp8", "tg2 @ d300"]
    for row in rows:
        assert float(row["best"]) == max(map(float, row["runs"].split(";")))


@pytest.mark.parametrize("args, named", [
    (["-p", "x"], "--prompt: expected whole numbers from 0 to 10000000 separated by commas, got x"),
    (["-p", "1,,2"], "separated by commas, got 1,,2"),
    (["-p", ""], "separated by commas, got nothing"),
    (["-d", "-1"], "--depth: expected whole numbers from 0 to 10000000 separated by commas, got -1"),
    (["-d", "99999999999"], "--depth: expected whole numbers"),
    (["-b", "0"], "--batch: expected whole numbers from 1 to 1024 separated by commas, got 0"),
    (["-n", "1,2"], "--generate: expected a whole number from 0 to 10000000, got 1,2"),
    (["-r", "0"], "--repeats: expected a whole number from 1 to 1000, got 0"),
    (["-o", "xml"], "--output: expected md or json or csv, got xml"),
    (["--plot", "roof.png"], "--plot: expected a name that ends in .svg (rsvg-convert makes a PNG of it), got roof.png"),
    (["demo"], "demo: expected a flag of kl bench"),
])
def test_bad_flags_are_refused_before_anything_runs(kl, tmp_path, args, named):
    result = kl("bench", *args, cwd=tmp_path, timeout=5)
    assert result.status == EXIT_USAGE
    assert result.out == "" and named in result.err
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_or_written_is_noticed_before_anything_runs(kl, tmp_path):
    assert kl("bench", "-m", tmp_path / "none", timeout=5).status == EXIT_BAD_INPUT
    result = kl("bench", "--plot", tmp_path / "no/roof.svg", timeout=5)
    assert result.status == EXIT_CANNOT_WRITE and "roof.svg" in result.err
    assert result.out == "" and list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_it_and_leaves_no_picture(tmp_path):
    process = subprocess.Popen([KL, "bench", "-p", "0", "-n", "10000000", "-t", "1", "--plot", "roof.svg"], cwd=tmp_path,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline()  # the limits are measured, the test is about to start
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == EXIT_INTERRUPTED and err == b""
    assert list(tmp_path.iterdir()) == []
