"""Which slices a network sees beside the one that it synthesizes (2.5-D input), and speaks of.

    slice      0      1      2      3        of a stack of four, with r = 1
    sees      0 1    0 2    1 3    2 3       at the ends the border slice stands in for the missing

The Engine takes the stack of a whole volume, the training one run of consecutive slices. A network
with an overlap of o estimates o slices on either side of its own besides; what the calls for
neighboring slices say of one slice is averaged, so that its brightness does not jump.
"""

from __future__ import annotations

from math import comb

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.intp]
Floats = NDArray[np.float32]
MOST = 4  # on either side


def neighbors_of(slices: Indices, r: int, first: int | Indices, last: int | Indices) -> Indices:
    """(n,2r): of each slice (n,) the r slices before it and the r after it, in order.

    ``first`` and ``last``, for all slices or (n,1) for each, are those of its stack.
    """
    found: Indices = np.clip(slices[:, None] + offsets(r)[1:], first, last)
    return found


def offsets(r: int) -> Indices:
    """(1+2r,): where the slices of an input lie: 0, then -r..-1, then 1..r."""
    return np.concatenate([[0], np.delete(np.arange(-r, r + 1), r)])


def own_and_neighbors(r: int, o: int) -> list[int]:
    """The channels of an input with r neighbors that lie where the 1+2o estimates do."""
    return [int(np.flatnonzero(offsets(r) == offset)[0]) for offset in offsets(o)]


class OverlapMean:
    """Averages what the calls for neighboring slices say of each slice.

    ``computed``: the slices that calls will be made for, in ascending order. Sums are made in that
    order, so that no bit depends on the batch; only the slices of a batch and o more are held.
    ``binomial``: weights 1 2 1 for an o of 1, with which even and odd calls count alike in every
    slice; else all calls count alike.
    """

    def __init__(self, o: int, computed: Indices, binomial: bool = False) -> None:
        self.offsets = offsets(o)
        weights = [comb(2 * o, o + int(k)) if binomial else 1 for k in self.offsets]
        self._weights = dict(zip(self.offsets.tolist(), map(np.float32, weights), strict=True))
        self._sums: dict[int, Floats] = {}
        asked = set(computed.tolist())
        self._calls = {n: [n + int(k) for k in self.offsets if n + int(k) in asked] for n in asked}

    def add(self, chosen: Indices, estimates: Floats) -> tuple[Indices, Floats]:
        """Take the estimates (n,1+2o,...) of a batch (n,); the slices (m,) of which no more is to
        come, and their means (m,...).
        """
        for call, of_call in zip(chosen.tolist(), estimates, strict=True):
            for offset, estimate in zip(self.offsets.tolist(), of_call, strict=True):
                if (n := call + offset) in self._calls:
                    held, weighted = self._sums.get(n), self._weights[offset] * estimate
                    self._sums[n] = weighted if held is None else held + weighted
        done = [n for n in sorted(self._sums) if max(self._calls[n]) <= chosen[-1]]
        means = [self._sums.pop(n) / self._total(n) for n in done]
        return np.array(done, np.intp), np.array(means).reshape(-1, *estimates.shape[2:])

    def _total(self, n: int) -> np.float32:
        """The weight of all calls that speak of slice n."""
        return np.float32(sum(self._weights[n - call] for call in self._calls[n]))
