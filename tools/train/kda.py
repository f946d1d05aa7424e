"""The KDA state update, twice: the recurrence that defines it and the chunked form used to train.

Letters: B batch, T tokens, H heads, K key dim, V value dim, C chunk length, n = T / C chunks.

What both functions compute, per head, with state S [K, V] starting at zero:

    S_t = Diag(exp g_t) S_{t-1}              decay every key channel
    u_t = beta_t (v_t - S_t^T k_t)           what the decayed state got wrong
    S_t = S_t + k_t u_t^T                    correct it
    o_t = S_t^T q_t                          read

`recurrent_kda` follows these lines and never clamps anything: evaluation uses it.
`chunk_kda` uses matrix products only and is about as fast as a small model on a CPU can hope for, at the price
of one assumption: log decays below `MIN_LOG_DECAY` are raised to it.  Training uses it.
"""

import torch

CHUNK = 32
# exp(G_i - G_mid) must stay inside f32: half a chunk of the strongest decay, 16 * 5 = 80 < 88.
MIN_LOG_DECAY = -5.0


def recurrent_kda(q, k, v, g, beta):
    """The definition, one token at a time.

    Shapes    q, k, g: [B, T, H, K]   v: [B, T, H, V]   beta: [B, T, H]   returns o: [B, T, H, V].
    Units     g: natural-log decay, <= 0.   q: L2-normalised and scaled by K^-1/2.   beta in (0, 1).
    """
    B, T, H, K = q.shape
    S = q.new_zeros(B, H, K, v.shape[-1])
    alpha = g.exp()
    outputs = []
    for t in range(T):
        S = S * alpha[:, t, :, :, None]
        k_t = k[:, t, :, :, None]
        u_t = beta[:, t, :, None] * (v[:, t] - (S * k_t).sum(-2))
        S = S + k_t * u_t[:, :, None, :]
        outputs.append((S * q[:, t, :, :, None]).sum(-2))
    return torch.stack(outputs, dim=1)


def unit_lower_inverse(A):
    """(I + A)^-1 for strictly lower triangular A [..., C, C], C a power of two.

    A^C = 0, so the Neumann series is finite and factors:
        (I + A)^-1 = (I - A) (I + A^2) (I + A^4) ... (I + A^(C/2))
    """
    C = A.shape[-1]
    inverse = torch.eye(C, dtype=A.dtype) - A
    power, exponent = A, 1
    while 2 * exponent < C:
        power, exponent = power @ power, 2 * exponent
        inverse = inverse + inverse @ power
    return inverse


def chunk_kda(q, k, v, g, beta):
    """The same map as `recurrent_kda`, in chunks of C tokens joined by one state update each.

    Within a chunk, G_i = g_1 + ... + g_i.  The corrections u_1..u_C depend on each other through

        (I + A) u = beta (v - (k exp G) S_in),   A_ij = beta_i sum_d k_i k_j exp(G_i - G_j),  j < i

    so one triangular inverse per chunk gives u = U - W S_in.  The decay between two rows is split at the middle
    row r of the chunk, exp(G_i - G_r) exp(G_r - G_j), which is what needs MIN_LOG_DECAY.

    Shapes    as recurrent_kda; T must be a multiple of CHUNK.
    """
    B, T, H, K = q.shape
    C, n = CHUNK, T // CHUNK

    def to_chunks(x):  # [B, T, H, X] -> [B*H, n, C, X]
        return x.reshape(B, n, C, H, -1).permute(0, 3, 1, 2, 4).reshape(B * H, n, C, -1)

    q, k, v, beta = map(to_chunks, (q, k, v, beta[..., None]))
    G = to_chunks(g.clamp(min=MIN_LOG_DECAY)).cumsum(-2)
    G_mid = G[:, :, C // 2 - 1 : C // 2]
    G_end = G[:, :, -1:]
    from_mid = (G - G_mid).exp()
    k_back = k * (G_mid - G).exp()
    A = (beta * (k * from_mid)) @ k_back.transpose(-1, -2)
    X = (q * from_mid) @ k_back.transpose(-1, -2)
    inverse = unit_lower_inverse(A.tril(-1))
    X = X.tril()

    decay = G.exp()
    W = inverse @ (beta * k * decay)
    U = inverse @ (beta * v)
    k_end_t = (k * (G_end - G).exp()).transpose(-1, -2)
    # S_out = M S_in + N: everything but this product is done for all chunks at once.
    M = torch.diag_embed(G_end.squeeze(-2).exp()) - k_end_t @ W
    N = k_end_t @ U
    states = [torch.zeros_like(N[:, 0])]
    for c in range(n - 1):
        states.append(torch.baddbmm(N[:, c], M[:, c], states[-1]))
    S_in = torch.stack(states, dim=1)
    o = (q * decay - X @ W) @ S_in + X @ U
    return o.reshape(B, H, n, C, -1).permute(0, 2, 3, 1, 4).reshape(B, T, H, -1)
