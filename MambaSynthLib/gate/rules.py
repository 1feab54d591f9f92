"""What the gate knows without a network: rules that a person could check with a ruler.

Each rule looks at the voxels as they are and returns a ``Finding``, or None where all is well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.image.intensity import median_scaling
from MambaSynthLib.image.suitability import value_doubts
from MambaSynthLib.image.volume import Volume

FEW_VALUES = 12  # different ones among the voxels that are not background: a mask
FLAT_SHARE = 0.7  # of neighbors that are equal to the last bit: a label map, or drawn
MOST_COUNTED = 200_000  # voxels among which different values are counted
WIDTH_MM = (100.0, 320.0)  # of a head or brain, along the second largest of its three extents
LENGTH_MM = (125.0, 480.0)  # along the largest; 480 with neck and shoulders
ENOUGH = 0.2  # of the content of the fullest slice: slices between two such are inside
SLAB_MM = 85.0  # a head that is cut to less shows too little for the network
LOUD = 0.3  # of the head's median brightness: the difference of neighbors in noise as bright as it
LOUD_FACES = 4  # of the volume's six that show such noise, as a head may be cut at two
QUIETER = 0.5  # times that: what the middle has at most, where there is a head and not noise alone


Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Finding:
    """One reason for doubt. ``sure``: enough to refuse the volume.

    looks: what it looks like, after "looks like" or in its place; remedy: what to do about it.
    """

    question: str
    looks: str
    remedy: str
    sure: bool


def mask_or_labels(volume: Volume, content: Mask) -> Finding | None:
    """A mask, a label map or a drawing: few values, or flat areas with sharp borders.

    ``content`` (I,J,K) is where the volume is no air.
    """
    remedy = "give the image itself"
    every = max(1, np.count_nonzero(content) // MOST_COUNTED)
    values = np.unique(volume.array[content][::every])
    if len(values) < FEW_VALUES:
        looks = f"looks like a mask or label map, with {len(values)} values in all that is not air"
        return Finding("values", looks, remedy, True)
    flat = _flat_share(volume.array, content)
    if flat < FLAT_SHARE:
        return None
    looks = f"looks like a label map or a drawing, with {flat:.0%} of its neighbors equal"
    return Finding("values", looks, remedy, True)


def _flat_share(array: NDArray[np.float32], content: Mask) -> float:
    """Of the content's voxels, how many equal the next one; the least of three axes that have a
    next one.
    """
    shares = []
    for axis in range(3):
        a, b = np.moveaxis(array, axis, 0), np.moveaxis(content, axis, 0)
        count = np.count_nonzero(b[:-1])
        if count:
            shares.append(np.count_nonzero((a[1:] == a[:-1]) & b[:-1]) / count)
    return min(shares, default=0.0)


def holes(volume: Volume, content: Mask) -> Finding | None:
    """Slices of one value between slices with much content."""
    for axis in range(3):
        others = tuple({0, 1, 2} - {axis})
        counts = np.count_nonzero(content, axis=others)
        within = np.flatnonzero(counts > ENOUGH * counts.max())
        constant = volume.array.max(axis=others) == volume.array.min(axis=others)
        missing = np.flatnonzero(constant[within[0] : within[-1]]) + within[0]
        if len(missing):
            some = ", ".join(map(str, missing[:3])) + (", ..." if len(missing) > 3 else "")
            looks = f"has {len(missing)} empty slices inside (array axis {axis + 1}: {some})"
            return Finding("slices", looks, "export the series again", True)
    return None


def size(extent_mm: tuple[float, float, float]) -> Finding | None:
    """Whether what is shown has the size of an adult's head or brain."""
    slab, width, length = sorted(extent_mm)
    measured = " x ".join(f"{edge:.3g}" for edge in extent_mm)
    looks = f"shows something of {measured} mm"
    remedy = "correct the voxel size in its header, or give a whole head or brain"
    if not WIDTH_MM[0] <= width <= WIDTH_MM[1] or not LENGTH_MM[0] <= length <= LENGTH_MM[1]:
        return Finding("size", f"{looks}, which no adult's head or brain measures", remedy, True)
    if slab < SLAB_MM:
        return Finding("size", f"{looks}, a thin part of a head at most", remedy, False)
    return None


def noise_around(volume: Volume) -> Finding | None:
    """Air as bright as the head, and a head in its middle: a quotient of two images, as MP2RAGE's
    uniform image is (Marques et al., NeuroImage 2010, Eq. 3), where both are noise.

    Neighbors in the faces of other heads that were looked at differ by 0.1 medians at most, those
    of a piece of spine by 0.2.
    """
    ends = ((axis, end) for axis in range(3) for end in (0, -1))
    faces = [np.moveaxis(volume.array, axis, 0)[end] for axis, end in ends]
    noise = sorted(map(_difference, faces), reverse=True)[LOUD_FACES - 1]
    if not noise:  # as where air was set to one value: nothing more to look at
        return None
    try:
        median = median_scaling(volume).half_width / 2
    except VolumeError:  # constant; the look says so
        return None
    middle = volume.array[tuple(slice(n // 3, n - n // 3) for n in volume.shape)]
    if noise < LOUD * median or _difference(middle) > QUIETER * noise:
        return None
    looks = "has air as bright as the head, as MP2RAGE's uniform image (UNI) has"
    remedy = "give the denoised one (UNI-DEN), or first multiply it by the second inversion's image"
    return Finding("kind", looks, remedy, True)


def _difference(array: NDArray[np.float32]) -> float:
    """The median one of neighbors along the first axis; 0 where there are none."""
    return float(np.median(np.abs(np.diff(array, axis=0)))) if len(array) > 1 else 0.0


def ct(volume: Volume) -> Finding | None:
    """CT in Hounsfield units."""
    if not value_doubts(volume):
        return None
    return Finding("kind", "looks like CT in Hounsfield units", "give an MR image", True)
