import json
import os
import re
import shutil

import pytest
from conftest import EXIT_BAD_INPUT, EXIT_OK, KIMI_LINEAR_48B, run_kl

def report(ok, *args):
    return json.loads(ok("inspect", "--json", *args).out)


@pytest.fixture
def big_config(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(KIMI_LINEAR_48B))
    return path


def test_the_released_dimensions_are_counted_from_the_config_alone(ok, big_config):
    found = report(ok, "-m", big_config)
    assert found["parameters"] == 49_122_681_728
    assert found["tensors"] == 20_493
    assert 2.9e9 < found["active_parameters"] < 3.3e9
    assert found["weights"] is None
    kinds = [layer["attention"] for layer in found["layers"]]
    assert [i + 1 for i, kind in enumerate(kinds) if kind == "MLA"] == [4, 8, 12, 16, 20, 24, 27]
    assert [layer["feed_forward"] for layer in found["layers"]] == ["dense"] + ["MoE"] * 26
    text = ok("inspect", "-m", big_config).out
    assert "49,122,681,728" in text and "20,493" in text


def test_scratch_of_a_pass_is_given_for_the_flags_asked_for(ok):
    memory = {chunk: report(ok, "-t", "2", "--chunk", chunk, "--cache-type", "int8")["memory"] for chunk in ("64", "512")}
    assert [memory[chunk]["chunk"] for chunk in memory] == [64, 512]
    assert 4 < memory["512"]["scratch"] / memory["64"]["scratch"] < 8  # what a thread needs does not grow
    assert memory["64"]["state_per_token"] < report(ok)["memory"]["state_per_token"]
    assert report(ok)["memory"]["chunk"] == 512  # the model is small: a larger pass would not be


def test_memory_is_given_for_the_context_asked_for(ok, big_config):
    memory = report(ok, "-m", big_config, "--context", "1048576")["memory"]
    assert memory["state_fixed"] == 20 * (32 * 128 * 128 + 3 * 3 * 4096) * 4
    assert memory["state_per_token"] == 7 * (512 + 64) * 4
    assert memory["state_at_context"] == memory["state_fixed"] + 1048576 * memory["state_per_token"]
    assert "1,048,576 tokens: 17.0 GB" in ok("inspect", "-m", big_config, "--context", "1048576").out


def test_the_bundled_model_is_whole(ok, demo):
    found = report(ok)
    assert found["path"] == str(demo)
    assert found["problems"] == []
    assert found["weights"]["parameters"] == found["parameters"] > 1_000_000
    assert found["weights"]["tensors"] == found["tensors"]
    assert sum(layer["parameters"] for layer in found["layers"]) < found["parameters"]
    assert [f["name"] for f in found["weights"]["files"]] == ["model.safetensors"]
    assert found["weights"]["files"][0]["bytes"] == (demo / "model.safetensors").stat().st_size
    assert "tensor_list" not in found
    assert found["isa"] in found["available_isas"]


def test_tensors_are_listed_on_request(ok):
    found = report(ok, "--tensors")
    tensors = {t["name"]: t for t in found["tensor_list"]}
    assert len(tensors) == found["weights"]["tensors"]
    norm = tensors["model.norm.weight"]
    assert norm["shape"] == [found["config"]["hidden_size"]] and norm["file"] == "model.safetensors"
    text = ok("inspect", "--tensors").out
    assert all(f"  {name}  " in text for name in tensors)


def test_the_table_shows_every_layer_and_the_kernels_in_use(ok):
    text = ok("inspect").out
    kinds = [layer["attention"] for layer in report(ok)["layers"]]
    rows = re.findall(r"^ +(\d+)  (KDA|MLA) +(dense|MoE) +[\d,]+$", text, re.M)
    assert [(int(i), kind) for i, kind, _ in rows] == list(enumerate(kinds))
    assert "problems     none" in text
    forced = ok("inspect", env={"KL_ISA": "reference"}).out
    assert "kernels      reference (of " in forced


def test_everything_wrong_is_shown_at_once_and_fails(demo, tmp_path):
    broken = shutil.copytree(demo, tmp_path / "model")
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"intermediate_size": 100, "made_up": 1}))
    result = run_kl("inspect", "-m", broken, "--json")
    assert result.status == EXIT_BAD_INPUT
    found = json.loads(result.out)
    assert len([p for p in found["problems"] if "layers.0.mlp" in p]) == 3, "gate, up and down"
    assert any("made_up" in note for note in found["notes"])
    table = run_kl("inspect", "-m", broken)
    assert table.status == EXIT_BAD_INPUT
    assert table.out.count("PROBLEM") == len(found["problems"])
    assert "got 3 problems" in table.err


def test_a_truncated_file_is_reported_not_mapped(demo, tmp_path):
    broken = shutil.copytree(demo, tmp_path / "model")
    os.truncate(broken / "model.safetensors", 100_000)
    result = run_kl("inspect", "-m", broken, "--json")
    assert result.status == EXIT_BAD_INPUT
    assert any("model.safetensors" in p for p in json.loads(result.out)["problems"])
