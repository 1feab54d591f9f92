"""What the columns of a report show: arrays on one grid, their windows, and where the head is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.image.volume import AXIS_LETTERS, Volume

WINDOW_PERCENTILES = (0.5, 99.5)  # of all voxels; a head fills about a third of them
# On a grid that grows to the left, posterior and inferior: the axis across each plane and the
# letters at its left, right and top edge.
PLANES = {"axial": (2, "RLA"), "coronal": (1, "RLS"), "sagittal": (0, "APS")}
DIFFERENCE_RANGE = (0.0, 0.5)  # fraction of the display window; fixed, so that reports compare

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Column:
    """What one column shows: (I,J,K) values on an LPI grid, how to window and how to title them."""

    title: str
    array: Array
    window: tuple[float, float]
    colors: str = "gray"
    marked: bool = False


def columns_of(
    source: Volume, synthetic: Volume, reference: Volume | None, contrasts: tuple[str, str]
) -> list[Column]:
    source_contrast, target_contrast = contrasts
    columns = [
        _column(f"{source_contrast} source", source),
        _column(f"{target_contrast} synthetic", synthetic, marked=True),
    ]
    if reference is not None:
        columns.append(_column(f"{target_contrast} reference", reference))
        scaled = [_scaled(column) for column in columns[1:]]
        difference = np.abs(scaled[0] - scaled[1])
        columns.append(
            Column("absolute difference / display window", difference, DIFFERENCE_RANGE, "inferno")
        )
    return columns


def _column(title: str, volume: Volume, *, marked: bool = False) -> Column:
    window = _window(volume.array)
    return Column(title, in_lpi(volume), window, marked=marked)


def _window(array: Array) -> tuple[float, float]:
    """Low percentile of all voxels, high percentile of those that differ from the corner voxel.

    So the window of a few synthesized slices is that of the whole volume.
    """
    shown = array[array != array.flat[0]]
    low = float(np.percentile(array, WINDOW_PERCENTILES[0]))
    high = float(np.percentile(shown, WINDOW_PERCENTILES[1])) if len(shown) else low
    return (low, high) if high > low else (low, low + 1)


def _scaled(column: Column) -> Array:
    low, high = column.window
    scaled: Array = np.clip((column.array - low) / (high - low), 0, 1)
    return scaled


def in_lpi(volume: Volume) -> NDArray[np.float32]:
    """The array on the nearest grid whose indices grow to the left, posterior and inferior.

    Then ``plane.T`` is a radiological picture, for each of the three planes. Axes are permuted
    and flipped, never interpolated.
    """
    axes = lpi_axes(volume)
    steps = [1 if volume.axis_codes[axis] in "LPI" else -1 for axis in axes]
    return volume.array.transpose(axes)[tuple(slice(None, None, step) for step in steps)]


def lpi_axes(volume: Volume) -> list[int]:
    """The array axis that runs along L-R, P-A and I-S."""
    return [
        next(axis for axis, code in enumerate(volume.axis_codes) if code in pair)
        for pair in AXIS_LETTERS
    ]


def head_center(array: Array) -> tuple[int, int, int]:
    """The voxel at the center of mass of all voxels brighter than the mean.

    A head rarely lies in the middle of the array. The middle is taken for a constant array.
    """
    bright = np.argwhere(array > array.mean(dtype=np.float64))
    center = bright.mean(axis=0) if len(bright) else (np.array(array.shape) - 1) / 2
    i, j, k = (int(index) for index in np.rint(center))
    return i, j, k
