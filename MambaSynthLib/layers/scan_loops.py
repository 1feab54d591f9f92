"""The loops of ``blocked_scan``: over the blocks of a scan and the tokens of a block.

Equations and letters as in ``selective_scan``. Tensors are (T,S,...): T tokens of S sequences that
do not know each other. A block has t tokens, T is a multiple of t.

An operator on a block takes microseconds, and Python would need as long again to call it, one
thread at a time. Hence TorchScript runs these functions, which are plain PyTorch all the same: they
do without it where it is missing (its ``script`` is deprecated, Python 3.14 has none). Even there
a view costs a tenth of an operator, so all views are made ahead.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def _scripted(function: Callable[..., Any]) -> Callable[..., Any]:
    if sys.version_info >= (3, 14):
        return function
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(function)


def _decay(delta: Tensor, rates: Tensor, floor: float | None, decays: Tensor) -> None:
    """decays (t,S,N,D) = exp(delta_l A), of delta (t,S,1,D) and rates (S,N,D)."""
    torch.mul(delta, rates, out=decays)
    if floor is not None:
        decays.clamp_(min=floor)
    decays.exp_()


def _drive(u: Tensor, delta: Tensor, B: Tensor, inputs: Tensor, states: Tensor) -> None:
    """inputs = delta_l u_l, all (t,S,1,D), and states (t,S,N,D) = delta_l B_l u_l, B (t,S,N,1)."""
    torch.mul(delta, u, out=inputs)
    torch.mul(inputs, B, out=states)


def _advance(decays: list[Tensor], states: list[Tensor], h: Tensor) -> Tensor:
    """Eq. 2a over a block that holds delta_l B_l u_l, following on h; the last state, (S,N,D)."""
    for token in range(len(states)):
        h = states[token].addcmul_(decays[token], h)
    return h


def _retreat(decays: list[Tensor], adjoints: list[Tensor], carry: Tensor) -> None:
    """g_l = C_l dy_l + exp(delta_{l+1} A) g_{l+1} over a block that holds C_l dy_l.

    carry (S,N,D) is the second term of the last token, and afterwards that of the block before.
    """
    g = adjoints[-1].add_(carry)
    for token in range(len(adjoints) - 2, -1, -1):
        g = adjoints[token].addcmul_(decays[token + 1], g)
    torch.mul(decays[0], g, out=carry)


@_scripted
def outputs(
    u: Tensor,
    delta: Tensor,
    B: Tensor,
    C: Tensor,
    rates: Tensor,
    skip: Tensor,
    h: Tensor,
    floor: float | None,
    block: int,
    y: Tensor,
    entries: Tensor | None = None,
) -> None:
    """Eq. 2 from h: fills y (T,S,D), and the states (T/t,S,N,D) with which blocks are entered.

    Two stretches of memory take turns: a block follows on the last state of the one before it.
    """
    s, n, d = rates.shape
    decays, memory = u.new_empty([block, s, n, d]), u.new_empty([2, block, s, n, d])
    inputs, read = u.new_empty([block, s, 1, d]), u.new_empty([block, s, 1, d])
    each_decay, products = list(decays.unbind(0)), read.view(-1, 1, d)
    halves = [(half, half.view(-1, n, d), list(half.unbind(0))) for half in memory.unbind(0)]
    us, deltas, ys = [x.unsqueeze(-2).split(block) for x in (u, delta, y)]  # (t,S,1,D)
    Bs = B.unsqueeze(-1).split(block)  # (t,S,N,1)
    Cs = C.reshape(-1, 1, n).split(block * s)  # (tS,1,N)
    skip = skip.unsqueeze(-2)
    for index, (u_, delta_, B_, C_, y_) in enumerate(zip(us, deltas, Bs, Cs, ys)):
        states, matrices, each_state = halves[index % 2]
        if entries is not None:
            entries[index].copy_(h)
        _decay(delta_, rates, floor, decays)
        _drive(u_, delta_, B_, inputs, states)
        h = _advance(each_decay, each_state, h)
        torch.bmm(C_, matrices, out=products)
        torch.addcmul(read, u_, skip, out=y_)


@_scripted
def end(
    u: Tensor, delta: Tensor, B: Tensor, rates: Tensor, h: Tensor, floor: float | None, block: int
) -> None:
    """Turns h (S,N,D), the state before the first token, into that after the last."""
    s, n, d = rates.shape
    decays, inputs = u.new_empty([block, s, n, d]), u.new_empty([block, s, 1, d])
    states = torch.empty_like(decays)
    each_decay, each_state = list(decays.unbind(0)), list(states.unbind(0))
    us, deltas = [x.unsqueeze(-2).split(block) for x in (u, delta)]
    for u_, delta_, B_ in zip(us, deltas, B.unsqueeze(-1).split(block)):
        _decay(delta_, rates, floor, decays)
        _drive(u_, delta_, B_, inputs, states)
        h.copy_(_advance(each_decay, each_state, h))


@_scripted
def first_carry(
    delta: Tensor,
    C: Tensor,
    dy: Tensor,
    rates: Tensor,
    carry: Tensor,
    floor: float | None,
    block: int,
) -> None:
    """Turns carry (S,N,D), what comes back to the last token, into what the first hands back."""
    s, n, d = rates.shape
    decays, adjoints = dy.new_empty([block, s, n, d]), dy.new_empty([block, s, n, d])
    each_decay, each_adjoint = list(decays.unbind(0)), list(adjoints.unbind(0))
    deltas, dys = [x.unsqueeze(-2).split(block) for x in (delta, dy)]
    Cs = C.unsqueeze(-1).split(block)
    for index in range(len(dys) - 1, -1, -1):
        _decay(deltas[index], rates, floor, decays)
        torch.mul(Cs[index], dys[index], out=adjoints)
        _retreat(each_decay, each_adjoint, carry)


@_scripted
def gradients(
    u: Tensor,
    delta: Tensor,
    B: Tensor,
    C: Tensor,
    rates: Tensor,
    skip: Tensor,
    entries: Tensor,
    dy: Tensor,
    carry: Tensor,
    floor: float | None,
    block: int,
    du: Tensor,
    ddelta: Tensor,
    dB: Tensor,
    dC: Tensor,
    drates: Tensor,
) -> None:
    """Fills the derivatives; that of the skip needs no loop. The states are computed again."""
    s, n, d = rates.shape
    decays, memory = u.new_empty([block, s, n, d]), u.new_empty([block + 1, s, n, d])
    inputs, g = u.new_empty([block, s, 1, d]), torch.empty_like(decays)
    before, states = memory[:block], memory[1:]
    each_decay, each_state, each_g = [list(x.unbind(0)) for x in (decays, states, g)]
    us, deltas, dys = [x.unsqueeze(-2).split(block) for x in (u, delta, dy)]  # (t,S,1,D)
    dus, ddeltas = [x.unsqueeze(-2).split(block) for x in (du, ddelta)]
    Bs, Cs, dBs, dCs = [x.unsqueeze(-1).split(block) for x in (B, C, dB, dC)]  # (t,S,N,1)
    drates.zero_()
    skip = skip.unsqueeze(-2)
    for index in range(len(us) - 1, -1, -1):
        u_, delta_, dy_, B_ = us[index], deltas[index], dys[index], Bs[index]
        _decay(delta_, rates, floor, decays)
        _drive(u_, delta_, B_, inputs, states)
        _advance(each_decay, each_state, memory[0].copy_(entries[index]))
        dCs[index].copy_(torch.matmul(states, dy_.transpose(-1, -2)))
        torch.mul(Cs[index], dy_, out=g)
        _retreat(each_decay, each_g, carry)
        dBs[index].copy_(torch.matmul(g, inputs.transpose(-1, -2)))
        dx = torch.matmul(B_.transpose(-1, -2), g)  # d loss / d (delta_l u_l)
        g.mul_(before).mul_(decays)  # d loss / d (delta_l A)
        for pull, delta_l in zip(each_g, delta_.unbind(0)):
            drates.addcmul_(pull, delta_l)
        torch.addcmul(dy_ * skip, dx, delta_, out=dus[index])
        torch.addcmul(g.mul_(rates).sum(-2, keepdim=True), dx, u_, out=ddeltas[index])
