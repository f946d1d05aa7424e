"""Writes mlx_lm.json: what mlx-lm's own filters and penalties do to random logits.

    pip install mlx mlx-lm && python3 make_golden.py > mlx_lm.json      (written with mlx 0.32.4, mlx-lm 0.32.2)
"""
import json
import random

import mlx.core as mx
from mlx_lm import sample_utils

VOCAB = 40
random.seed(7)


def logits(with_ties):
    step = 2.0 if with_ties else 2.0**-16
    return [round(random.gauss(0, 3) / step) * step for _ in range(VOCAB)]


def filter_case(top_p, min_p, top_k, with_ties=False):
    values = logits(with_ties)
    x = mx.array(values)[None]
    x = x - mx.logsumexp(x, keepdims=True)
    if 0 < top_p < 1:
        x = sample_utils.apply_top_p(x, top_p)
    if min_p != 0:
        x = sample_utils.apply_min_p(x, min_p)
    if top_k > 0:
        x = sample_utils.apply_top_k(x, top_k)
    kept = [i for i, v in enumerate(x[0].tolist()) if v != float("-inf")]
    return {"logits": values, "top_p": top_p, "min_p": min_p, "top_k": top_k, "kept": kept}


def penalty_case(repetition, presence, frequency, context, bias):
    values = logits(False)
    history = [random.randrange(VOCAB // 3) for _ in range(24)]
    processors = sample_utils.make_logits_processors(
        logit_bias=bias, repetition_penalty=repetition, repetition_context_size=context,
        presence_penalty=presence, presence_context_size=context,
        frequency_penalty=frequency, frequency_context_size=context)
    x = mx.array(values)[None]
    for process in processors:
        x = process(mx.array(history), x)
    ranking = sorted(range(VOCAB), key=lambda i: -x[0, i].item())
    return {"logits": values, "history": history, "context": context, "repetition_penalty": repetition,
            "presence_penalty": presence, "frequency_penalty": frequency,
            "logit_bias": sorted(bias.items()), "ranking": ranking}


filters = [filter_case(p, m, k) for p in (1.0, 0.95, 0.7, 0.3, 0.01) for m in (0.0, 0.02, 0.3, 1.0) for k in (0, 1, 3, 12)]
filters += [filter_case(p, 0.0, 0, with_ties=True) for p in (0.99, 0.9, 0.8, 0.6, 0.5, 0.4, 0.2)]
penalties = [penalty_case(r, p, f, c, b)
             for r, p, f in ((1.0, 0.0, 0.0), (1.3, 0.0, 0.0), (0.7, 0.0, 0.0), (1.0, 1.5, 0.0), (1.0, 0.0, 0.8), (1.2, 0.5, 0.3))
             for c in (20, 5) for b in ({}, {3: 2.5, 17: -4.0})]
print(json.dumps({"filters": filters, "penalties": penalties}))
