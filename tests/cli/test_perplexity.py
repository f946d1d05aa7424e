"""kl perplexity against numpy on the output of kl logits: windows and formulas are llama-perplexity's."""
import json
import math

import numpy as np
import pytest
import safetensors
from conftest import DEMO, EXIT_BAD_INPUT, EXIT_CANNOT_WRITE, EXIT_USAGE, run_kl

TEXT = (DEMO / "README.md").read_text()
EXACT = ["--mla", "absorbed"]  # as kl logits


@pytest.fixture(scope="module")
def text_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def four_bits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantised") / "q4"
    assert run_kl("quantize", "-o", folder).status == 0
    return folder


@pytest.fixture
def score(ok, text_file):
    def run(*flags):
        return json.loads(ok("perplexity", "-f", text_file, "--json", *flags).out)

    return run


def windows_of(tokens, context, stride):
    """(tokens of the window, how many at its end are scored)"""
    length, step = (context + stride // 2, stride) if stride else (context, context)
    count = (len(tokens) - length + stride - 1) // stride if stride else len(tokens) // context
    scored = stride if stride else context - context // 2 - 1
    return [(tokens[i * step:i * step + length], scored) for i in range(count)]


def log_probabilities(tmp_path, tokens, context, stride, *flags, first=None):
    """Of all scored positions [positions, vocabulary], and the tokens that came."""
    windows = windows_of(tokens, context, stride)
    lines = [[first, *w[1:]] if first is not None else w for w, _ in windows]
    (tmp_path / "ids.txt").write_text("".join(" ".join(map(str, w)) + "\n" for w in lines))
    result = run_kl("logits", "--tokens", tmp_path / "ids.txt", "-o", tmp_path / "l.safetensors", *flags)
    assert result.status == 0, result.err
    tensors = safetensors.load(tmp_path / "l.safetensors")
    rows, came = [], []
    for j, (window, scored) in enumerate(windows):
        _, shape, values = tensors[f"logits.{j}" if j else "logits"]
        rows.append(np.array(values, np.float64).reshape(shape)[-scored - 1:-1])
        came += window[-scored:]
    logits = np.concatenate(rows)
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True)), np.array(came)


@pytest.fixture(scope="module")
def tokens(text_file):
    return list(map(int, run_kl("tokenize", "--ids", "-f", text_file).out.split()))


@pytest.mark.parametrize("context, stride", [(128, 0), (127, 0), (3, 0), (500, 0), (64, 32), (64, 7), (40, 40)])
def test_it_is_what_numpy_makes_of_the_logits(score, tmp_path, tokens, context, stride):
    told = score("-c", context, "--stride", stride, *EXACT)
    logs, came = log_probabilities(tmp_path, tokens, context, stride)
    nll = -logs[np.arange(len(came)), came]
    text_bytes = sum(len(run_bytes) for run_bytes in bytes_of(came))
    assert told["counts"]["scored"] == len(came) and told["counts"]["tokens"] == len(tokens)
    assert told["nll"] == pytest.approx(nll.mean(), rel=1e-6)
    assert told["perplexity"] == pytest.approx(math.exp(nll.mean()), rel=1e-5)
    error = math.sqrt((np.mean(nll ** 2) - nll.mean() ** 2) / (len(nll) - 1))  # llama-perplexity's
    assert told["error"] == pytest.approx(math.exp(nll.mean()) * error, rel=1e-4)
    assert told["counts"]["bytes"] == text_bytes
    assert told["bits_per_byte"] == pytest.approx(nll.sum() / math.log(2) / text_bytes, rel=1e-6)


def bytes_of(ids):
    """The text of each id; here all of it is ASCII."""
    told = run_kl("detokenize", "--jsonl", "-", stdin="".join(f"[{i}]\n" for i in ids)).out
    return [json.loads(line) for line in told.splitlines()]


def test_windows_may_begin_with_bos(score, tmp_path, tokens):
    bos = json.loads(run_kl("tokenize", "--special", "--json", "[BOS]").out)["ids"]
    assert len(bos) == 1
    logs, came = log_probabilities(tmp_path, tokens, 100, 0, first=bos[0])
    told = score("-c", 100, "--bos", *EXACT)
    assert told["nll"] == pytest.approx(-logs[np.arange(len(came)), came].mean(), rel=1e-6)
    assert told["nll"] != score("-c", 100, *EXACT)["nll"]


@pytest.mark.parametrize("flags", [["--chunk", 1], ["--chunk", 37], ["--chunk", 9999], ["-t", 1], ["-t", 3], ["-b", 1],
                                   ["-b", 3], ["-b", 500, "--chunk", 100]], ids=lambda f: " ".join(map(str, f)))
def test_batches_chunks_and_threads_do_not_change_a_number(score, tmp_path, flags):
    def numbers(name, *more):
        told = score("-c", 96, "--save-base", tmp_path / name, *more)
        return {k: v for k, v in told.items() if k not in ("seconds", "tokens_per_s", "threads")}

    assert numbers("a", *flags) == numbers("b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("stride", [0, 48])
def test_a_model_is_no_distance_from_itself(score, tmp_path, stride):
    flags = ["-c", 96, "--stride", stride]
    alone = score(*flags, "--save-base", tmp_path / "base")
    told = score(*flags, "--base", tmp_path / "base")
    assert told["perplexity"] == alone["perplexity"] and alone["base"] is None
    base = told["base"]
    assert 0 <= base["kl"] < 1e-8 and base["kl_max"] < 1e-7
    assert base["same_top"] == 1 and base["same_top_error"] == 0
    assert base["ratio"] == pytest.approx(1, abs=1e-7) and base["perplexity"] == pytest.approx(alone["perplexity"], rel=1e-6)


def test_the_comparison_is_what_numpy_makes_of_the_logits(score, tmp_path, tokens, four_bits):
    score("-c", 96, *EXACT, "--save-base", tmp_path / "base")
    told = score("-m", four_bits, "-c", 96, *EXACT, "--base", tmp_path / "base")
    p, came = log_probabilities(tmp_path, tokens, 96, 0)
    q, _ = log_probabilities(tmp_path, tokens, 96, 0, "-m", four_bits)
    kl = (np.exp(p) * (p - q)).sum(-1)
    base, at = told["base"], np.arange(len(came))
    assert base["kl"] == pytest.approx(kl.mean(), rel=1e-4)
    assert base["kl_error"] == pytest.approx(kl.std() / math.sqrt(len(kl) - 1), rel=1e-3)
    assert base["kl_median"] == pytest.approx(np.quantile(kl, 0.5), rel=1e-3)
    assert base["kl_99"] == pytest.approx(np.quantile(kl, 0.99), rel=1e-3)
    assert base["kl_max"] == pytest.approx(kl.max(), rel=1e-3)
    assert base["same_top"] == pytest.approx((p.argmax(-1) == q.argmax(-1)).mean(), abs=2 / len(kl))
    more = (p - q)[at, came]
    assert base["ratio"] == pytest.approx(math.exp(more.mean()), rel=1e-5)
    assert base["ratio_error"] == pytest.approx(base["ratio"] * more.std() / math.sqrt(len(kl) - 1), rel=1e-3)
    assert base["perplexity"] == pytest.approx(math.exp(-p[at, came].mean()), rel=1e-5)


def test_a_person_reads_lines(ok, text_file, tmp_path):
    told = ok("perplexity", "-f", text_file, "--save-base", tmp_path / "b").out
    assert told.startswith("perplexity ") and "+-" in told and "bits per byte" in told and "KL" not in told
    assert "mean KL" in ok("perplexity", "-f", text_file, "--base", tmp_path / "b").out


def refused(status, *args):
    result = run_kl("perplexity", *args)
    assert result.status == status and result.err.startswith("kl: ") and result.out == "", result.err
    return result.err


def test_short_texts_and_senseless_settings_are_refused(text_file):
    assert "expected at least 1024 tokens" in refused(EXIT_BAD_INPUT, "To be, or not to be")
    assert "expected at least" in refused(EXIT_BAD_INPUT, "")
    assert "--context" in refused(EXIT_USAGE, "-f", text_file, "-c", 2)
    assert "stride" in refused(EXIT_USAGE, "-f", text_file, "-c", 8, "--stride", 100)
    assert refused(EXIT_USAGE, "-f", text_file, "--bos", "--stride", 8)
    assert "missing" in refused(EXIT_BAD_INPUT, "-f", "missing")


@pytest.fixture
def base(score, tmp_path):
    score("-c", 96, "--save-base", tmp_path / "base")
    return tmp_path / "base"


def test_bases_of_other_things_are_refused(base, text_file, tmp_path):
    flags = ["-f", text_file, "--base", base]
    assert "a context of 100, got 96" in refused(EXIT_BAD_INPUT, *flags, "-c", 100)
    assert "stride" in refused(EXIT_BAD_INPUT, *flags, "-c", 96, "--stride", 8)
    assert "beginning-of-text" in refused(EXIT_BAD_INPUT, *flags, "-c", 96, "--bos")
    (tmp_path / "other.txt").write_text(TEXT[:5000] + "!" + TEXT[5000:])
    assert "this text" in refused(EXIT_BAD_INPUT, "-f", tmp_path / "other.txt", "-c", 96, "--base", base)
    assert run_kl("synth", "--like", "tiny", "-o", tmp_path / "tiny").status == 0
    assert "vocabulary" in refused(EXIT_BAD_INPUT, *flags, "-c", 96, "-m", tmp_path / "tiny")
    assert "missing" in refused(EXIT_BAD_INPUT, "-f", text_file, "--base", tmp_path / "missing")
    assert "base saved by" in refused(EXIT_BAD_INPUT, "-f", text_file, "--base", text_file)


def test_damaged_bases_are_refused(base, text_file):
    whole = base.read_bytes()
    for damaged in [b"", whole[:20], whole[:-1], whole + b"\0", b"x" + whole[1:], whole[:8] + b"\2" + whole[9:],
                    *[whole[:at] + bytes([whole[at] ^ 64]) + whole[at + 1:] for at in
                      (9, 30, 44, 52, 70, 5000, len(whole) // 2, len(whole) - 3000, len(whole) - 4)]]:
        base.write_bytes(damaged)
        refused(EXIT_BAD_INPUT, "-f", text_file, "-c", 96, "--base", base)


def test_a_base_appears_complete_or_not_at_all(base, text_file, tmp_path):
    before = base.read_bytes()
    refused(EXIT_BAD_INPUT, "too short", "--save-base", base)
    assert "--save-base" in refused(EXIT_USAGE, "-f", text_file, "-c", 96, "--base", base, "--save-base", base)
    assert base.read_bytes() == before
    refused(EXIT_CANNOT_WRITE, "-f", text_file, "--save-base", tmp_path / "no/where")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["base"]
