"""The spinal cord of a T1w head, followed down from the brain.

In T1w the cord is a bright disk in a dark ring of fluid. ``follow`` finds the line through all
slices below the brain whose disks stand out most from their rings, altogether, and which leans no
more than a neck does (dynamic programming, slice by slice).

| symbol | code      | shape   | meaning                                                   |
|--------|-----------|---------|-----------------------------------------------------------|
| x_0    | ``stack`` | (N,H,W) | T1w in [-1,1], axial from below, rows to the back         |
|        | ``brain`` | (N,H,W) | its brain mask                                            |
| s      | ``score`` | (n,H,W) | (disk - ring) / disk, brightness around each pixel of 1 mm|
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.image.intensity import EMPTY

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Path = NDArray[np.intp]  # (n,2) row and column in the slices 0 to n-1

SMALLEST_MM2 = 1500.0  # area of the brain in its lowest slice that is no cord
DISK_MM, RING_MM = 4.0, (6.5, 9.0)
FAINT = 0.05  # of [-1,1]: what is added to a disk of air, so that it is no sharp one
STEM_MM = (8.0, 25.0, 8.0)  # before, behind the front of the lowest brain, beside its middle
BESIDE_MM = 15.0  # a neck bends to the side less than this
BENT = 0.02  # what a pixel to the side costs, in units of the score
NOWHERE = -1e3


def lowest(brain: Mask) -> int:
    """The lowest slice of a brain mask that is more than cord.

    Raises VolumeError: it has no slice as large as a brain.
    """
    area = brain.sum(axis=(1, 2))
    if not (area >= SMALLEST_MM2).any():
        raise VolumeError(
            f"its brain mask is nowhere larger than {area.max()} mm2; list only whole heads."
        )
    return int(np.flatnonzero(area >= SMALLEST_MM2)[0])


def follow(stack: Floats, brain: Mask, slice_mm: float) -> Path:
    """Row and column of the cord in each slice up to ``lowest``. Raises VolumeError as that."""
    low = lowest(brain)
    score = _standing_out(stack[: low + 1] - EMPTY)[::-1]  # downwards
    rows, columns = np.nonzero(brain[low])
    i, j = np.ogrid[tuple(map(slice, stack.shape[1:]))]
    before, behind, beside = STEM_MM
    front, middle = float(np.percentile(rows, 2)), float(np.median(columns))
    stem = (abs(j - middle) < beside) & (i > front - before) & (i < front + behind)
    score = np.where(abs(j - middle) < BESIDE_MM, score, NOWHERE)
    lean = int(np.ceil(slice_mm))  # 45 degrees to front and back
    steps = list(product(range(-lean, lean + 1), (-1, 0, 1)))
    total, came = np.where(stem, score[0], NOWHERE), []
    for found in score[1:]:
        moved = [np.roll(total, step, (0, 1)) - BENT * sum(map(abs, step)) for step in steps]
        came.append(np.argmax(moved, axis=0))
        total = np.max(moved, axis=0) + found
    place = tuple(int(k) for k in np.unravel_index(total.argmax(), total.shape))
    path = [place]
    for best in came[::-1]:
        row, column = steps[best[place]]
        place = (place[0] - row, place[1] - column)
        path.append(place)
    return np.array(path)


def around(cord: Path, shape: tuple[int, ...], mm: float) -> Mask:
    """(N,H,W): what lies within ``mm`` of the cord in its slice."""
    found = np.zeros(shape, bool)
    i, j = np.ogrid[tuple(map(slice, shape[1:]))]
    for n, (row, column) in enumerate(cord):
        found[n] = (i - row) ** 2 + (j - column) ** 2 < mm**2
    return found


def _standing_out(light: Floats) -> Floats:
    """The score of slices (n,H,W), whose air is 0."""
    inner, outer = (
        np.stack([ndimage.convolve(s, k, mode="constant") for s in light])
        for k in (_ring(0, DISK_MM), _ring(*RING_MM))
    )
    score: Floats = (inner - outer) / (inner + FAINT)
    return score


def _ring(inner_mm: float, outer_mm: float) -> Floats:
    """A kernel whose numbers add up to 1."""
    half = int(outer_mm)
    distance = np.hypot(*np.mgrid[-half : half + 1, -half : half + 1])
    ring = ((distance >= inner_mm) & (distance <= outer_mm)).astype(np.float32)
    return ring / ring.sum()
