"""Whatever is wrong with a command line: status 2, one line `kl: subject: expected X, got Y`, nothing written."""
import pytest
from conftest import EXIT_USAGE

CASES = [
    # unknown words
    (["frobnicate"], "frobnicate: expected a command"),
    (["rnu"], "did you mean run?"),
    (["tokenise", "x"], "did you mean tokenize?"),
    (["-x"], "-x: expected a flag of kl"),
    (["run", "--tmep", "1"], "--tmep: expected a flag of kl run, got an unknown one; did you mean --temp?"),
    (["run", "--sead=4"], "--sead: expected a flag of kl run, got an unknown one; did you mean --seed?"),
    (["run", "-q"], "-q: expected a flag of kl run, got an unknown one"),
    # words of other programs
    (["run", "--temperature", "0"], "--temperature: expected a flag of kl run, got an unknown one; it is --temp here"),
    (["run", "-sys", "x"], "; it is --system here"),
    (["run", "--system-prompt=x"], "; it is --system here"),
    (["chat", "--repeat-penalty", "1.1"], "; it is --repetition-penalty here"),
    (["run", "-p", "x", "--max-kv-size", "4096"], "--max-kv-size: expected a flag of kl run, got an unknown one; it is -c here"),
    (["run", "--no-display-prompt"], "; the prompt is never shown"),
    (["run", "--ignore-chat-template"], "; it is --raw here"),
    # positions
    (["run", "models/demo"], "a prompt goes after -p), got models/demo"),
    (["render", "--jsonl", "file.jsonl"], "a file goes after -f), got file.jsonl"),
    (["tokenize", "a", "b"], "b: expected a flag of kl tokenize"),
    (["logits", "--tokens", "a", "-o", "b", "x"], "x: expected a flag of kl logits"),
    (["chat", "hello"], "hello: expected a flag of kl chat"),
    # missing values
    (["run", "-p"], "--prompt: expected a value, got nothing"),
    (["run", "-m"], "--model: expected a value, got nothing"),
    (["run", "--temp"], "--temp: expected a value, got nothing"),
    (["run", "--stop"], "--stop: expected a value, got nothing"),
    (["run", "--system"], "--system: expected a value, got nothing"),
    (["logits"], "--tokens: expected to be given, got nothing"),
    (["logits", "--tokens", "x"], "--out: expected to be given, got nothing"),
    (["render"], "--jsonl: expected to be given, got nothing"),
    (["run", "-m", ""], "--model: expected a text, got nothing"),
    (["run", "-f", ""], "--file: expected a text, got nothing"),
    (["run", "--stop", ""], "--stop: expected a text, got nothing"),
    # numbers
    (["run", "--temp", "warm"], "--temp: expected a number from 0 to 100, got warm"),
    (["run", "--temp", "-1"], "--temp: expected a number from 0 to 100, got -1"),
    (["run", "--temp", "nan"], "--temp: expected a number from 0 to 100, got nan"),
    (["run", "--temp", "inf"], "--temp: expected a number from 0 to 100, got inf"),
    (["run", "--temp", "1.0x"], "--temp: expected a number from 0 to 100, got 1.0x"),
    (["run", "--temp", ""], "--temp: expected a number from 0 to 100, got nothing"),
    (["run", "--temp", "1", "--temp", "2"], "--temp: expected to be given once, got more"),
    (["run", "--top-p", "1.1"], "--top-p: expected a number from 0 to 1, got 1.1"),
    (["run", "--top-p", "-0.1"], "--top-p: expected a number from 0 to 1, got -0.1"),
    (["run", "--min-p", "2"], "--min-p: expected a number from 0 to 1, got 2"),
    (["run", "--top-k", "-1"], "--top-k: expected a whole number from 0"),
    (["run", "--top-k", "2.5"], "--top-k: expected a whole number from 0"),
    (["run", "-n", "-5"], "--max-tokens: expected a whole number from 0"),
    (["run", "-n", "1e3"], "--max-tokens: expected a whole number from 0"),
    (["run", "-n", "99999999999999999999"], "--max-tokens: expected a whole number from 0"),
    (["chat", "-n", "0"], "--max-tokens: expected a whole number from 1"),
    (["run", "--seed", "-1"], "--seed: expected a whole number from 0 to 18446744073709551615, got -1"),
    (["run", "--seed", "18446744073709551616"], "--seed: expected a whole number from 0"),
    (["run", "--repetition-penalty", "0"], "--repetition-penalty: expected a number from 0.001"),
    (["run", "--penalty-context", "-3"], "--penalty-context: expected a whole number from 0"),
    (["run", "--logprobs", "-1"], "--logprobs: expected a whole number from 0 to 1000, got -1"),
    (["run", "--logit-bias", "3"], "--logit-bias: expected ID=VALUE, got 3"),
    (["run", "--logit-bias", "x=1"], "--logit-bias: expected ID=VALUE, got x=1"),
    (["run", "--logit-bias", "5=inf"], "--logit-bias: expected ID=VALUE, got 5=inf"),
    (["run", "--logit-bias", "-5=1"], "--logit-bias: expected ID=VALUE, got -5=1"),
    (["run", "-p", "x", "--logit-bias", "999999=1"], "logit_bias: expected tokens below 1024, got 999999"),
    (["run", "-t", "-1"], "--threads: expected a whole number from 0 to 1024, got -1"),
    (["run", "-t", "99999"], "--threads: expected a whole number from 0 to 1024, got 99999"),
    (["run", "--chunk", "-1"], "--chunk: expected a whole number from 0"),
    (["logits", "--tokens", "x", "-o", "y", "--kv-a-eps", "0"], "--kv-a-eps: expected a number from 1e-30 to 1, got 0"),
    (["logits", "--tokens", "x", "-o", "y", "--l2-eps", "-1"], "--l2-eps: expected a number"),
    # words
    (["run", "--mla", "foo"], "--mla: expected auto or absorbed or expanded, got foo"),
    (["logits", "--tokens", "x", "-o", "y", "--compute", "bf16"], "--compute: expected auto or f32, got bf16"),
    (["logits", "--tokens", "x", "-o", "y", "--router-weights", "b"], "--router-weights: expected unbiased or hf, got b"),
    # flags against each other
    (["run", "-p", "a", "-f", "b"], "--prompt and --file: expected one of them, got both"),
    (["run", "-p", "a", "-"], "expected one of them, got both"),
    (["run", "--chat", "--raw"], "--chat and --raw: expected one of them, got both"),
    (["run", "--chat", "--special", "-p", "x"], "expected one of them, got both"),
    (["run", "--raw", "--system", "x", "-p", "y"], "--raw and --system: expected one of them, got both"),
    (["run", "--special", "--system", "x", "-p", "y"], "--system and --special: expected one of them, got both"),
    (["run", "-p", "x", "--logprobs", "3"], "--logprobs: expected together with --json, got it alone"),
    (["logits", "--tokens", "x", "-o", "y", "--all", "--last"], "expected one of them, got both"),
    (["tokenize", "x", "-f", "y"], "expected one of them, got both"),
    (["tokenize", "x", "--ids", "--json"], "expected one of them, got both"),
    (["run", "--json=3"], "--json: expected no value, got one"),
    # ids on the command line
    (["detokenize", "abc"], "ids: expected token ids below 1024, got abc"),
    (["detokenize", "99999"], "ids: expected token ids below 1024, got 99999"),
    (["detokenize", "99999999999999999999"], "ids: expected token ids below 1024"),
    # the environment
    (["run", "-p", "x", "ENV", "KL_ISA=sse9"], "sse9"),
]


@pytest.mark.parametrize("args, expected", CASES, ids=[" ".join(a) for a, _ in CASES])
def test_a_bad_command_line_is_refused_in_one_line(kl, tmp_path, args, expected):
    env = {}
    if "ENV" in args:
        name, value = args[-1].split("=")
        args, env = args[:args.index("ENV")], {name: value}
    result = kl(*args, env=env, cwd=tmp_path, timeout=5)
    assert result.status == EXIT_USAGE, result.err
    assert result.out == ""
    first, *rest = result.err.splitlines()
    assert first.startswith("kl: ") and expected in first
    assert rest in ([], [f"Try kl --help."], [f"Try kl {args[0]} --help."])
    assert list(tmp_path.iterdir()) == []
