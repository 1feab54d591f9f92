"""Intensities of a whole volume <-> the network's range. One linear map per volume, so that no
slice is scaled differently from its neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import VolumeError


@dataclass(frozen=True)
class Scaling:
    """The linear map  y = (x - center) / half_width  and its inverse."""

    center: float
    half_width: float

    @classmethod
    def of_range(cls, low: float, high: float) -> Scaling:
        """low -> -1, high -> +1."""
        return cls((low + high) / 2, (high - low) / 2)

    def apply(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        return ((array - np.float64(self.center)) / self.half_width).astype(np.float32)

    def undo(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        return (array * np.float64(self.half_width) + self.center).astype(np.float32)


def percentile_scaling(array: NDArray[np.float32], upper: float, name: str = "volume") -> Scaling:
    """Background -> -1, the ``upper`` percentile of the tissue -> +1.

    The low end is the 0.1 percentile of all voxels. Tissue is what lies above a tenth of the way
    from there to the 99.9 percentile, so that neither the amount of air nor single hot voxels
    move the scale.

    Raises
    ------
    VolumeError: all voxels are (nearly) the same.
    """
    low, bright = _extent(array, name)
    return Scaling.of_range(low, float(np.percentile(_tissue(array, low, bright), upper)))


def zscore_scaling(array: NDArray[np.float32], name: str = "volume") -> Scaling:
    """Mean of the tissue -> 0, its standard deviation -> 1; tissue as in ``percentile_scaling``.

    Raises
    ------
    VolumeError: all voxels are (nearly) the same.
    """
    tissue = _tissue(array, *_extent(array, name))
    ordered = np.sort(tissue).astype(np.float64)  # so that no axis order changes a rounding
    return Scaling(float(ordered.mean()), float(ordered.std()) or 1.0)


def _extent(array: NDArray[np.float32], name: str) -> tuple[float, float]:
    """The 0.1 and 99.9 percentiles; the extremes where those coincide."""
    low, bright = (float(value) for value in np.percentile(array, [0.1, 99.9]))
    if not bright > low:
        low, bright = float(array.min()), float(array.max())
    if not bright - low > 1e-6 * max(abs(low), abs(bright)):
        raise VolumeError(
            f"{name}: the image is constant (all voxels near {low:g}); choose a volume that shows "
            "anatomy."
        )
    return low, bright


def _tissue(array: NDArray[np.float32], low: float, bright: float) -> NDArray[np.float32]:
    """The values a tenth of the way from ``low`` to ``bright`` and above."""
    return array[array > low + 0.1 * (bright - low)]


def background(array: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(I,J,K) where the image is exactly the value of its border, connected to the border.

    That is the empty space of skull-stripped, masked or zero-padded images. Noisy air is not
    empty: no single value fills half of the border, and nothing is marked. The border of a single
    slice is its outline.
    """
    image = np.atleast_1d(np.squeeze(array))
    faces = [image.take(end, axis).ravel() for axis in range(image.ndim) for end in (0, -1)]
    values, counts = np.unique(np.concatenate(faces), return_counts=True)
    if 2 * counts.max() < counts.sum():
        return np.zeros(array.shape, dtype=bool)
    return connected_to_border(image == values[counts.argmax()]).reshape(array.shape)


def connected_to_border(passable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """From where a path of passable face neighbors leads out of the array.

    Sweeps along each axis, forth and back, until one adds nothing: three rounds for a head.
    SciPy's ``binary_fill_holes`` finds the same, but is half of an installation without PyTorch.
    """
    reached = np.zeros_like(passable)
    sweeps = []
    for axis in range(passable.ndim):
        r, p = np.moveaxis(reached, axis, 0), np.moveaxis(passable, axis, 0)
        r[[0, -1]] |= p[[0, -1]]
        sweeps += [(r, p), (r[::-1], p[::-1])]
    count = 0
    while count != (count := int(np.count_nonzero(reached))):
        for r, p in sweeps:
            for i in range(1, len(r)):
                r[i] |= r[i - 1] & p[i]
    return reached
