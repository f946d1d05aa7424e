"""Reading and writing checkpoint folders in the released model's layout."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from config import KimiLinearConfig
from model import KimiLinearForCausalLM

F32_SUFFIXES = ("A_log", "dt_bias")  # everything else is stored in bf16


def load_model(folder):
    """The f32 model in eval mode, from config.json and all *.safetensors shards of `folder`."""
    folder = Path(folder)
    model = KimiLinearForCausalLM(KimiLinearConfig.load(folder / "config.json"))
    tensors = {}
    for shard in sorted(folder.glob("model*.safetensors")):
        tensors.update(load_file(shard))
    model.load_state_dict({name: t.float() for name, t in tensors.items()})
    return model.eval()


def save_checkpoint(folder, model, tokenizer):
    """Writes config.json, generation_config.json, model.safetensors and the tokenizer's files."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: t.detach().to(torch.float32 if name.endswith(F32_SUFFIXES) else torch.bfloat16).contiguous()
        for name, t in model.state_dict().items()
    }
    path = folder / "model.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)
    bos, eos, pad = (tokenizer.special[name] for name in ("[BOS]", "<|im_end|>", "[PAD]"))
    write_json(folder / "config.json", model.config.to_json(bos, eos, pad))
    write_json(folder / "generation_config.json", {
        "bos_token_id": bos, "eos_token_id": eos, "pad_token_id": pad,
    })  # fmt: skip
    tokenizer.save(folder)


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
