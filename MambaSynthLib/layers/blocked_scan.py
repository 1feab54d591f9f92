"""The selective scan in plain PyTorch, a block of tokens at a time.

Equations and letters as in ``selective_scan``. Inside, every tensor is (T,S,...): T tokens of S
independent sequences. The states of one token, (S,N,D), are then one stretch of memory and the
recurrence is one ``addcmul_`` on it. What else makes it fast on a CPU:

* the decays and states of a block stay in the cache during the six passes over them;
* ``exp`` never sees an argument that underflows, which would take it a hundred times longer;
* a long sequence with few states is cut into lanes that advance side by side. A first pass finds
  the state at each lane's end, the ends are chained, and a second starts from the right states.

Training keeps the states between blocks only; the backward pass computes the others again. Only
exponents <= 0 occur, so nothing overflows however large or small delta is.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

EXPONENT_FLOOR = {torch.float32: -80.0, torch.float64: -700.0}  # a decay below it counts as zero
SHORTEST_LANE = 32  # tokens
SHORTEST_TRAINED_BLOCK = 8  # tokens; the states between blocks are what training keeps
LONGEST_BLOCK = 128
# (values per token below which a sequence is cut, values per token of its lanes together, values
# per block). On a CPU a block, three times its values, stays in a core's second-level cache; a GPU
# wants few launches.
CPU_SIZES = (1 << 10, 1 << 14, 3 << 15)
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
    if block is None:
        trained = torch.is_grad_enabled() and any(x.requires_grad for x in (u, delta, A, B, C))
        least = SHORTEST_TRAINED_BLOCK if trained else 1
        block = max(least, min(LONGEST_BLOCK, cached // (width * lanes)))
    sequences = [_to_lanes(x, lanes) for x in (u, delta, B, C)]
    rates, skip = (
        x[:, None].expand(len(u), -1, lanes, *x.shape[1:]).flatten(0, 2)
        for x in (A.transpose(-1, -2), D)
    )  # (S,N,D), (S,D)
    y = _BlockedScan.apply(*sequences, rates, skip, lanes, block)  # (T,S,D)
    return y.transpose(0, 1).reshape(len(u), len(A), -1, u.shape[3])[:, :, :length]


def _to_lanes(x: Tensor, lanes: int) -> Tensor:
    """(B,K,L,X) -> (T,S,X) with S = B K M; the last lane ends in zeros, which change no state."""
    tokens = -(-x.shape[2] // lanes)
    missing = lanes * tokens - x.shape[2]
    if missing:
        x = F.pad(x, (0, 0, 0, missing))
    return x.reshape(-1, tokens, x.shape[3]).transpose(0, 1)


class _BlockedScan(torch.autograd.Function):
    """y (T,S,D) of u, delta (T,S,D), B, C (T,S,N), rates (S,N,D) and skip (S,D), Eq. 2."""

    @staticmethod
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
    ) -> Tensor:
        states = _States(u, delta, B, rates, block, in_turn=True)
        keep = any(ctx.needs_input_grad)
        entries = u.new_empty((len(states), *rates.shape) if keep else 0)
        y = u.new_empty(u.shape)
        states.enter(0, states.first(lanes))
        outputs = y.unsqueeze(-2).split(block)  # (t,S,1,D)
        readouts = C.contiguous().unsqueeze(-2).split(block)  # (t,S,1,N)
        skip_ = skip.unsqueeze(-2)  # (S,1,D)
        pieces = zip(readouts, outputs, u.unsqueeze(-2).split(block), strict=True)
        for index, (readout, out, u_) in enumerate(pieces):
            if keep:
                entries[index] = states.entry(index)
            torch.matmul(readout, states.advance(index), out=out)
            out.addcmul_(u_, skip_)
        ctx.save_for_backward(u, delta, B, C, rates, skip, entries)
        ctx.sizes = lanes, block
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """A caller may run it inside autocast, which would round the products; hence without."""
        with torch.autocast(dy.device.type, enabled=False):
            return _BlockedScan._adjoint(ctx, dy)

    @staticmethod
    def _adjoint(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        u, delta, B, C, rates, skip, entries = ctx.saved_tensors
        lanes, block = ctx.sizes
        states = _States(u, delta, B, rates, block, in_turn=False)
        adjoints = _Adjoints(states, C, dy, lanes)
        du, ddelta, dB, dC = (x.new_empty(x.shape) for x in (u, delta, B, C))
        drates = torch.zeros_like(rates)
        pieces = zip(*(x.split(block) for x in (u, delta, B, dy, du, ddelta, dB, dC)), strict=True)
        for index, piece in reversed(list(enumerate(pieces))):
            u_, delta_, B_, dy_, du_, ddelta_, dB_, dC_ = piece
            states.enter(index, entries[index])
            h = states.advance(index)
            torch.matmul(h, dy_.unsqueeze(-1), out=dC_.unsqueeze(-1))
            g = adjoints.retreat(index)
            torch.matmul(g, states.inputs(index).mT, out=dB_.unsqueeze(-1))
            dx = torch.matmul(B_.unsqueeze(-2), g).squeeze(-2)  # d loss / d (delta_l u_l)
            pull = g.mul_(states.before(index))
            pull.mul_(states.decays[: len(g)])  # d loss / d (delta_l A)
            for token_pull, token_delta in zip(pull, delta_.unsqueeze(-2), strict=True):
                drates.addcmul_(token_pull, token_delta)
            torch.addcmul(dy_ * skip, dx, delta_, out=du_)
            torch.addcmul(pull.mul_(rates).sum(-2), dx, u_, out=ddelta_)
        return du, ddelta, dB, dC, drates, (dy * u).sum(0), None, None


class _Block:
    """The memory of a block of tokens, cut once: slicing for each block would take as long as
    computing it. ``states`` (t,S,N,D) follow on ``entry`` (S,N,D).
    """

    def __init__(self, entry: Tensor, states: Tensor, decays: Tensor, inputs: Tensor) -> None:
        self.entry, self.states, self.decays, self.inputs = entry, states, decays, inputs
        self.pairs = list(zip(states.unbind(0), decays.unbind(0), strict=True))

    def first(self, tokens: int) -> _Block:
        """The same memory for a shorter block."""
        return _Block(self.entry, *(x[:tokens] for x in (self.states, self.decays, self.inputs)))


class _States:
    """h_l = exp(delta_l A) h_{l-1} + delta_l B_l u_l, one block at a time, in reused memory.

    ``in_turn``: two halves of the memory take turns, and a block enters where the one before it
    ended. Otherwise all blocks lie in the second half, right behind the state they enter from.
    """

    def __init__(
        self, u: Tensor, delta: Tensor, B: Tensor, rates: Tensor, block: int, *, in_turn: bool
    ) -> None:
        self.delta, self.rates, self.block = delta, rates.contiguous(), block
        steps, tokens = (x.unsqueeze(-2).split(block) for x in (delta, u))  # (t,S,1,D)
        maps = B.contiguous().unsqueeze(-1).split(block)  # (t,S,N,1)
        self.decays = u.new_empty((block, *rates.shape))
        inputs = u.new_empty(steps[0].shape)
        self._memory = u.new_empty((2 * block, *rates.shape))
        halves = [
            _Block(
                self._memory[first - 1], self._memory[first : first + block], self.decays, inputs
            )
            for first in (0, block)
        ]
        blocks = [halves[index % 2 if in_turn else 1] for index in range(len(steps))]
        blocks[-1] = blocks[-1].first(len(steps[-1]))
        self._blocks = list(zip(steps, tokens, maps, blocks, strict=True))
        self._floor = _exponent_floor(delta, self.rates)

    def __len__(self) -> int:
        return len(self._blocks)

    def enter(self, index: int, h: Tensor) -> None:
        """Start a block from ``h`` (S,N,D)."""
        self.entry(index).copy_(h)

    def entry(self, index: int) -> Tensor:
        """(S,N,D) the state before the block."""
        return self._blocks[index][3].entry

    def before(self, index: int) -> Tensor:
        """(t,S,N,D) the state before each token of the block, unless the halves take turns."""
        return self._memory[self.block - 1 : self.block - 1 + len(self._blocks[index][0])]

    def inputs(self, index: int) -> Tensor:
        """(t,S,1,D) delta_l u_l of the block that was advanced last."""
        return self._blocks[index][3].inputs

    def advance(self, index: int) -> Tensor:
        """(t,S,N,D) the state after each token of the block."""
        steps, tokens, maps, memory = self._blocks[index]
        self.fill_decays(index)
        torch.mul(steps, tokens, out=memory.inputs)
        torch.mul(memory.inputs, maps, out=memory.states)
        h = memory.entry
        for state, decay in memory.pairs:
            h = state.addcmul_(decay, h)
        return memory.states

    def fill_decays(self, index: int) -> Tensor:
        """(t,S,N,D) exp(delta_l A) of the block."""
        steps, _, _, memory = self._blocks[index]
        return _decays(steps, self.rates, self._floor, memory.decays)

    def first(self, lanes: int) -> Tensor:
        """(S,N,D) the state with which each lane starts."""
        zero = torch.zeros_like(self.rates)
        if lanes == 1:
            return zero
        self.enter(0, zero)
        for index in range(len(self)):
            end = self.advance(index)[-1]
        return _chain(end, self.through(), lanes)

    def through(self) -> Tensor:
        """(S,N,D) the decay over all T tokens."""
        steps = self.delta.sum(0).unsqueeze(-2)
        return _decays(steps, self.rates, EXPONENT_FLOOR[steps.dtype], torch.empty_like(self.rates))


class _Adjoints:
    """g_l = C_l dy_l + exp(delta_{l+1} A) g_{l+1}, one block at a time, from the last."""

    def __init__(self, states: _States, C: Tensor, dy: Tensor, lanes: int) -> None:
        self._states = states
        columns = C.contiguous().unsqueeze(-1).split(states.block)  # (t,S,N,1)
        rows = dy.unsqueeze(-2).split(states.block)  # (t,S,1,D)
        self._blocks = list(zip(columns, rows, strict=True))
        self._adjoints = torch.empty_like(states.decays)
        self._tokens = list(zip(self._adjoints.unbind(0), states.decays.unbind(0), strict=True))
        self._carry = torch.zeros_like(states.rates)  # exp(delta_{l+1} A) g_{l+1}
        if lanes > 1:
            for index in reversed(range(len(states))):
                states.fill_decays(index)
                self.retreat(index)
            reverse = self._carry.flip(0), states.through().flip(0)
            self._carry = _chain(*reverse, lanes).flip(0)

    def retreat(self, index: int) -> Tensor:
        """(t,S,N,D) the adjoints of the block, whose decays ``states`` must hold."""
        columns, rows = self._blocks[index]
        g = torch.mul(columns, rows, out=self._adjoints[: len(rows)])
        tokens = self._tokens[: len(rows)]
        tokens[-1][0].add_(self._carry)
        for (adjoint, _), (later, decay) in reversed(list(pairwise(tokens))):
            adjoint.addcmul_(decay, later)
        torch.mul(*tokens[0], out=self._carry)
        return g


def _decays(steps: Tensor, rates: Tensor, floor: float | None, out: Tensor) -> Tensor:
    torch.mul(steps, rates, out=out)
    return out.exp_() if floor is None else out.clamp_(min=floor).exp_()


def _exponent_floor(delta: Tensor, rates: Tensor) -> float | None:
    """Where to clamp delta A (T,S,N,D); None where no product goes below.

    Only a CPU looks first: a GPU would have to wait for the answer.
    """
    floor = EXPONENT_FLOOR[delta.dtype]
    if delta.device.type == "cpu" and bool((delta.amax(0) * rates.amin(1)).min() > floor):
        return None
    return floor


def _chain(ends: Tensor, through: Tensor, lanes: int) -> Tensor:
    """(S,N,D) what each lane starts with, given where it ends when it starts with zero."""
    starts = torch.zeros_like(ends).unflatten(0, (-1, lanes))
    ends, through = (x.unflatten(0, (-1, lanes)) for x in (ends, through))
    for lane in range(1, lanes):
        starts[:, lane] = ends[:, lane - 1] + through[:, lane - 1] * starts[:, lane - 1]
    return starts.flatten(0, 1)
