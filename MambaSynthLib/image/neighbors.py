"""Which slices a network sees beside the one that it synthesizes (2.5-D input).

    slice      0      1      2      3        of a stack of four, with r = 1
    sees      0 1    0 2    1 3    2 3       at the ends the border slice stands in for the missing

The Engine takes the stack of a whole volume, the training one run of consecutive slices.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.intp]
MOST = 4  # on either side


def neighbors_of(slices: Indices, r: int, first: int | Indices, last: int | Indices) -> Indices:
    """(n,2r): of each slice (n,) the r slices before it and the r after it, in order.

    ``first`` and ``last``, for all slices or (n,1) for each, are those of its stack.
    """
    offsets = np.delete(np.arange(-r, r + 1), r)
    found: Indices = np.clip(slices[:, None] + offsets, first, last)
    return found
