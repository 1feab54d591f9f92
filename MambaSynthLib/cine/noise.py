"""How strong the noise of two frames is, told by what does not move."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

ROUGHEST = 4.0  # times the variance that neighboring pixels tell; more is change, not noise
MEDIAN_OF_ABSOLUTE = 0.6745  # of a normal variable with standard deviation 1


def noise_of(a: Array, b: Array) -> float:
    """Variance of the noise of one frame (N,R,C), from the median difference of two: most of a
    chest stands still. Where most of an image changes, neighboring pixels tell how much of that is
    noise. A tiny number where most voxels are equal.
    """
    difference = a - b
    return max(min(_variance(difference), ROUGHEST * _variance(_rough(difference))) / 2, 1e-8)


def roughness(difference: Array, region: NDArray[np.bool_]) -> float:
    """How little the neighbors in a slice have in common, of a difference (N,R,C) in a region: 1 of
    white noise, however strong it is where; near 0 of what moves; 0 where nothing differs.
    """
    inside = region[:, 1:, 1:]
    whole = float(np.sum(difference[:, 1:, 1:][inside] ** 2, dtype=np.float64))
    rough = float(np.sum(_rough(difference)[inside] ** 2, dtype=np.float64))
    return rough / whole if whole > 0 else 0.0


def _rough(difference: Array) -> Array:
    """(N,R-1,C-1) what neighbors do not share; white noise keeps its variance."""
    rough: Array = difference[:, 1:, 1:] - difference[:, :-1, 1:] - difference[:, 1:, :-1]
    return (rough + difference[:, :-1, :-1]) * np.float32(0.5)


def _variance(values: Array) -> float:
    """From the median, so that few large values do not count."""
    seen = np.abs(values[values != 0])
    return (float(np.median(seen)) / MEDIAN_OF_ABSOLUTE) ** 2 if len(seen) else 0.0
