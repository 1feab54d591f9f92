"""The selective scan's kernels for CUDA, in Triton's dialect of Python.

Equations and letters as in ``selective_scan``. Each of the S = B K sequences is cut into chunks of
a few dozen tokens. One program, which is one warp, walks through one chunk with the states of
``BLOCK_D`` channels in its registers, so that a thread owns a channel and sums over its own states:

    program (chunk, block of channels, sequence);  state h (BLOCK_N,BLOCK_D)

| buffer            | shape            | meaning                                                |
|-------------------|------------------|--------------------------------------------------------|
| u, delta, y, dy   | (S,L,D)          |                                                        |
| B, C              | (S,L,N)          |                                                        |
| A                 | (K,N,D)          | sequence s has the rates of s mod K                    |
| ends, entries     | (S,chunks,N,D)   | h after a chunk that starts with zero; h before it     |
| sums              | (S,chunks,D)     | of delta over the chunk: its decay is exp(sum A)       |
| states            | (S,L',N,D)       | h before each token of the chunks at work              |

Only exponents <= 0 occur. All buffers are contiguous and float32.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def _rates(A, s, K, D, N: tl.constexpr, tile, inside):
    """(BLOCK_N,BLOCK_D) the rates of sequence s, for powers of two instead of e."""
    return tl.load(A + (s % K) * N * D + tile, inside, 0.0) * LOG2_E


@triton.jit
def _tile(D, N: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr):
    """This program's states n and channels d, the place of each pair in (N,D), and which exist."""
    n = tl.arange(0, BLOCK_N)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    return n, d, n[:, None] * D + d[None, :], (n[:, None] < N) & (d[None, :] < D)


@triton.jit
def _token(token, s, length, d, D):
    """Its row in the buffers, whether it exists, and which of its channels do.

    Beyond the last token everything is zero, and a step of zero changes no state.
    """
    real = token < length
    return s * length + token, real, real & (d < D)


@triton.jit
def chunk_ends(
    u, delta, A, B, ends, sums, length, K, D,
    TOKENS: tl.constexpr, N: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """The state after each chunk that starts with zero, and the sum of its steps."""
    chunk, s = tl.program_id(0), tl.program_id(2).to(tl.int64)
    n, d, tile, inside = _tile(D, N, BLOCK_N, BLOCK_D)
    rates = _rates(A, s, K, D, N, tile, inside)
    h = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    total = tl.zeros((BLOCK_D,), tl.float32)
    for token in tl.range(TOKENS, num_stages=STAGES):
        row, real, there = _token(chunk * TOKENS + token, s, length, d, D)
        step = tl.load(delta + row * D + d, there, 0.0)
        drive = step * tl.load(u + row * D + d, there, 0.0)
        into = tl.load(B + row * N + n, real & (n < N), 0.0)
        h = tl.exp2(step[None, :] * rates) * h + into[:, None] * drive[None, :]
        total += step
    place = s * tl.num_programs(0) + chunk
    tl.store(ends + place * N * D + tile, h, inside)
    tl.store(sums + place * D + d, total, d < D)


@triton.jit
def chunk_outputs(
    u, delta, A, B, C, skip, entries, y, length, K, D,
    TOKENS: tl.constexpr, N: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """y of each chunk, which starts with its entry."""
    chunk, s = tl.program_id(0), tl.program_id(2).to(tl.int64)
    n, d, tile, inside = _tile(D, N, BLOCK_N, BLOCK_D)
    rates = _rates(A, s, K, D, N, tile, inside)
    past = tl.load(skip + (s % K) * D + d, d < D, 0.0)
    h = tl.load(entries + (s * tl.num_programs(0) + chunk) * N * D + tile, inside, 0.0)
    for token in tl.range(TOKENS, num_stages=STAGES):
        row, real, there = _token(chunk * TOKENS + token, s, length, d, D)
        step = tl.load(delta + row * D + d, there, 0.0)
        value = tl.load(u + row * D + d, there, 0.0)
        into = tl.load(B + row * N + n, real & (n < N), 0.0)
        out_of = tl.load(C + row * N + n, real & (n < N), 0.0)
        h = tl.exp2(step[None, :] * rates) * h + into[:, None] * (step * value)[None, :]
        tl.store(y + row * D + d, tl.sum(out_of[:, None] * h, 0) + past * value, there)


@triton.jit
def chunk_adjoints(
    delta, A, C, dy, ends, length, K, D,
    TOKENS: tl.constexpr, N: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """q = exp(delta_l A) g_l at the first token of each chunk whose successor's q is zero.

    g_l = C_l dy_l + q_{l+1} is the derivative of the loss by h_l.
    """
    chunk, s = tl.program_id(0), tl.program_id(2).to(tl.int64)
    n, d, tile, inside = _tile(D, N, BLOCK_N, BLOCK_D)
    rates = _rates(A, s, K, D, N, tile, inside)
    q = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    for back in tl.range(1, TOKENS + 1, num_stages=STAGES):
        row, real, there = _token((chunk + 1) * TOKENS - back, s, length, d, D)
        step = tl.load(delta + row * D + d, there, 0.0)
        pull = tl.load(dy + row * D + d, there, 0.0)
        out_of = tl.load(C + row * N + n, real & (n < N), 0.0)
        q = tl.exp2(step[None, :] * rates) * (out_of[:, None] * pull[None, :] + q)
    tl.store(ends + (s * tl.num_programs(0) + chunk) * N * D + tile, q, inside)


@triton.jit
def _follow(decay, h, next_decay, next_h):
    """Two stretches of a recurrence as one."""
    return decay * next_decay, next_decay * h + next_h


@triton.jit
def chain(
    ends, sums, A, entries, K, D,
    chunks: tl.constexpr, N: tl.constexpr, REVERSE: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """What each chunk starts with, for one state: program (state, block of channels, sequence).

    ``REVERSE`` goes from the last chunk to the first. ``entries`` of the chunk that has no
    predecessor must be zero and stays so.
    """
    n, s = tl.program_id(0), tl.program_id(2).to(tl.int64)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    c = tl.arange(0, BLOCK_C)
    rate = tl.load(A + ((s % K) * N + n) * D + d, d < D, 0.0) * LOG2_E
    h = tl.zeros((BLOCK_D,), tl.float32)
    for first in range(0, chunks, BLOCK_C):
        visited = first + c
        chunk = chunks - 1 - visited if REVERSE else visited
        after = chunk - 1 if REVERSE else chunk + 1
        inside = (visited[:, None] < chunks) & (d[None, :] < D)
        total = tl.load(sums + (s * chunks + chunk[:, None]) * D + d[None, :], inside, 0.0)
        place = ((s * chunks + chunk[:, None]) * N + n) * D + d[None, :]
        decay = tl.exp2(total * rate[None, :])
        through, h_end = tl.associative_scan(
            (decay, tl.load(ends + place, inside, 0.0)), 0, _follow
        )
        h_end += through * h[None, :]
        place = ((s * chunks + after[:, None]) * N + n) * D + d[None, :]
        tl.store(entries + place, h_end, inside & (visited[:, None] < chunks - 1))
        h = tl.sum(tl.where(c[:, None] == BLOCK_C - 1, h_end, 0.0), 0)


@triton.jit
def chunk_gradients(
    u, delta, A, B, C, skip, dy, entries, adjoints, states,
    du, ddelta, dA, dB, dC, dskip, length, first, chunks, K, D,
    TOKENS: tl.constexpr, N: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """All gradients of the chunks from ``first`` on; of A and skip by chunk, of B and C by block.

    dA (S,chunks,N,D), dskip (S,chunks,D), dB and dC (blocks,S,L,N). A chunk's states are computed
    again from its entry and kept for the way back.
    """
    chunk, s = first + tl.program_id(0), tl.program_id(2).to(tl.int64)
    n, d, tile, inside = _tile(D, N, BLOCK_N, BLOCK_D)
    rates = _rates(A, s, K, D, N, tile, inside)
    past = tl.load(skip + (s % K) * D + d, d < D, 0.0)
    place = s * chunks + chunk
    h = tl.load(entries + place * N * D + tile, inside, 0.0)
    kept = states + (s * tl.num_programs(0) + tl.program_id(0)) * TOKENS * N * D + tile
    for token in tl.range(TOKENS, num_stages=STAGES):
        row, real, there = _token(chunk * TOKENS + token, s, length, d, D)
        tl.store(kept + token * N * D, h, inside)
        step = tl.load(delta + row * D + d, there, 0.0)
        drive = step * tl.load(u + row * D + d, there, 0.0)
        into = tl.load(B + row * N + n, real & (n < N), 0.0)
        h = tl.exp2(step[None, :] * rates) * h + into[:, None] * drive[None, :]
    tl.debug_barrier()  # what is stored above is loaded below
    q = tl.load(adjoints + place * N * D + tile, inside, 0.0)
    d_rates = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    d_past = tl.zeros((BLOCK_D,), tl.float32)
    by_block = tl.program_id(1).to(tl.int64) * tl.num_programs(2) * length * N
    for back in tl.range(1, TOKENS + 1, num_stages=STAGES):
        row, real, there = _token((chunk + 1) * TOKENS - back, s, length, d, D)
        step = tl.load(delta + row * D + d, there, 0.0)
        value = tl.load(u + row * D + d, there, 0.0)
        pull = tl.load(dy + row * D + d, there, 0.0)
        into = tl.load(B + row * N + n, real & (n < N), 0.0)
        out_of = tl.load(C + row * N + n, real & (n < N), 0.0)
        decay = tl.exp2(step[None, :] * rates)
        decayed = decay * tl.load(kept + (TOKENS - back) * N * D, inside, 0.0)
        h = decayed + into[:, None] * (step * value)[None, :]
        g = out_of[:, None] * pull[None, :] + q
        q = decay * g
        by_exponent = g * decayed  # d loss / d (delta_l A)
        d_rates += by_exponent * step[None, :]
        d_past += pull * value
        d_drive = tl.sum(g * into[:, None], 0)  # d loss / d (delta_l u_l)
        d_step = tl.sum(by_exponent * rates, 0) / LOG2_E + d_drive * value
        tl.store(du + row * D + d, d_drive * step + past * pull, there)
        tl.store(ddelta + row * D + d, d_step, there)
        tl.store(
            dB + by_block + row * N + n, tl.sum(g * (step * value)[None, :], 1), real & (n < N)
        )
        tl.store(dC + by_block + row * N + n, tl.sum(h * pull[None, :], 1), real & (n < N))
    tl.store(dA + place * N * D + tile, d_rates, inside)
    tl.store(dskip + place * D + d, d_past, d < D)
