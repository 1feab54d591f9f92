"""The toy's algorithm: the network, once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]


def synthesize(
    network: Callable[[Images], Images],
    sources: Images,
    noise: Images | None,
    sampling: Any,
    neighbors: Images,
) -> Images:
    """(B,2,H,W) sources -> (B,2,1,H,W) targets, both in [-1,1]; one estimate of each slice."""
    return network(sources)[:, :, None]
