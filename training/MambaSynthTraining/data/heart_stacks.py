"""The 45 short-axis stacks that the beating hearts are made from, on one grid.

Sunnybrook Cardiac Data (Radau et al. 2009, CC0): bSSFP slices of one phase, end-diastole, cut to
64x64 pixels around the left ventricle, 8 to 10 mm apart, with the outline of the myocardium.
Axes everywhere: D runs from base to apex, then H and W in the plane; positions are in mm from the
center of voxel 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MambaSynthLib.errors import FileError

ARRAYS = ("images", "segs", "caseIndices", "caseVoxelSize")
ABOVE_BASE_MM = 9.45  # copies of the top slice, so that the base has something to draw down


@dataclass(frozen=True)
class Stack:
    """One patient as acquired: ``images`` and ``wall`` (N,H,W), ``spacing_mm`` along D, H, W."""

    images: NDArray[np.float32]
    wall: NDArray[np.bool_]
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Grid:
    """The grid of the cine; the defaults are MSTG's spacing and a quarter of its plane."""

    size: tuple[int, int, int] = (32, 64, 64)
    spacing_mm: tuple[float, float, float] = (3.15, 1.5, 1.5)


@dataclass(frozen=True)
class Anatomy:
    """A stack on the grid: ``image`` (D,H,W), and where ``slices_mm`` (N,) of it came to lie.

    ``valid`` are the (start, stop) voxels along D, H, W that the stack covers; around it is
    nothing but zeros. ``origin_mm`` (H, W) is where pixel (0, 0) of the stack lies on the grid.
    """

    image: NDArray[np.float32]
    slices_mm: NDArray[np.float64]
    origin_mm: tuple[float, float]
    valid: tuple[tuple[int, int], ...]


def read_stacks(path: Path) -> list[Stack]:
    """All patients of ``scd_lvsegs.npz``. Raises FileError where it is missing or another file."""
    try:
        with np.load(path, allow_pickle=False) as data:
            images, wall, ranges, voxels = (data[name] for name in ARRAYS)
    except (OSError, ValueError, KeyError) as error:
        raise FileError(
            f"{path}: is no set of Sunnybrook stacks with {', '.join(ARRAYS)}; "
            "name the file scd_lvsegs.npz."
        ) from error
    return [
        Stack(
            images[first:end].astype(np.float32),
            wall[first:end] > 0,
            (float(voxels[first, 2]), float(voxels[first, 0]), float(voxels[first, 1])),
        )
        for first, end in ranges
    ]


def place(stack: Stack, grid: Grid) -> Anatomy:
    """Resample a stack to ``grid``: linear between slices, cubic in the plane, padded with zeros.

    The stack is centered; whatever does not fit is cut off. Above the base the top slice is
    repeated for ``ABOVE_BASE_MM``.
    """
    length = np.array(stack.images.shape) * stack.spacing_mm
    room = np.array(grid.size) * grid.spacing_mm
    start = (room - length) / 2  # mm; negative where the stack is cut
    start[0] = max(min((room[0] - length[0] + ABOVE_BASE_MM) / 2, room[0] - length[0]), start[0])
    first_center = start + (np.array(stack.spacing_mm) - grid.spacing_mm) / 2
    low = start - (ABOVE_BASE_MM, 0, 0)
    valid = tuple(
        (max(0, int(np.ceil(begin / step - 1e-6))), min(n, int((end) / step + 1e-6)))
        for begin, end, step, n in zip(low, start + length, grid.spacing_mm, grid.size, strict=True)
    )
    centers = [
        (np.arange(begin, end) * step - first) / voxel
        for (begin, end), step, first, voxel in zip(
            valid, grid.spacing_mm, first_center, stack.spacing_mm, strict=True
        )
    ]
    image = np.zeros(grid.size, dtype=np.float32)
    box = tuple(slice(*ends) for ends in valid)
    image[box] = _resampled(stack.images, centers)
    slices = first_center[0] + np.arange(len(stack.images)) * stack.spacing_mm[0]
    return Anatomy(image, slices, (float(first_center[1]), float(first_center[2])), valid)


def _resampled(
    images: NDArray[np.float32], centers: list[NDArray[np.float64]]
) -> NDArray[np.float32]:
    """(N,H,W) slices at the positions ``centers`` (in slices and pixels) -> (D,H,W), >= 0."""
    rows, columns = np.meshgrid(centers[1], centers[2], indexing="ij")
    plane = np.stack(
        [ndimage.map_coordinates(one, [rows, columns], order=3, mode="nearest") for one in images]
    )
    z = np.clip(centers[0], 0, len(images) - 1)
    below = np.minimum(z.astype(int), len(images) - 2)
    part = (z - below)[:, None, None].astype(np.float32)
    return np.maximum(plane[below] * (1 - part) + plane[below + 1] * part, 0).astype(np.float32)
