"""Folders as mlx-lm and llm-compressor write them, against the float64 model over the weights their bytes stand for
(quantised_model.py decodes them in numpy, reference.py computes)."""
import itertools
import json

import pytest
import safetensors
from conftest import EXIT_BAD_INPUT, run_kl

np = pytest.importorskip("numpy", reason="needs python3-numpy")

from quantised_model import QuantisedModel  # noqa: E402
from random_model import RandomModel  # noqa: E402
from reference import Reference  # noqa: E402

# Of the largest logit.  Seen: below 1e-6, what float32 arithmetic costs.
BUDGET = 3e-6

DIMS = dict(hidden_size=128, kda_head_dim=64, kv_lora_rank=64, qk_nope_head_dim=32, qk_rope_head_dim=16, v_head_dim=32,
            intermediate_size=128, moe_intermediate_size=64, num_experts=5, vocab_size=130)
AFFINE = [dict(bits=b, group_size=g, dtype=t) for b, g, t in
          itertools.product((2, 3, 4, 5, 6, 8), (32, 64, 128), ("BF16", "F16", "F32"))]
FLOATS = [dict(mode="mxfp4", bits=4, group_size=32), dict(mode="mxfp8", bits=8, group_size=32),
          dict(mode="nvfp4", bits=4, group_size=16)]
INTS = [dict(format="pack-quantized", num_bits=b, group_size=g, strategy="group" if g else "channel", symmetric=s, dtype=t)
        for b, g, s, t in itertools.product((4, 8), (None, 32, 64, 128), (True, False), ("BF16", "F32"))]
FP8 = [dict(format="float-quantized", strategy=s, num_bits=8, dtype=t) for s in ("channel", "tensor") for t in ("BF16", "F32")]
NVFP4 = [dict(format="nvfp4-pack-quantized")]


def in_turn(choices):
    """Gives every module the next of `choices` that its rows divide into."""
    ring = itertools.cycle(choices)

    def choose(module, shape):
        for _ in choices:
            settings = next(ring)
            if shape[-1] % (settings.get("group_size") or 1) == 0:
                return settings
        return None

    return choose


def except_head(choose):
    """As llm-compressor does it: `ignore: ["lm_head"]`, and embeddings are no Linear."""
    return lambda module, shape: None if module in ("lm_head", "model.embed_tokens") else choose(module, shape)


CASES = {
    "mlx_affine": ("mlx", None, lambda: in_turn(AFFINE)),
    "mlx_floats": ("mlx", None, lambda: in_turn(FLOATS)),
    "mlx_mixed_with_plain": ("mlx", None, lambda: in_turn([AFFINE[9], FLOATS[0], {**AFFINE[40], "group_size": 4096}, FLOATS[2]])),
    "mlx_old_affine": ("mlx", "mlx_old", lambda: in_turn(AFFINE[::2])),
    "mlx_old_mxfp4": ("mlx", "mlx_old", lambda: in_turn(FLOATS[:1])),
    "mlx_old_nvfp4": ("mlx", "mlx_old", lambda: in_turn(FLOATS[2:])),
    "int": ("compressed-tensors", None, lambda: except_head(in_turn(INTS))),
    "int4_g32": ("compressed-tensors", None, lambda: except_head(in_turn(INTS[4:5]))),
    "fp8": ("compressed-tensors", None, lambda: except_head(in_turn(FP8))),
    "nvfp4": ("compressed-tensors", None, lambda: except_head(in_turn(NVFP4))),
    "all_compressed": ("compressed-tensors", "mlx_old_names", lambda: in_turn(FP8[:1] + NVFP4 + INTS[4:5])),
}


class Case:
    def __init__(self, name, folder):
        family, naming, choose = CASES[name]
        naming = naming if naming != "mlx_old_names" else None
        self.model = RandomModel(seed=sorted(CASES).index(name), kinds="KMK", dtype="BF16", **DIMS)
        self.quantised = QuantisedModel(self.model, family, choose(), naming)
        self.folder = folder / "model"
        self.quantised.write(self.folder)
        self.reference = Reference(self.model.config, self.quantised.weights)
        self.tokens, arrays = self.model.draw_tokens(self.reference, 40, clear=1e-4)
        self.expected = arrays["logits"]

    def logits(self, *flags, isa=None):
        out = self.folder.parent / "out.safetensors"
        result = run_kl("logits", "-m", self.folder, "--tokens", "-", "-o", out, "-t", 1, *flags,
                        stdin=" ".join(map(str, self.tokens)), env={"KL_ISA": isa} if isa else {})
        assert result.status == 0, result.err
        _, shape, values = safetensors.load(out)["logits"]
        return np.array(values).reshape(shape)


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    return Case(request.param, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("table", ["reference", "avx2", "avx512"])
@pytest.mark.parametrize("form", ["absorbed", "expanded"])
def test_logits_are_those_of_the_weights_in_the_file(case, table, form):
    if table not in run_kl("--version").out.split("kernel tables: ")[1].split("\n")[0]:
        pytest.skip(f"this CPU cannot run {table}")
    logits = case.logits("--compute", "f32", "--cache-type", "f32", "--mla", form, isa=table)
    assert np.abs(logits - case.expected).max() <= BUDGET * np.abs(case.expected).max()


def test_it_runs_as_it_comes(case):
    """With integer products, where a choice of experts may fall otherwise here and there."""
    errors = np.abs(case.logits() - case.expected).max(axis=1)
    assert np.median(errors) <= 0.1 * np.abs(case.expected).max()


def test_inspect_names_encodings_and_their_bits(case):
    report = json.loads(run_kl("inspect", "-m", case.folder, "--json").out)
    assert report["problems"] == [] and report["notes"] == []
    encodings = report["weights"]["encodings"]
    assert sum(e["matrices"] for e in encodings) == len(case.quantised.modules)
    matrices = (np.prod(w.shape) for name, w in case.model.tensors("released").items())
    assert 0 < sum(e["weights"] for e in encodings) <= sum(matrices)
    for e in encodings:
        assert 2 < e["bits_per_weight"] < 13 and e["held_as"][0] in "qBF"
        assert f"{e['name']}: " in run_kl("inspect", "-m", case.folder).out


def test_quantize_refuses_what_is_quantised(case, tmp_path):
    result = run_kl("quantize", "-m", case.folder, "-o", tmp_path / "q")
    assert result.status == EXIT_BAD_INPUT and "expected weights that are not quantised yet, got" in result.err
    assert not (tmp_path / "q").exists()
