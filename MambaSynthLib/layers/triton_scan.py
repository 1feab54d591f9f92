"""The selective scan on CUDA through Triton: what to launch, and the derivative.

Why it is here: mamba-ssm has no wheels and is never installed for a user, while Triton comes with
PyTorch's CUDA builds. Without these kernels a usual GPU would run the portable scan, a launch for
each operator and token. ``Testing/benchmarks/scan_gpu.py`` measures the three.

Three passes: the end of every chunk that starts with zero, the chain of the ends, and the outputs
from the right starts. Enough sequences and channels to fill a GPU make one chunk, and one pass.
Training keeps the states between chunks; the backward pass computes the others again, a bounded
number of chunks at a time. No sum depends on the order in which programs finish, so the same
inputs give the same bits. Letters and buffers as in ``triton_kernels``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from triton import cdiv, next_power_of_2

from MambaSynthLib.layers import triton_kernels as kernels

BLOCK_D = 32  # channels of a program, which is one warp: a thread owns a channel
BLOCK_C = 32  # chunks that the chain takes at a time
STAGES = 3  # tokens whose values are on their way from memory at a time
ENOUGH_PROGRAMS = 4096  # to fill a large GPU
SHORTEST_CHUNK, LONGEST_CHUNK, TRAINED_CHUNK = 16, 512, 32  # tokens
KEPT_STATES = 1 << 26  # values, 256 MB, of the backward pass at a time


@torch.compiler.disable  # type: ignore[untyped-decorator]
def selective_scan_triton(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    *,
    tokens: int | None = None,
) -> Tensor:
    """y (B,K,L,D) of ``selective_scan``, all float32 on one CUDA device.

    ``tokens`` per chunk; None chooses by shape.
    """
    batch, k, length, width = u.shape
    if tokens is None:
        tokens = _chunk(u, any(x.requires_grad for x in (u, delta, A, B, C, D)))
    sequences = (x.reshape(batch * k, length, -1).contiguous() for x in (u, delta, B, C))
    with torch.cuda.device_of(u):
        y = _TritonScan.apply(*sequences, A.mT.contiguous(), D.contiguous(), tokens)
    return y.view(batch, k, length, width)


def _chunk(u: Tensor, requires_grad: bool) -> int:
    """Tokens per chunk that make enough programs of this shape."""
    if requires_grad and torch.is_grad_enabled():
        return TRAINED_CHUNK
    batch, k, length, width = u.shape
    programs = batch * k * cdiv(width, BLOCK_D)
    if 2 * programs >= ENOUGH_PROGRAMS:  # one pass is then faster than three
        return length
    tokens = next_power_of_2(length * programs // ENOUGH_PROGRAMS + 1)
    return max(SHORTEST_CHUNK, min(LONGEST_CHUNK, tokens))


class _TritonScan(torch.autograd.Function):
    """u, delta (S,L,D), B, C (S,L,N), A (K,N,D), skip (K,D) -> y (S,L,D)."""

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, delta: Tensor, B: Tensor, C: Tensor, A: Tensor, skip: Tensor,
        tokens: int,
    ) -> Tensor:  # fmt: skip
        launch = _Launch(u, A, tokens)
        entries = launch.states()
        sums = u.new_empty(launch.sequences, launch.chunks, launch.width)
        if launch.chunks > 1:
            ends = torch.empty_like(entries)
            launch(kernels.chunk_ends, u, delta, A, B, ends, sums)
            launch.chain(ends, sums, A, entries, reverse=False)
        y = torch.empty_like(u)
        launch(kernels.chunk_outputs, u, delta, A, B, C, skip, entries, y)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(u, delta, B, C, A, skip, entries, sums)
            ctx.tokens = tokens
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        with torch.cuda.device_of(dy):
            return *_gradients(dy.contiguous(), ctx.saved_tensors, ctx.tokens), None


def _gradients(dy: Tensor, saved: Sequence[Tensor], tokens: int) -> tuple[Tensor, ...]:
    """By u, delta, B, C, A and skip, in that order."""
    u, delta, B, C, A, skip, entries, sums = saved
    launch = _Launch(u, A, tokens)
    adjoints = launch.states()
    if launch.chunks > 1:
        ends = torch.empty_like(adjoints)
        launch(kernels.chunk_adjoints, delta, A, C, dy, ends)
        launch.chain(ends, sums, A, adjoints, reverse=True)
    du, ddelta = torch.empty_like(u), torch.empty_like(u)
    dA, dskip = torch.empty_like(entries), torch.empty_like(sums)
    dB, dC = B.new_empty(2, launch.blocks, *B.shape)
    group = min(launch.chunks, max(1, KEPT_STATES // (tokens * len(u) * A[0].numel())))
    states = u.new_empty(len(u), group * tokens, *A.shape[1:])
    for first in range(0, launch.chunks, group):
        launch.some(
            kernels.chunk_gradients, min(group, launch.chunks - first), u, delta, A, B, C, skip,
            dy, entries, adjoints, states, du, ddelta, dA, dB, dC, dskip, first=first,
        )  # fmt: skip
    by_sequence = (x.sum(1).unflatten(0, (-1, len(A))).sum(0) for x in (dA, dskip))
    return du, ddelta, dB.sum(0), dC.sum(0), *by_sequence


class _Launch:
    """Grid and sizes of one scan."""

    def __init__(self, u: Tensor, A: Tensor, tokens: int) -> None:
        self.like, self.tokens = u, tokens
        self.sequences, self.length, self.width = u.shape
        self.k, self.n = A.shape[:2]
        self.chunks, self.blocks = cdiv(self.length, tokens), cdiv(self.width, BLOCK_D)

    def states(self) -> Tensor:
        """(S,chunks,N,D) zeros."""
        return self.like.new_zeros(self.sequences, self.chunks, self.n, self.width)

    def __call__(self, kernel: Any, *buffers: Tensor) -> None:
        """One program for each chunk, block of channels and sequence."""
        kernel[self.chunks, self.blocks, self.sequences](
            *buffers, self.length, self.k, self.width, **self._blocks()
        )

    def some(self, kernel: Any, count: int, *buffers: Tensor, first: int) -> None:
        """The same for ``count`` chunks only."""
        kernel[count, self.blocks, self.sequences](
            *buffers, self.length, first, self.chunks, self.k, self.width,
            **self._blocks(),
        )  # fmt: skip

    def chain(
        self, ends: Tensor, sums: Tensor, A: Tensor, entries: Tensor, reverse: bool
    ) -> None:  # fmt: skip
        kernels.chain[self.n, self.blocks, self.sequences](
            ends, sums, A, entries, self.k, self.width, chunks=self.chunks,
            N=self.n, REVERSE=reverse, BLOCK_C=BLOCK_C, BLOCK_D=BLOCK_D, num_warps=1,
        )  # fmt: skip

    def _blocks(self) -> dict[str, int]:
        return {
            "TOKENS": self.tokens, "N": self.n, "BLOCK_N": next_power_of_2(self.n),
            "BLOCK_D": BLOCK_D, "STAGES": STAGES, "num_warps": 1,
        }  # fmt: skip
