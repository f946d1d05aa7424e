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


# The dimensions of the released model.
KIMI_LINEAR_48B = {
    "model_type": "kimi_linear", "vocab_size": 163840, "hidden_size": 2304, "num_hidden_layers": 27,
    "num_attention_heads": 32, "num_key_value_heads": 32, "intermediate_size": 9216, "kv_lora_rank": 512,
    "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "q_lora_rank": None, "hidden_act": "silu",
    "num_experts": 256, "num_experts_per_token": 8, "num_shared_experts": 1, "moe_intermediate_size": 1024,
    "first_k_dense_replace": 1, "moe_layer_freq": 1, "moe_renormalize": True, "routed_scaling_factor": 2.446,
    "moe_router_activation_func": "sigmoid", "num_expert_group": 1, "topk_group": 1, "use_grouped_topk": True,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": None, "tie_word_embeddings": False,
    "mla_use_nope": True, "num_nextn_predict_layers": 0, "model_max_length": 1048576, "dtype": "bfloat16",
    "bos_token_id": 163584, "eos_token_id": 163586, "pad_token_id": 163839,
    "linear_attn_config": {
        "full_attn_layers": [4, 8, 12, 16, 20, 24, 27],
        "kda_layers": [i for i in range(1, 28) if i not in (4, 8, 12, 16, 20, 24, 27)],
        "num_heads": 32, "head_dim": 128, "short_conv_kernel_size": 4},
}


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
