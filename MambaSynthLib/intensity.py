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
    low, bright = np.percentile(array, [0.1, 99.9])
    if not bright > low:
        low, bright = float(array.min()), float(array.max())
    if not bright - low > 1e-6 * max(abs(low), abs(bright)):
        raise VolumeError(
            f"{name}: the image is constant (all voxels near {float(low):g}); choose a volume that "
            "shows anatomy."
        )
    tissue = array[array > low + 0.1 * (bright - low)]
    return Scaling.of_range(float(low), float(np.percentile(tissue, upper)))


def zscore_scaling(array: NDArray[np.float32], name: str = "volume") -> Scaling:
    """Mean of the tissue -> 0, its standard deviation -> 1; tissue as in ``percentile_scaling``.

    Raises
    ------
    VolumeError: all voxels are (nearly) the same.
    """
    scaling = percentile_scaling(array, 99.5, name)
    low = scaling.center - scaling.half_width
    tissue = array[array > low + 0.1 * (np.percentile(array, 99.9) - low)].astype(np.float64)
    return Scaling(float(tissue.mean()), float(tissue.std()) or 1.0)


def background(array: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(I,J,K) where the image is exactly the value of its border, connected to the border.

    That is the empty space of skull-stripped, masked or zero-padded images. Noisy air is not
    empty: it has no single value, and nothing is marked.
    """
    border = np.concatenate(
        [face.ravel() for axis in range(3) for face in (array.take(0, axis), array.take(-1, axis))]
    )
    values, counts = np.unique(border, return_counts=True)
    return connected_to_border(array == values[counts.argmax()])


def connected_to_border(passable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(I,J,K) from where a path of passable face neighbors leads out of the array.

    Sweeps along each axis, forth and back, until one adds nothing: three rounds for a head.
    SciPy's ``binary_fill_holes`` finds the same, but is half of an installation without PyTorch.
    """
    reached = np.zeros_like(passable)
    sweeps = []
    for axis in range(3):
        r, p = np.moveaxis(reached, axis, 0), np.moveaxis(passable, axis, 0)
        r[[0, -1]] |= p[[0, -1]]
        sweeps += [(r, p), (r[::-1], p[::-1])]
    count = 0
    while count != (count := int(np.count_nonzero(reached))):
        for r, p in sweeps:
            for i in range(1, len(r)):
                r[i] |= r[i - 1] & p[i]
    return reached
