"""The mark into a volume: the pattern times what each voxel can bear.

The pattern lies in the plane of the two finest directions and is the same along the third, so that
thick slices hold as much as thin ones, and one slice is enough. It starts at the same corner of the
patient whatever the order of the array's axes.
"""

from __future__ import annotations

import numpy as np

from MambaSynthLib.image.grid import Reorientation
from MambaSynthLib.image.volume import AXIS_LETTERS, Volume
from MambaSynthLib.watermark.pattern import code_of, drawn, pattern_of
from MambaSynthLib.watermark.texture import Floats, Levels, strength

CODES = {"S": "RAS", "A": "RSA", "R": "ASR"}  # across slices -> columns, rows, slices
SAME = 1e-3  # relative difference of equal edges
STEEPEST = 2.5  # standard deviations of the pattern


def with_mark(volume: Volume, model_id: str) -> Volume:
    """``volume`` with the mark of a model; see ``add_mark``."""
    array = volume.array.copy()
    add_mark(array, volume, model_id)
    return volume.with_array(array)


def add_mark(array: Floats, grid: Volume, model_id: str) -> None:
    """Put the mark of a model into an image on the ``grid`` of a volume, in place.

    The image stays within its own range of values, of which the lowest, the background, stays as
    it is.
    """
    turn = slices_of(grid)
    stack = turn.view(array)  # (N,H,W)
    levels = Levels.of(stack)
    low, high = stack.min(), stack.max()
    unit = pixel(grid, turn)
    rows, columns = (np.arange(n) * u for n, u in zip(stack.shape[1:], unit, strict=True))
    pattern = drawn(pattern_of(), code_of(model_id), rows, columns)
    np.clip(pattern, -STEEPEST, STEEPEST, out=pattern)
    for image in stack:
        added = strength(image - np.float32(levels.center), levels)
        added *= pattern
        added[image == low] = 0
        np.clip(image + added, low, high, out=image)


def slices_of(volume: Volume) -> Reorientation:
    """How the pattern sees a volume: slices follow on each other where voxels are longest, upwards
    where all are alike.
    """
    edges = dict(zip(volume.axis_codes, volume.spacing, strict=True))
    across = {
        pair[1]: edge for pair in AXIS_LETTERS for code, edge in edges.items() if code in pair
    }
    longest = max(across.values()) * (1 - SAME)
    return Reorientation.between(
        volume.affine, next(CODES[code] for code in CODES if across[code] >= longest)
    )


def pixel(volume: Volume, turn: Reorientation) -> tuple[float, float]:
    """Height and width of a pixel in units, which are the longer of both."""
    _, height, width = volume.spacing[list(turn.order)]
    unit = max(height, width)
    return float(height / unit), float(width / unit)
