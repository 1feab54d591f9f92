"""Frames on one grid as the motion sees them: slices in order, 1 is bright, where they move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.cine.preparation import short_axis
from MambaSynthLib.image.grid import Reorientation
from MambaSynthLib.image.volume import Volume

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
Box = tuple[slice, slice]

BRIGHT_PERCENTILE = 99.9
SMOOTHED, MOVING_SHARE = 1.0, 0.25  # pixels; of the largest change, above which the heart moves
MARGIN_MM = 80.0  # around that, for the motion


@dataclass(frozen=True)
class Stacks:
    """Frames on one grid as the motion sees them: oriented, scaled, and where the heart moves."""

    view: Reorientation
    scale: np.float32  # intensity of 1
    spacing: tuple[float, float, float]  # mm: slices, rows, columns
    box: Box  # rows and columns that the motion covers

    @classmethod
    def of(cls, frames: Sequence[Volume]) -> Stacks:
        view = short_axis(frames[0].affine, "LPS")
        bright = max(float(np.percentile(frame.array, BRIGHT_PERCENTILE)) for frame in frames)
        top = max(float(np.abs(frame.array).max()) for frame in frames)
        scale = np.float32(bright if bright > 0 else top or 1.0)
        n, r, c = (float(frames[0].spacing[axis]) for axis in view.order)
        low, high = frames[0].array, frames[0].array
        for frame in frames[1:]:
            low, high = np.minimum(low, frame.array), np.maximum(high, frame.array)
        moving = moving_region(view.apply(high - low))
        return cls(view, scale, (n, r, c), _box_around(moving, (r, c)))

    def stack(self, volume: Volume) -> Array:
        """(N,R,C), 1 is bright."""
        scaled: Array = self.view.apply(volume.array) / self.scale
        return scaled

    def volume(self, stack: Array) -> Array:
        """(I,J,K) in the source's units."""
        return self.view.undo(stack) * self.scale

    def cut(self, stack: Array) -> Array:
        """What lies in the box, of the last two axes."""
        return np.ascontiguousarray(stack[(..., *self.box)])

    def field_of_volume(self, field: Array) -> Array:
        """(3,N,R,C) voxels of slices, rows, columns -> (3,I,J,K) along the volume's axes."""
        parts: list[Array] = [np.zeros(0, np.float32)] * 3
        for axis, source in enumerate(self.view.order):
            sign = np.float32(-1 if self.view.flipped[axis] else 1)
            parts[source] = self.view.undo(sign * field[axis])
        return np.stack(parts)

    def stack_of_field(self, field: Array) -> Array:
        """(3,I,J,K) -> (3,N,r,c) in the box: the undoing of ``field_of_volume``."""
        parts = []
        for axis, source in enumerate(self.view.order):
            sign = np.float32(-1 if self.view.flipped[axis] else 1)
            parts.append(sign * self.view.apply(field[source]))
        return self.cut(np.stack(parts))


def moving_region(change: Array) -> Mask:
    """(N,R,C) where a change (N,R,C) is large, smoothed by a pixel."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(change, (0, SMOOTHED, SMOOTHED))
    found: Mask = smooth > MOVING_SHARE * smooth.max()
    return found


def _box_around(moving: Mask, spacing: tuple[float, float]) -> Box:
    """Rows and columns of the moving region and a margin; all where nothing moves."""
    sides = []
    for axis, mm in enumerate(spacing):
        seen = np.flatnonzero(moving.any(axis=(0, 2 - axis)))
        margin = round(MARGIN_MM / mm)
        if not len(seen):
            sides.append(slice(None))
            continue
        sides.append(slice(max(0, int(seen[0]) - margin), int(seen[-1]) + margin + 1))
    return sides[0], sides[1]
