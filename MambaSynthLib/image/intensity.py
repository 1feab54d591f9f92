"""Intensities of a whole volume <-> the network's range. One linear map per volume, so that no
slice is scaled differently from its neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.image.grid import Reorientation
from MambaSynthLib.image.volume import Volume

EMPTY = -1.0  # what a network sees, and answers, where there is no tissue
MEDIANS = 4.0  # what the network's +1 is, in medians of the middle of the head


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


def median_scaling(volume: Volume) -> Scaling:
    """Background -> -1, the median of the middle of the head -> -1/2, four times that -> +1.

    A fat scalp or a bright eye moves a percentile of the whole head, but not the median of what
    lies in the middle of its box.

    Raises
    ------
    VolumeError: all voxels are (nearly) the same.
    """
    return scaling_by(*middle_of_head(volume))


def scaling_by(low: float, values: NDArray[np.float32]) -> Scaling:
    """The same of what ``middle_of_head`` found."""
    return Scaling.of_range(low, low + MEDIANS * (float(np.median(values)) - low))


def middle_of_head(volume: Volume) -> tuple[float, NDArray[np.float32]]:
    """Black, and the values of the tissue in the middle of the box of a head: brain, with and
    without the skull around it. The middle is half of the box across, and of its height the part
    from 40 to 80 %.

    Raises
    ------
    VolumeError: all voxels are (nearly) the same.
    """
    low, bright = _extent(volume.array, volume.name)
    tissue: NDArray[np.bool_] = volume.array > low + 0.1 * (bright - low)
    turn = Reorientation.between(volume.affine, "LPS")
    middle = tuple(
        _part(np.asarray(tissue.any(axis=tuple({0, 1, 2} - {axis}))), share)
        for axis, share in zip(turn.order, _middle(turn), strict=True)
    )
    box = tuple(middle[turn.order.index(axis)] for axis in range(3))
    inside = volume.array[box][tissue[box]]
    return low, inside if inside.size else volume.array[tissue]


def _middle(turn: Reorientation) -> list[tuple[float, float]]:
    """The middle part of slices (feet to head), rows and columns, in the order of the array."""
    feet_first = [(0.4, 0.8), (0.25, 0.75), (0.25, 0.75)]
    return [
        (1 - high, 1 - low) if flipped else (low, high)
        for (low, high), flipped in zip(feet_first, turn.flipped, strict=True)
    ]


def _part(holds: NDArray[np.bool_], share: tuple[float, float]) -> slice:
    """From one share to another of the stretch between the first and the last true entry."""
    where = np.flatnonzero(holds)
    first, length = int(where[0]), int(where[-1]) - int(where[0]) + 1
    return slice(first + int(share[0] * length), first + max(int(share[1] * length), 1))


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

    See ``connected``.
    """
    border = np.zeros_like(passable)
    for axis in range(passable.ndim):
        np.moveaxis(border, axis, 0)[[0, -1]] = True
    return connected(passable, border)


def connected(passable: NDArray[np.bool_], seeds: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where a path of passable face neighbors leads from a seed, itself passable.

    SciPy finds it in one pass, but is half of an installation without PyTorch; where it is missing
    the sweeps find the same, in many rounds where noise makes a maze.
    """
    try:
        from scipy import ndimage
    except ImportError:
        return connected_by_sweeps(passable, seeds)
    parts, count = ndimage.label(passable)
    reached = np.zeros(count + 1, dtype=bool)
    reached[parts[seeds & passable]] = True
    reached[0] = False
    found: NDArray[np.bool_] = reached[parts]
    return found


def connected_by_sweeps(passable: NDArray[np.bool_], seeds: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """``connected`` by sweeps along each axis, forth and back, until one adds nothing: three rounds
    for a head.
    """
    reached = seeds & passable
    sweeps = []
    for axis in range(passable.ndim):
        r, p = np.moveaxis(reached, axis, 0), np.moveaxis(passable, axis, 0)
        sweeps += [(r, p), (r[::-1], p[::-1])]
    count = 0
    while count != (count := int(np.count_nonzero(reached))):
        for r, p in sweeps:
            for i in range(1, len(r)):
                r[i] |= r[i - 1] & p[i]
    return reached
