#!/usr/bin/env python3
"""What mlx-lm computes for a list of tokens, as a dump that `kl verify --against` reads (docs/verify.md).

    tools/dump_mlx.py -m DIR --tokens FILE -o DUMP.safetensors [--dtype float32]

FILE holds token ids separated by white space, one sequence per line, as for `kl logits`.  Without --dtype the weights keep
their types, and mlx computes in them.
Needs:  pip install mlx-lm        (and mlx[cpu] where there is no Apple chip)
"""
import argparse
import pathlib
import sys


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", required=True, type=pathlib.Path, metavar="DIR")
    parser.add_argument("--tokens", required=True, type=pathlib.Path, metavar="FILE")
    parser.add_argument("-o", "--out", required=True, type=pathlib.Path, metavar="DUMP.safetensors")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], help="cast the weights to this first")
    return parser.parse_args()


def libraries():
    """mlx.core, mlx_lm and its loader, or a word on what to install."""
    try:
        import mlx.core
        import mlx_lm
        import mlx_lm.utils
    except ImportError as error:
        sys.exit(f"{error.name}: expected to be installed, got none: pip install mlx-lm, and mlx[cpu] on Linux")
    return mlx.core, mlx_lm


def read_sequences(path):
    sequences = [[int(word) for word in line.split()] for line in path.read_text().splitlines() if line.strip()]
    return sequences or sys.exit(f"{path}: expected token ids, got none")


class Recorder:
    """Stands in for a layer and keeps what comes out of it.  Other attributes are the layer's."""

    def __init__(self, inner, before, after):
        self.inner, self.before, self.after = inner, before, after

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def __call__(self, *args, **options):
        self.before()
        return self.after(self.inner(*args, **options))


def record_layers(mx, model, arrays):
    """From now on every call leaves the streams after each layer and its router's choice in `arrays`."""
    import mlx_lm.models.kimi_linear as family
    layers, at_work = model.model.layers, [0]

    def recorder(i):
        def before():
            at_work[0] = i

        def after(output):
            arrays[f"layer.{i}.hidden"] = output[0]
            return output
        return before, after

    select = family._group_expert_select  # what mlx-lm calls in every MoE block

    def record_choice(*args):
        ids, weights = select(*args)
        order = mx.argsort(ids[0], axis=-1)
        arrays[f"layer.{at_work[0]}.router_ids"] = mx.take_along_axis(ids[0], order, axis=-1).astype(mx.int32)
        arrays[f"layer.{at_work[0]}.router_weights"] = mx.take_along_axis(weights[0], order, axis=-1)
        return ids, weights

    family._group_expert_select = record_choice
    for i, layer in enumerate(list(layers)):
        layers[i] = Recorder(layer, *recorder(i))
    return layers


def add_states(mx, cache, layers, arrays):
    """KDA: convolution rows of q, k, v and the state, which mlx-lm holds transposed.  MLA: latents."""
    for i, (state, layer) in enumerate(zip(cache, layers)):
        if getattr(layer.inner, "is_linear", False):
            q, k, v, S = (state[j] for j in range(4))
            arrays[f"layer.{i}.conv_state"] = mx.stack([q[0], k[0], v[0]])
            arrays[f"layer.{i}.kda_state"] = S[0].swapaxes(1, 2)
        else:
            arrays[f"layer.{i}.mla_latent"] = state.keys[0, 0, :state.offset]
            arrays[f"layer.{i}.mla_k_pe"] = state.values[0, 0, :state.offset]


def main():
    args = arguments()
    mx, mlx_lm = libraries()
    sequences = read_sequences(args.tokens)
    model, _ = mlx_lm.utils.load_model(args.model)
    if args.dtype:
        model.set_dtype(getattr(mx, args.dtype))
    recorded, arrays = {}, {}
    layers = record_layers(mx, model, recorded)
    for s, tokens in enumerate(sequences):
        recorded.clear()
        cache = model.make_cache()
        recorded["logits"] = model(mx.array([tokens]), cache=cache)[0]
        recorded["tokens"] = mx.array(tokens, dtype=mx.int32)
        add_states(mx, cache, layers, recorded)
        mx.eval(list(recorded.values()))
        arrays.update({name + (f".{s}" if s else ""): mx.contiguous(a) for name, a in recorded.items()})
    dtype = str(arrays["logits"].dtype).removeprefix("mlx.core.")
    mx.save_safetensors(str(args.out), arrays, metadata={"program": f"mlx-lm {mlx_lm.__version__}", "dtype": dtype})
    print(f"{args.out}: {len(arrays)} arrays of {len(sequences)} sequences, {dtype}")


if __name__ == "__main__":
    main()
