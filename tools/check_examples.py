#!/usr/bin/env python3
"""The worked examples of docs/kda.md, mla.md and moe.md, computed; fails if a page shows other numbers.

    tools/check_examples.py [ROOT]        compares every block that follows a line <!-- example: NAME -->
    tools/check_examples.py --print NAME  prints the block as it should be

Plain Python on purpose: each function below is the equation of its page and nothing else.
"""
import math
import pathlib
import re
import sys


# --- vectors and matrices as lists ----------------------------------------------------------------------------------------

def dot(a, b): return sum(x * y for x, y in zip(a, b))
def add(a, b): return [x + y for x, y in zip(a, b)]
def scaled(c, a): return [c * x for x in a]
def times(a, b): return [x * y for x, y in zip(a, b)]
def transposed(m): return [list(column) for column in zip(*m)]
def apply(m, a): return [dot(row, a) for row in m]


def show(x):
    """4 decimals at most, no trailing zeros: numbers as one writes them by hand."""
    if isinstance(x, list):
        inner = [show(y) for y in x]
        return "[" + "  ".join(inner) + "]" if isinstance(x[0], list) else "(" + ", ".join(inner) + ")"
    text = f"{x:.4f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


# --- KDA ------------------------------------------------------------------------------------------------------------------

# Three tokens, K = V = 2.  k has unit length; q is already normalised and scaled.
ALPHA = [[1, 1], [0.5, 1], [1, 0.25]]
BETA = [1, 0.5, 1]
KEYS = [[1, 0], [0.6, 0.8], [0, 1]]
VALUES = [[2, 4], [1, 0], [3, 1]]
QUERIES = [[1, 0], [0, 1], [0.6, 0.8]]


def kda_step(S, alpha, beta, k, v, q):
    """One token; S is a list of K rows of V.  Returns the decayed state, what it recalls, u, the new state and the output."""
    decayed = [scaled(a, row) for a, row in zip(alpha, S)]
    recalled = apply(transposed(decayed), k)
    u = scaled(beta, add(v, scaled(-1, recalled)))
    S = [add(row, scaled(k_d, u)) for row, k_d in zip(decayed, k)]
    return decayed, recalled, u, S, apply(transposed(S), q)


def kda_recurrent():
    out = []
    S = [[0, 0], [0, 0]]
    for t in range(3):
        decayed, recalled, u, S, o = kda_step(S, ALPHA[t], BETA[t], KEYS[t], VALUES[t], QUERIES[t])
        out += [f"token {t + 1}   α = {show(ALPHA[t])}  β = {show(BETA[t])}  k = {show(KEYS[t])}  v = {show(VALUES[t])}  "
                f"q = {show(QUERIES[t])}",
                f"  decay    diag(α) S     = {show(decayed)}",
                f"  recall   Sᵀ k          = {show(recalled)}",
                f"  correct  u = β (v - ·) = {show(u)}",
                f"  write    S + k uᵀ      = {show(S)}",
                f"  read     o = Sᵀ q      = {show(o)}"]
    return out


def kda_chunked():
    """Tokens 2 and 3 as one chunk of C = 2; S is the state after token 1."""
    S = kda_step([[0, 0], [0, 0]], ALPHA[0], BETA[0], KEYS[0], VALUES[0], QUERIES[0])[3]
    alpha, beta, K, V, Q = ALPHA[1:], BETA[1:], KEYS[1:], VALUES[1:], QUERIES[1:]
    eG = [alpha[0], times(alpha[0], alpha[1])]                      # e^{G_i}: product of the decays up to token i
    since = [[[1, 1], None], [alpha[1], [1, 1]]]                    # e^{G_i - G_j}: product of the decays after token j
    B21 = beta[1] * dot(times(K[1], K[0]), since[1][0])
    X = [[dot(times(Q[0], K[0]), since[0][0]), 0],
         [dot(times(Q[1], K[0]), since[1][0]), dot(times(Q[1], K[1]), since[1][1])]]
    rhs_y = [scaled(b, times(k, e)) for b, k, e in zip(beta, K, eG)]
    rhs_z = [scaled(b, v) for b, v in zip(beta, V)]
    Y = [rhs_y[0], add(rhs_y[1], scaled(-B21, rhs_y[0]))]
    Z = [rhs_z[0], add(rhs_z[1], scaled(-B21, rhs_z[0]))]
    U = [add(z, scaled(-1, apply(transposed(S), y))) for z, y in zip(Z, Y)]
    O = [add(apply(transposed(S), times(q, e)), apply(transposed(U), x)) for q, e, x in zip(Q, eG, X)]
    to_end = [alpha[1], [1, 1]]                                     # e^{G_C - G_i}
    S_new = [scaled(eG[1][d], S[d]) for d in range(2)]
    for k, e, u in zip(K, to_end, U):
        S_new = [add(row, scaled(x, u)) for row, x in zip(S_new, times(k, e))]
    # The chunk must give what the recurrence gives.
    state = S
    for t in (1, 2):
        state, o = kda_step(state, ALPHA[t], BETA[t], KEYS[t], VALUES[t], QUERIES[t])[3:]
        assert all(abs(a - b) < 1e-12 for a, b in zip(o, O[t - 1]))
    assert all(abs(a - b) < 1e-12 for x, y in zip(state, S_new) for a, b in zip(x, y))
    return [f"S entering the chunk                   = {show(S)}",
            f"e^G                                    = {show(eG)}",
            f"B₂₁ = β₂ Σ k₂ k₁ e^(G₂-G₁)             = {show(B21)}",
            f"X                                      = {show(X)}",
            f"Y: row 1, then row 2 - B₂₁ row 1       = {show(Y)}",
            f"Z: row 1, then row 2 - B₂₁ row 1       = {show(Z)}",
            f"U  = Z - Y S                           = {show(U)}",
            f"O  = (Q ⊙ e^G) S + X U                 = {show(O)}",
            f"S  = diag(e^G₂) S + (K ⊙ e^(G₂-G))ᵀ U  = {show(S_new)}"]


def kda_family():
    """The same three tokens through KDA's ancestors: the state in the end, and what token 3 reads."""
    rows = []
    for name, use_delta, decay in [("linear attention", False, "none"), ("scalar decay (Mamba-2)", False, "scalar"),
                                   ("channel decay (GLA)", False, "channel"), ("delta rule (DeltaNet)", True, "none"),
                                   ("gated delta rule", True, "scalar"), ("KDA", True, "channel")]:
        S = [[0, 0], [0, 0]]
        for t in range(3):
            alpha = {"none": [1, 1], "scalar": [sum(ALPHA[t]) / 2] * 2, "channel": ALPHA[t]}[decay]
            if use_delta:
                S, o = kda_step(S, alpha, BETA[t], KEYS[t], VALUES[t], QUERIES[t])[3:]
            else:
                S = [add(scaled(a, row), scaled(k_d, VALUES[t])) for a, row, k_d in zip(alpha, S, KEYS[t])]
                o = apply(transposed(S), QUERIES[t])
        rows.append(f"{name:24} S = {show(S):34} recalled for k₃: {show(apply(transposed(S), KEYS[2])):14} o₃ = {show(o)}")
    return rows


def kda_gate():
    rows = ["z                    ρ                    g = -ρ softplus(z)      α = e^g"]
    for z, rate in [(-4, 1), (0, 1), (2, 1), (-4, 16), (0, 16), (2, 16)]:
        g = -rate * math.log1p(math.exp(z))
        alpha = math.exp(g)
        assert abs(alpha - (1 / (1 + math.exp(z))) ** rate) < 1e-12 * max(alpha, 1e-300) + 1e-15
        rows.append(f"{z:2}                   {rate:2}                  {g:8.4f}                {alpha:.3g}")
    return rows


# --- MLA ------------------------------------------------------------------------------------------------------------------

# One head: N = P = R = V = 2, two cached tokens, one query.
LATENTS = [[1, 0], [1, 2]]
K_PE = [[0, 1], [1, 1]]
Q_NOPE, Q_PE = [1, -1], [1, 0]
W_UK = [[1, 1], [0, 1]]
W_UV = [[1, 0], [1, 1]]


def softmax(s):
    e = [math.exp(x - max(s)) for x in s]
    return [x / sum(e) for x in e]


def mla_expanded():
    scale = 1 / math.sqrt(len(Q_NOPE) + len(Q_PE))
    keys = [apply(W_UK, c) for c in LATENTS]
    values = [apply(W_UV, c) for c in LATENTS]
    scores = [scale * (dot(Q_NOPE, k) + dot(Q_PE, pe)) for k, pe in zip(keys, K_PE)]
    p = softmax(scores)
    o = add(scaled(p[0], values[0]), scaled(p[1], values[1]))
    return [f"k_n = W_UK c       {show(keys[0])}  {show(keys[1])}",
            f"v   = W_UV c       {show(values[0])}  {show(values[1])}",
            f"q_n·k_n            {show(dot(Q_NOPE, keys[0]))}  {show(dot(Q_NOPE, keys[1]))}",
            f"q_p·k_p            {show(dot(Q_PE, K_PE[0]))}  {show(dot(Q_PE, K_PE[1]))}",
            f"score = sum / √4   {show(scores[0])}  {show(scores[1])}",
            f"p = softmax        {show(p[0])}  {show(p[1])}",
            f"o = Σ p v          {show(o)}"], o


def mla_absorbed():
    scale = 1 / math.sqrt(len(Q_NOPE) + len(Q_PE))
    q_latent = apply(transposed(W_UK), Q_NOPE)
    scores = [scale * (dot(q_latent, c) + dot(Q_PE, pe)) for c, pe in zip(LATENTS, K_PE)]
    p = softmax(scores)
    mean = add(scaled(p[0], LATENTS[0]), scaled(p[1], LATENTS[1]))
    o = apply(W_UV, mean)
    return [f"q̃   = W_UKᵀ q_n    {show(q_latent)}",
            f"q̃·c                {show(dot(q_latent, LATENTS[0]))}  {show(dot(q_latent, LATENTS[1]))}",
            f"q_p·k_p            {show(dot(Q_PE, K_PE[0]))}  {show(dot(Q_PE, K_PE[1]))}",
            f"score = sum / √4   {show(scores[0])}  {show(scores[1])}",
            f"p = softmax        {show(p[0])}  {show(p[1])}",
            f"ĉ = Σ p c          {show(mean)}",
            f"o = W_UV ĉ         {show(o)}"], o


def mla_forms():
    expanded, o1 = mla_expanded()
    absorbed, o2 = mla_absorbed()
    assert all(abs(a - b) < 1e-12 for a, b in zip(o1, o2))
    return ["expanded"] + expanded + ["", "absorbed"] + absorbed


def mla_costs():
    """FLOPs of Kimi-Linear-48B-A3B, one head."""
    R, N, P, V = 512, 128, 64, 128
    absorbed, expanded, expansion = 2 * (R + P) + 2 * R, 2 * (N + P) + 2 * V, 2 * R * (N + V)
    return [f"absorbed   2·(R+P) + 2·R       = {absorbed:6} FLOP per query and key",
            f"expanded   2·(N+P) + 2·V       = {expanded:6} FLOP per query and key",
            f"           2·R·(N+V)           = {expansion:6} FLOP per key, once per pass",
            f"break-even {expansion} / ({absorbed} - {expanded}) = {expansion / (absorbed - expanded):.1f} queries per pass"]


# --- MoE ------------------------------------------------------------------------------------------------------------------

LOGITS = [math.log(4), 0, -math.log(1.5), -math.log(4)]
BIAS = [0, -0.15, 0.05, 0]
SCALE = 2.446


def largest(values, n):
    return sorted(sorted(range(len(values)), key=lambda i: (-values[i], i))[:n])


def weights_of(chosen, values):
    total = sum(values[i] for i in chosen)
    return [values[i] / total * SCALE for i in chosen]


def moe_bias():
    s = [1 / (1 + math.exp(-x)) for x in LOGITS]
    c = add(s, BIAS)
    plain, steered = largest(s, 2), largest(c, 2)
    return ["expert                          0        1        2        3",
            "logit                " + "".join(f"{x:9.4f}" for x in LOGITS),
            "score s = σ(logit)   " + "".join(f"{x:9.4f}" for x in s),
            "bias                 " + "".join(f"{x:9.4f}" for x in BIAS),
            "s + bias             " + "".join(f"{x:9.4f}" for x in c),
            "",
            f"without the bias     experts {plain}   weights {show(weights_of(plain, s))}",
            f"as intended          experts {steered}   weights {show(weights_of(steered, s))}",
            f"the released code    experts {steered}   weights {show(weights_of(steered, c))}"]


def moe_groups():
    c = [0.9, 0.05, 0.6, 0.5, 0.7, 0.1]
    groups = [c[i:i + 2] for i in (0, 2, 4)]
    scores = [sum(sorted(g)[-2:]) for g in groups]
    kept = largest(scores, 2)
    masked = [x if i // 2 in kept else -math.inf for i, x in enumerate(c)]
    return [f"s + bias       {show(groups[0])}  {show(groups[1])}  {show(groups[2])}",
            f"group score     {show(scores[0])}         {show(scores[1])}         {show(scores[2])}",
            f"groups kept    {kept}",
            f"experts        {largest(masked, 2)}      (without groups: {largest(c, 2)})"]


EXAMPLES = {"kda-recurrent": kda_recurrent, "kda-chunked": kda_chunked, "kda-family": kda_family, "kda-gate": kda_gate,
            "mla-forms": mla_forms, "mla-costs": mla_costs, "moe-bias": moe_bias, "moe-groups": moe_groups}


def check_tree(root):
    problems, shown = [], set()
    for path in sorted((root / "docs").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(r"<!-- example: ([\w-]+) -->\n```\w*\n(.*?)\n```", text, re.S):
            name, block = match[1], match[2].splitlines()
            shown.add(name)
            expected = [line.rstrip() for line in EXAMPLES[name]()]
            if block != expected:
                problems.append(f"{path.relative_to(root)}: example {name}: expected\n" + "\n".join(expected))
    problems += [f"docs: example {name} is computed but shown nowhere" for name in EXAMPLES if name not in shown]
    return problems


def main():
    if sys.argv[1:2] == ["--print"]:
        print("\n".join(line.rstrip() for line in EXAMPLES[sys.argv[2]]()))
        return 0
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent)
    problems = check_tree(root)
    print("\n".join(problems) if problems else f"{len(EXAMPLES)} worked examples agree with the docs")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
