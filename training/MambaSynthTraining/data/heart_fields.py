"""From where the points of a frame were at end-diastole to fields, labels and moved images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MambaSynthTraining.data.heart_cine import LEFT_POOL, MYOCARDIUM
from MambaSynthTraining.data.heart_stacks import Grid
from MambaSynthTraining.data.heart_ventricle import Points
from MambaSynthTraining.data.heart_wall import Wall


def pull_field(where: Points, grid: Grid) -> NDArray[np.float32]:
    """(3,D,H,W) displacement in voxels from positions in mm: frame(x) = ED(x + field(x)).

    Rounded to 1e-4 voxel, so that a still voxel at the border does not look past it by 1e-15.
    """
    here = np.indices(grid.size)
    steps = zip(where, grid.spacing_mm, here, strict=True)
    field = np.stack([position / step - index for position, step, index in steps])
    return field.round(4).astype(np.float32)


def warp(
    image: NDArray[np.float32], field: NDArray[np.float32], order: int = 1
) -> NDArray[np.float32]:
    """image(x + field(x)) by splines of ``order``; zeros outside, clipped to the image's range."""
    where = np.indices(image.shape, dtype=np.float32) + field
    moved = ndimage.map_coordinates(image, where, order=order, mode="constant")
    return np.clip(moved, image.min(), image.max())


def labels_at(wall: Wall, where: Points) -> NDArray[np.uint8]:
    """(D,H,W) labels: which side of the end-diastolic wall each point came from. Papillary muscles
    count as pool, as is usual.
    """
    z, row, column = where
    center_row, center_column = wall.center_at(z)
    down, right = row - center_row, column - center_column
    _, inner, outer = wall.radii_at(z, np.arctan2(down, right))
    radius = np.hypot(down, right)
    half = (wall.slices_mm[1] - wall.slices_mm[0]) / 2
    within = (z >= wall.slices_mm[0] - half) & (z <= wall.slices_mm[-1] + half)
    labels = np.where(radius < inner, LEFT_POOL, np.where(radius < outer, MYOCARDIUM, 0))
    return np.where(within, labels, 0).astype(np.uint8)
