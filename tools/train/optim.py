"""Muon for the matrices inside the layers, AdamW for everything else.

Muon (Jordan et al., 2024) replaces a matrix's momentum by the nearest orthogonal matrix, found by a few
Newton-Schulz steps.  With the factor 0.2 sqrt(max(rows, columns)) (Liu et al., "Muon is scalable for LLM training",
2025) its steps are as large as AdamW's, so both share one learning rate and one weight decay.
"""

from collections import defaultdict

import torch

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
ADAMW_ONLY = ("embed_tokens", "lm_head", "gate.weight", "conv1d")


def orthogonalise(G, steps=5):
    """G [N, rows, cols] -> N matrices with singular values near 1."""
    a, b, c = NEWTON_SCHULZ
    tall = G.shape[-2] > G.shape[-1]
    X = G.transpose(-1, -2) if tall else G
    X = X / (X.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(steps):
        XXt = X @ X.transpose(-1, -2)
        X = a * X + (b * XXt + c * XXt @ XXt) @ X
    return X.transpose(-1, -2) if tall else X


class Muon(torch.optim.Optimizer):
    """Matrices of one shape are updated as one batch: there are over a hundred small ones."""

    def __init__(self, params, lr, weight_decay, momentum=0.95):
        super().__init__(list(params), dict(lr=lr, weight_decay=weight_decay, momentum=momentum))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            by_shape = defaultdict(list)
            for p in group["params"]:
                by_shape[p.shape].append(p)
            for shape, params in by_shape.items():
                momentum = self.state[params[0]].setdefault("momentum", torch.zeros(len(params), *shape))
                grads = torch.stack([p.grad for p in params])
                momentum.lerp_(grads, 1 - group["momentum"])
                update = orthogonalise(grads.lerp_(momentum, group["momentum"]))  # Nesterov
                scale = group["lr"] * 0.2 * max(shape) ** 0.5
                torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_sub_(params, list((update * scale).unbind()))


def make_optimizers(model, lr, weight_decay, use_muon):
    """Weight decay applies to matrices only: not to norms, A_log, dt_bias or the convolutions."""
    muon, decayed, plain = [], [], []
    for name, p in model.named_parameters():
        is_matrix = p.ndim == 2
        if use_muon and is_matrix and not any(word in name for word in ADAMW_ONLY):
            muon.append(p)
        else:
            (decayed if is_matrix else plain).append(p)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizers = [torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), fused=True)]
    if muon:
        optimizers.append(Muon(muon, lr, weight_decay))
    return optimizers
