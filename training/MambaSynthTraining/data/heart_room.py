"""The room that a heart moves in: all motion fades to nothing in the chest around it, and at the
border of what was acquired at the latest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MambaSynthTraining.data.heart_stacks import Anatomy, Grid
from MambaSynthTraining.data.heart_wall import RightVentricle, Wall

Array = NDArray[np.float64]

CLEARANCE_MM = 4.0  # beyond the epicardium that still moves with the wall
SLIDING_MM = 18.0  # of tissue around the heart, over which motion fades
FARTHEST = 0.6  # of the way to the border, where fading begins at the latest


@dataclass(frozen=True)
class Room:
    """``top_mm``: the uppermost plane; ``rows``, ``columns``: the border in the plane, mm."""

    wall: Wall
    right: RightVentricle
    top_mm: float
    rows: tuple[float, float]
    columns: tuple[float, float]

    @classmethod
    def of(cls, wall: Wall, right: RightVentricle, anatomy: Anatomy, grid: Grid) -> Room:
        sides = [
            (low * step, (high - 1) * step)
            for (low, high), step in zip(anatomy.valid, grid.spacing_mm, strict=True)
        ]
        return cls(wall, right, sides[0][0], sides[1], sides[2])

    def around(self, z: Array, row: Array, column: Array) -> tuple[Array, Array, Array]:
        """r and w around the center line, and how far the border is in that direction, mm."""
        center_row, center_column = self.wall.center_at(z)
        down, right = row - center_row, column - center_column
        radius = np.hypot(down, right)
        end = np.full_like(radius, np.inf)
        with np.errstate(divide="ignore", invalid="ignore"):
            for (low, high), offset, center in (
                (self.rows, down, center_row),
                (self.columns, right, center_column),
            ):
                reach = np.where(offset > 0, high - center, center - low) / np.abs(offset) * radius
                end = np.fmin(end, reach)
        return radius, np.arctan2(down, right), end

    def fading(self, z: Array, row: Array, column: Array) -> Array:
        """1 up to a little outside both ventricles, smoothly to 0 in the chest."""
        radius, angle, end = self.around(z, row, column)
        start = np.interp(z, self.wall.slices_mm, self.wall.outer.max(axis=1)) + CLEARANCE_MM
        start = start + self.right.window(angle) * self.right.depth_at(z)
        start = np.minimum(start, FARTHEST * end)
        end = np.minimum(end, start + SLIDING_MM)
        part = np.clip((radius - start) / (end - start), 0, 1)
        return np.where(radius == 0, 1.0, (1 - part**2) ** 2)
