#!/usr/bin/env python3
"""What transformers computes for a list of tokens, as a dump that `kl verify --against` reads (docs/verify.md).

    tools/dump_hf.py -m DIR --tokens FILE -o DUMP.safetensors [--dtype float32] [--remote-code]

FILE holds token ids separated by white space, one sequence per line, as for `kl logits`.  The model is transformers' own;
--remote-code runs the code that lies in the folder instead, which needs fla-core.
Needs:  pip install torch transformers safetensors
"""
import argparse
import pathlib
import re
import sys


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", required=True, type=pathlib.Path, metavar="DIR")
    parser.add_argument("--tokens", required=True, type=pathlib.Path, metavar="FILE")
    parser.add_argument("-o", "--out", required=True, type=pathlib.Path, metavar="DUMP.safetensors")
    parser.add_argument("--dtype", default="float32", choices=["float64", "float32", "bfloat16", "float16"])
    parser.add_argument("--remote-code", action="store_true", help="run the code in the folder")
    return parser.parse_args()


def libraries():
    """torch, transformers and safetensors' writer, or a word on what to install."""
    try:
        import safetensors.torch
        import torch
        import transformers
    except ImportError as error:
        sys.exit(f"{error.name}: expected to be installed, got none: pip install torch transformers safetensors")
    return torch, transformers, safetensors.torch.save_file


def read_sequences(path):
    sequences = [[int(word) for word in line.split()] for line in path.read_text().splitlines() if line.strip()]
    return sequences or sys.exit(f"{path}: expected token ids, got none")


def first_tensor(output):
    """Layers answer with a tensor or a tuple that begins with one."""
    return output[0] if isinstance(output, (tuple, list)) else output


class Recorder:
    """Hooks on the layers and routers of a model; `arrays` holds what went through since the last clear()."""

    def __init__(self, torch, model):
        self.torch, self.arrays = torch, {}
        for name, module in model.named_modules():
            layer = re.search(r"\blayers\.(\d+)$", name)
            router = re.search(r"\blayers\.(\d+)\.(?:mlp|block_sparse_moe)\.gate$", name)
            if layer:
                module.register_forward_hook(self.hidden_hook(int(layer[1])))
            elif router:
                module.register_forward_hook(self.router_hook(int(router[1])))

    def hidden_hook(self, i):
        def hook(_module, _inputs, output):
            self.arrays[f"layer.{i}.hidden"] = first_tensor(output).reshape(-1, first_tensor(output).shape[-1])
        return hook

    def router_hook(self, i):
        """Routers answer with ids and weights among other things: ids are integers, weights have their shape."""
        def hook(_module, _inputs, output):
            parts = [p for p in (output if isinstance(output, (tuple, list)) else (output,)) if p is not None]
            ids = next((p for p in parts if not p.is_floating_point()), None)
            if ids is None:
                return
            weights = [p for p in parts if p.is_floating_point() and p.numel() == ids.numel()][-1]
            ids, order = ids.reshape(-1, ids.shape[-1]).sort(dim=-1)
            self.arrays[f"layer.{i}.router_ids"] = ids.to(self.torch.int32)
            self.arrays[f"layer.{i}.router_weights"] = weights.reshape(ids.shape).gather(1, order)
        return hook


def main():
    args = arguments()
    torch, transformers, save_file = libraries()
    sequences = read_sequences(args.tokens)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        args.model, dtype=getattr(torch, args.dtype), trust_remote_code=args.remote_code, attn_implementation="eager").eval()
    recorder, arrays = Recorder(torch, model), {}
    for s, tokens in enumerate(sequences):
        recorder.arrays.clear()
        ids = torch.tensor([tokens])
        with torch.no_grad():
            recorder.arrays["logits"] = model(ids, use_cache=False).logits[0]
        recorder.arrays["tokens"] = ids[0]
        arrays.update({name + (f".{s}" if s else ""): a.detach().clone().contiguous() for name, a in recorder.arrays.items()})
    save_file(arrays, args.out, metadata={"program": f"transformers {transformers.__version__}", "dtype": args.dtype})
    print(f"{args.out}: {len(arrays)} arrays of {len(sequences)} sequences, {args.dtype}")


if __name__ == "__main__":
    main()
