"""The selective scan in plain PyTorch, a block of tokens at a time.

Equations and letters as in ``selective_scan``. Inside, every tensor is (T,S,...): T tokens of S
independent sequences. The states of one token, (S,N,D), are then one stretch of memory and the
recurrence is one ``addcmul_`` on it. What else makes it fast on a CPU:

* the decays and states of a block stay in the cache during the six passes over them;
* ``exp`` is spared arguments that underflow, which would take it a hundred times longer;
* Python calls a loop, not its operators (``scan_loops``), and each thread has its own sequences;
* a long sequence with few states is cut into lanes that advance side by side. A first pass finds
  the state at each lane's end, the ends are chained, and a second starts from the right states.

Training keeps the states between blocks only; the backward pass computes the others again. Only
exponents <= 0 occur, so nothing overflows however large or small delta is. How many threads there
are changes no bit of a result.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from MambaSynthLib.layers import scan_loops

EXPONENT_FLOOR = {torch.float32: -80.0, torch.float64: -700.0}  # a decay below it counts as zero
SHORTEST_LANE = 32  # tokens
SHORTEST_TRAINED_BLOCK = 8  # tokens; the states between blocks are what training keeps
LONGEST_BLOCK = 128
LEAST_SHARED = 1 << 23  # state updates that are worth further threads
# (values per token below which a sequence is cut, values per token of its lanes together, values
# per block). On a CPU a block, three times its values, stays in a core's second-level cache; a GPU
# wants few launches.
CPU_SIZES = (1 << 11, 1 << 14, 1 << 16)
GPU_SIZES = (1 << 20, 1 << 20, 1 << 22)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def selective_scan_blocked(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    *,
    lanes: int | None = None,
    block: int | None = None,
) -> Tensor:
    """y (B,K,L,D) of ``selective_scan``. None chooses ``lanes`` and ``block`` by device and shape.

    ``torch.compile`` leaves it alone: traced, it would become thousands of operators.
    """
    length, width = u.shape[2], u.shape[0] * A.numel()
    narrow, wide, cached = CPU_SIZES if u.device.type == "cpu" else GPU_SIZES
    if lanes is None:
        lanes = min(wide // width, length // SHORTEST_LANE) if width < narrow else 1
    lanes = max(1, lanes)
    parts = _parts(u.device, length * width, width // A[0].numel() * lanes)
    if block is None:
        trained = torch.is_grad_enabled() and any(x.requires_grad for x in (u, delta, A, B, C))
        least = SHORTEST_TRAINED_BLOCK if trained else 1
        most = min(LONGEST_BLOCK, max(1, parts * cached // (width * lanes)))
        block = max(least, 1 << (most.bit_length() - 1))  # a power of two often divides the length
    tokens = -(-length // lanes)
    block = min(block, tokens)
    tokens = -(-tokens // block) * block
    sequences = [_to_lanes(x, lanes, tokens) for x in (u, delta, B, C)]
    rates, skip = (
        x[:, None].expand(len(u), -1, lanes, *x.shape[1:]).flatten(0, 2)
        for x in (A.transpose(-1, -2), D)
    )  # (S,N,D), (S,D)
    y = _BlockedScan.apply(*sequences, rates, skip, lanes, block, parts)  # (T,S,D)
    return y.transpose(0, 1).reshape(len(u), len(A), -1, u.shape[3])[:, :, :length]


def _to_lanes(x: Tensor, lanes: int, tokens: int) -> Tensor:
    """(B,K,L,X) -> (T,S,X) with S = B K M; the last lanes end in zeros, which change no state."""
    missing = lanes * tokens - x.shape[2]
    if missing:
        x = F.pad(x, (0, 0, 0, missing))
    return x.reshape(-1, tokens, x.shape[3]).transpose(0, 1)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Operators start no threads: to share one costs more than to compute it, and on a busy
    processor a hundred times as much.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _BlockedScan(torch.autograd.Function):
    """y (T,S,D) of u, delta (T,S,D), B, C (T,S,N), rates (S,N,D) and skip (S,D), Eq. 2."""

    @staticmethod
    @_one_thread()
    def forward(
        ctx: Any,
        u: Tensor,
        delta: Tensor,
        B: Tensor,
        C: Tensor,
        rates: Tensor,
        skip: Tensor,
        lanes: int,
        block: int,
        parts: int,
    ) -> Tensor:
        rates, floor = rates.contiguous(), _exponent_floor(delta, rates)
        sizes = {"floor": floor, "block": block}
        tokens = {"u": u, "delta": delta, "B": B}
        start = torch.zeros_like(rates)
        if lanes > 1:
            _share(scan_loops.end, parts, tokens, {"rates": rates, "h": start}, sizes)
            start = _chain(start, _through(delta, rates), lanes)
        y = u.new_empty(u.shape)
        tokens |= {"C": C, "y": y}
        entries = None
        if any(ctx.needs_input_grad):
            entries = tokens["entries"] = u.new_empty(len(u) // block, *rates.shape)
        sequences = {"rates": rates, "skip": skip, "h": start}
        _share(scan_loops.outputs, parts, tokens, sequences, sizes)
        ctx.save_for_backward(u, delta, B, C, rates, skip, entries)
        ctx.lanes, ctx.parts, ctx.sizes = lanes, parts, sizes
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """A caller may run it inside autocast, which would round the products; hence without."""
        with torch.autocast(dy.device.type, enabled=False), _one_thread():
            return _BlockedScan._adjoint(ctx, dy)

    @staticmethod
    def _adjoint(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        u, delta, B, C, rates, skip, entries = ctx.saved_tensors
        tokens = {"delta": delta, "C": C, "dy": dy}
        carry = torch.zeros_like(rates)
        if ctx.lanes > 1:
            sequences = {"rates": rates, "carry": carry}
            _share(scan_loops.first_carry, ctx.parts, tokens, sequences, ctx.sizes)
            reverse = carry.flip(0), _through(delta, rates).flip(0)
            carry = _chain(*reverse, ctx.lanes).flip(0)
        du, ddelta, dB, dC = (x.new_empty(x.shape) for x in (u, delta, B, C))
        drates = torch.zeros_like(rates)
        tokens |= {"u": u, "B": B, "entries": entries}
        tokens |= {"du": du, "ddelta": ddelta, "dB": dB, "dC": dC}
        sequences = {"rates": rates, "skip": skip, "carry": carry, "drates": drates}
        _share(scan_loops.gradients, ctx.parts, tokens, sequences, ctx.sizes)
        return du, ddelta, dB, dC, drates, (dy * u).sum(0), None, None, None


def _share(
    loop: Callable[..., None],
    parts: int,
    tokens: dict[str, Tensor],
    sequences: dict[str, Tensor],
    sizes: dict[str, Any],
) -> None:
    """``loop`` over everything; each of ``parts`` threads takes a share of the sequences.

    They are the second axis of ``tokens`` and the first of ``sequences``.
    """
    if parts == 1:
        return loop(**tokens, **sequences, **sizes)
    inference = torch.is_inference_mode_enabled()

    def run(share: tuple[Tensor, ...]) -> None:
        with torch.inference_mode(inference), torch.no_grad():
            loop(**dict(zip((*tokens, *sequences), share, strict=True)), **sizes)

    shares = zip(
        *(x.tensor_split(parts, 1) for x in tokens.values()),
        *(x.tensor_split(parts, 0) for x in sequences.values()),
        strict=True,
    )
    list(_workers(parts).map(run, shares))


def _parts(device: torch.device, updates: int, sequences: int) -> int:
    """Among how many threads to share so many updates of states."""
    if device.type != "cpu" or updates < LEAST_SHARED:
        return 1
    return min(torch.get_num_threads(), sequences)


@cache
def _workers(count: int) -> ThreadPoolExecutor:
    """They stay: to start a thread takes as long as a small scan."""
    return ThreadPoolExecutor(count, "scan", initializer=partial(torch.set_num_threads, 1))


if hasattr(os, "register_at_fork"):  # a forked process has the pool, but not its threads
    os.register_at_fork(after_in_child=_workers.cache_clear)


def _through(delta: Tensor, rates: Tensor) -> Tensor:
    """(S,N,D) the decay over all T tokens."""
    exponents = delta.sum(0).unsqueeze(-2) * rates
    return exponents.clamp_(min=EXPONENT_FLOOR[delta.dtype]).exp_()


def _exponent_floor(delta: Tensor, rates: Tensor) -> float | None:
    """Where to clamp delta A (T,S,N,D); None where no product is seen to go below.

    What is clamped is zero either way, only slower. So a look at some tokens is enough; and a GPU,
    which would have to wait for the answer, does not look.
    """
    floor = EXPONENT_FLOOR[delta.dtype]
    if delta.device.type == "cpu" and bool((delta[::16].amax(0) * rates.amin(1)).min() > floor):
        return None
    return floor


def _chain(ends: Tensor, through: Tensor, lanes: int) -> Tensor:
    """(S,N,D) what each lane starts with, given where it ends when it starts with zero."""
    starts = torch.zeros_like(ends).unflatten(0, (-1, lanes))
    ends, through = (x.unflatten(0, (-1, lanes)) for x in (ends, through))
    for lane in range(1, lanes):
        starts[:, lane] = ends[:, lane - 1] + through[:, lane - 1] * starts[:, lane - 1]
    return starts.flatten(0, 1)
