"""`kl logits` against an independent float64 model (reference.py) on random models of every shape and spelling.

Budgets are in errors of plain float32: the same reference run in float32.  On 117 random models (three tables, three
forms of attention) the largest error of an array was typically 0.43 of that, at worst 1.5 times, where so few numbers
are compared that luck decides; averaged over the kinds of array in a model it was 0.86 at worst.
"""
import json

import pytest
import safetensors
from conftest import EXIT_OK, ROOT, run_kl

np = pytest.importorskip("numpy", reason="needs python3-numpy")

from random_model import RandomModel  # noqa: E402
from reference import Reference  # noqa: E402

TABLES = ("reference", "avx2", "avx512")
ARRAY_BUDGET, MEAN_BUDGET = 1.5, 0.9

# name: (lengths of the prompts, fields).  Together they cross the borders of attention: 16 lanes, 128 keys a block, 192
# queries from which it expands, 1024 positions a stretch.
MODELS = {
    "released_head_dims": ([150, 1], dict(
        kinds="KM", kda_head_dim=128, hidden_size=256, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64,
        v_head_dim=128, num_experts=64, num_experts_per_token=8, dtype="BF16")),
    "odd_dims": ([130, 17], dict(
        kinds="KMK", kda_heads=3, kda_head_dim=40, hidden_size=90, num_attention_heads=5, kv_lora_rank=45,
        qk_nope_head_dim=24, qk_rope_head_dim=7, v_head_dim=19, intermediate_size=131, moe_intermediate_size=37,
        vocab_size=301, num_experts=11, num_experts_per_token=3, dtype="BF16")),
    "groups": ([64, 65, 2], dict(
        kinds="KKMMK", num_experts=20, num_experts_per_token=4, num_expert_group=5, topk_group=2, num_shared_experts=2,
        first_k_dense_replace=2, moe_layer_freq=2, tie_word_embeddings=True)),
    "softmax": ([128, 33], dict(
        kinds="KKM", moe_router_activation_func="softmax", moe_renormalize=False, num_shared_experts=0,
        num_experts=17, kda_heads=1, num_attention_heads=1, dtype="F16")),
    "every_expert": ([70], dict(kinds="MK", num_experts=5, num_experts_per_token=5, first_k_dense_replace=0)),
    "one_expert": ([40, 40], dict(kinds="KM", num_experts_per_token=1, first_k_dense_replace=0, conv_size=2)),
    "kda_only": ([700], dict(kinds="KKK", kda_heads=5, kda_head_dim=24, conv_size=5, first_k_dense_replace=3)),
    "mla_only": ([300, 190, 5], dict(
        kinds="MMM", num_attention_heads=3, qk_rope_head_dim=0, v_head_dim=40, dtype="F16")),
    "long": ([1500, 3], dict(kinds="KM", hidden_size=32, conv_size=3, qk_rope_head_dim=1, dtype="BF16")),
}


def load(path):
    """{name: array} of a safetensors file, bfloat16 widened."""
    types = {"F32": "<f4", "F64": "<f8", "I32": "<i4", "I64": "<i8", "BF16": "<u2"}
    arrays = {}
    for name, (dtype, shape, values) in safetensors.load(path).items():
        a = np.frombuffer(values, types[dtype]) if np.prod(shape) else np.empty(0, types[dtype])
        arrays[name] = ((a.astype("<u4") << 16).view("<f4") if dtype == "BF16" else a).reshape(shape)
    return arrays


def numbered(runs):
    """The arrays of several sequences as `kl logits` names them."""
    return {name + (f".{j}" if j else ""): a for j, run in enumerate(runs) for name, a in run.items()}


class Case:
    """A model on disk, prompts, what they give in float64 and how far plain float32 is from that."""

    def __init__(self, name, folder):
        lengths, fields = MODELS[name]
        self.folder, self.model = folder, RandomModel(seed=sorted(MODELS).index(name), **fields)
        self.model.write(folder / "model")
        exact = Reference(self.model.config, self.model.weights)
        drawn = [self.model.draw_tokens(exact, length) for length in lengths]
        self.prompts, self.expected = [tokens for tokens, _ in drawn], numbered(arrays for _, arrays in drawn)
        plain = Reference(self.model.config, self.model.weights, np.float32)
        self.plain_errors = self.errors(numbered(plain.run(tokens) for tokens in self.prompts))

    def errors(self, arrays):
        """{kind of array: largest error over all sequences and layers, each of its array's largest entry}"""
        assert {n: a.shape for n, a in arrays.items()} == {n: a.shape for n, a in self.expected.items()}
        worst = {}
        for name, expected in self.expected.items():
            kind = next(part for part in name.split(".") if not part.isdigit() and part != "layer")
            if kind == "router_ids":
                assert np.array_equal(arrays[name], expected), name
            elif expected.size:
                error = np.abs(arrays[name] - expected).max() / np.abs(expected).max()
                worst[kind] = max(worst.get(kind, 0), error if np.isfinite(error) else np.inf)
        return worst

    def file(self, table, form):
        """The output of a kernel table with a form of attention, made once."""
        path = self.folder / f"{table}.{form}"
        if not path.exists():
            path.write_bytes(self.run("--mla", form, isa=table))
        return path

    def run(self, *flags, prompts=None, folder=None, isa=None):
        """The bytes `kl logits` writes."""
        ids = "".join(" ".join(map(str, tokens)) + "\n" for tokens in prompts or self.prompts)
        self.out = self.folder / "out.safetensors"
        flags = flags if "-t" in flags else (*flags, "-t", 1)
        result = run_kl("logits", "-m", folder or self.folder / "model", "--tokens", "-", "-o", self.out, "--layers",
                        "--state", *flags, stdin=ids, env={"KL_ISA": isa} if isa else {})
        assert result.status == EXIT_OK, result.err
        return self.out.read_bytes()


@pytest.fixture(scope="module", params=MODELS)
def case(request, tmp_path_factory):
    return Case(request.param, tmp_path_factory.mktemp(request.param))


def need(*tables):
    available = run_kl("--version").out.split("kernel tables: ")[1].split("\n")[0].split(", ")
    for table in tables:
        if table not in available:
            pytest.skip(f"this CPU cannot run {table}")


@pytest.mark.parametrize("form", ["absorbed", "expanded", "auto"])
@pytest.mark.parametrize("table", TABLES)
def test_every_array_is_as_exact_as_plain_float32(case, table, form):
    need(table)
    errors = case.errors(load(case.file(table, form)))
    ratios = {kind: error / case.plain_errors[kind] for kind, error in errors.items()}
    assert max(ratios.values()) <= ARRAY_BUDGET, ratios
    assert np.mean(list(ratios.values())) <= MEAN_BUDGET, ratios


@pytest.mark.parametrize("form", ["absorbed", "expanded", "auto"])
def test_avx2_and_avx512_give_the_same_bits(case, form):
    need("avx2", "avx512")
    assert case.file("avx2", form).read_bytes() == case.file("avx512", form).read_bytes()


def test_chunks_threads_and_company_do_not_change_a_bit(case):
    everything = case.run()
    for flags in (["--chunk", 1], ["--chunk", 7, "-t", 1], ["--chunk", 64, "-t", 2], ["--chunk", 10000, "-t", 1]):
        if flags[1] == 1 and sum(map(len, case.prompts)) > 1000:
            continue  # a second of nothing new
        assert case.run(*flags) == everything, flags
    alone = []
    for tokens in case.prompts:
        case.run(prompts=[tokens])
        alone.append(load(case.out))
    case.run()
    together = load(case.out)
    for name, values in numbered(alone).items():
        assert np.array_equal(values, together[name]), name


def test_no_spelling_changes_a_bit(case):
    kda = case.model.config["linear_attn_config"]
    H, C, W = kda["num_heads"], kda["num_heads"] * kda["head_dim"], kda["short_conv_kernel_size"]
    spellings = {
        "mlx": dict(naming="mlx", reshape={"A_log": (H, 1)}),
        "mlx_old": dict(naming="mlx_old", spelling="native", reshape={"_conv.conv.weight": (C, 1, W)}),
        "native": dict(naming="native", spelling="native", reshape={"A_log": (H,), ".conv1d.weight": (3 * C, W)}),
        "shards": dict(shards=3, reshape={"dt_bias": (H, C // H), "_conv1d.weight": (C, W)}),
        "shards_mlx": dict(naming="mlx", shards=2, reshape={"_conv.conv.weight": (C, W)}),
    }
    expected = case.run()
    for name, spelling in spellings.items():
        case.model.write(case.folder / name, **spelling)
        assert case.run(folder=case.folder / name) == expected, name


@pytest.mark.parametrize("flags, convention", [
    (["--router-weights", "hf"], dict(router_weights="hf")),
    (["--kv-a-eps", "1e-5", "--l2-eps", "1e-5"], dict(kv_a_eps=1e-5, l2_eps=1e-5)),
], ids=["router-weights", "eps"])
def test_flags_reproduce_other_conventions(case, flags, convention):
    tokens = case.prompts[-1]
    exact, plain = (Reference(case.model.config, case.model.weights, dtype, **convention).run(tokens)["logits"]
                    for dtype in (np.float64, np.float32))
    case.run(*flags, prompts=[tokens])
    assert np.abs(load(case.out)["logits"] - exact).max() <= ARRAY_BUDGET * np.abs(plain - exact).max()


@pytest.mark.parametrize("name", ["tiny", "headdims", "grouped", "softmax", "stress"])
def test_the_reference_is_right(name):
    """It agrees with float64 goldens that others computed, to the last digits of float64 (tests/golden/oracle)."""
    folder = ROOT / "tests/golden/oracle" / name
    config, golden = json.loads((folder / "config.json").read_text()), load(folder / "golden.safetensors")
    weights = {}
    for file in sorted(folder.glob("model*.safetensors")):
        weights.update(load(file))
    for tokens, logits in (("tokens", "logits_f64"), ("tokens2", "logits2_f64")):
        rows = golden["positions"] if name == "stress" and tokens == "tokens" else slice(None)
        run = Reference(config, weights).run(golden[tokens])
        assert np.abs(run["logits"][rows] - golden[logits]).max() < 1e-12
        for array in (a for a in golden if a.startswith("layer.") and tokens == "tokens"):
            stored_as_f32 = 1e-7 * np.abs(golden[array]).max()
            assert np.abs(run[array] - golden[array]).max() <= stored_as_f32, array
