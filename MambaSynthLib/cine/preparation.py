"""A pair of frames becomes the network's view of the heart, and motion comes back to the pair.

    Volume --reorient--> (N,R,C) --resample--> --canvas--> --min-max--> (D,H,W) in [0,1]
    source voxels' motion <--scale, fade-- <--sample-- field (3,D,H,W)

| symbol | code                 | shape     | meaning                                             |
|--------|----------------------|-----------|-----------------------------------------------------|
| V      | ``volume.array``     | (I,J,K)   | a frame's voxels                                    |
| -      | oriented             | (N,R,C)   | the same voxels as slices, rows, columns            |
| u      | ``field``            | (3,D,H,W) | pull field: a frame's voxel x shows the source at   |
|        |                      |           | x + u(x), in canvas voxels along D, H, W            |

Images are not resampled on their way back: the source's own voxels are moved by the resampled
field, so that a synthetic frame is as sharp as its source and no motion means no change.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.image.grid import Reorientation, interpolation_matrix
from MambaSynthLib.image.volume import AXIS_LETTERS, Volume, check_finite, spacing
from MambaSynthLib.model.card import CineGridSpec

DISTINCT = 1.2  # a stack's slices are further apart than its pixels, by at least this factor
FADE = 16  # canvas voxels over which motion fades out beyond the canvas
SMALLEST = 8  # pixels per row or column that a slice must have
LARGEST = 2048  # voxels along an axis of the resampled volume
COVERED = 0.5  # of a slice's distance from the canvas, in canvas voxels, that still counts as in

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class CinePreparation:
    """The way of frames on one grid to the network and back. Make it with ``prepare_cine``."""

    reorientation: Reorientation
    source_size: tuple[int, int, int]  # (N,R,C)
    resampled_size: tuple[int, int, int]
    canvas_size: tuple[int, int, int]  # (D,H,W)
    offset: tuple[int, int, int]  # canvas position of the first resampled voxel; negative crops
    low: float  # the lowest voxel of both frames is the network's 0
    high: float  # the highest is its 1

    @property
    def intensity_range(self) -> np.float32:
        """What a step of 1 in the network's units is in the source's."""
        return np.float32(self.high - self.low)

    def to_network(self, volume: Volume) -> Floats:
        """(D,H,W) in [0,1]; 0 where the canvas is larger than the volume."""
        scaled = self.reorientation.apply(volume.array) - np.float32(self.low)
        scaled /= self.intensity_range
        for axis in range(3):
            if self.source_size[axis] != self.resampled_size[axis]:
                sizes = self.source_size[axis], self.resampled_size[axis]
                scaled = _along(interpolation_matrix(*sizes), scaled, axis)
        canvas = np.zeros(self.canvas_size, dtype=np.float32)
        onto, from_ = [], []
        for size, offset, held in zip(self.canvas_size, self.offset, scaled.shape, strict=True):
            start, stop = max(0, offset), max(0, min(size, offset + held))
            onto.append(slice(start, stop))
            from_.append(slice(start - offset, stop - offset))
        canvas[tuple(onto)] = scaled[tuple(from_)]
        return canvas

    def from_network(self, image: Floats) -> Floats:
        """(D,H,W) -> (I,J,K): sampled at the source's voxels, fading to 0 beyond the canvas."""
        return self.reorientation.undo(self._sampled(image))

    def moved(self, volume: Volume, field: Floats) -> Floats:
        """(I,J,K): the voxels of ``volume`` pulled by a field (3,D,H,W); borders continue."""
        from scipy.ndimage import map_coordinates

        voxels = np.meshgrid(*map(np.arange, self.source_size), indexing="ij", sparse=True)
        places = np.empty((3, *self.source_size), dtype=np.float32)
        for axis in range(3):
            ratio = self.source_size[axis] / self.resampled_size[axis]
            places[axis] = voxels[axis] + self._sampled(field[axis]) * np.float32(ratio)
        oriented = self.reorientation.apply(volume.array)
        pulled: Floats = map_coordinates(oriented, places, order=1, mode="nearest")
        return self.reorientation.undo(pulled)

    def field_of_source(self, field: Floats) -> Floats:
        """(3,D,H,W) canvas voxels -> (3,I,J,K) source voxels along I, J, K, for moving labels."""
        parts: list[Floats] = [np.zeros(0, np.float32)] * 3
        for axis, source_axis in enumerate(self.reorientation.order):
            ratio = self.source_size[axis] / self.resampled_size[axis]
            sign = -1 if self.reorientation.flipped[axis] else 1
            sampled = self._sampled(field[axis]) * np.float32(sign * ratio)
            parts[source_axis] = self.reorientation.undo(sampled)
        return np.stack(parts)

    def slices_outside(self) -> int:
        """How many of the source's slices lie beyond the network's field of view."""
        places = self._places(0)
        last = self.canvas_size[0] - 1
        return int(np.sum((places < -COVERED) | (places > last + COVERED)))

    def _places(self, axis: int) -> NDArray[np.float64]:
        """(n,) where the source's voxel centers lie along a canvas axis."""
        source, resampled = self.source_size[axis], self.resampled_size[axis]
        voxels = np.arange(source, dtype=np.float64)
        return (voxels + 0.5) * (resampled / source) - 0.5 + self.offset[axis]

    def _sampled(self, array: Floats) -> Floats:
        """(D,H,W) at the source's voxel centers (N,R,C), fading out beyond the canvas."""
        for axis in range(3):
            matrix = _sampling_matrix(self._places(axis), self.canvas_size[axis])
            array = _along(matrix, array, axis)
        return array


def prepare_cine(ed: Volume, es: Volume, grid: CineGridSpec) -> CinePreparation:
    """Plan the way of two frames on one grid to a network trained on ``grid``.

    The canvas has the size of the training and lies where the frames differ, which is the heart.
    Training scales each frame by its own minimum and maximum; here both frames share theirs, so
    that one bright voxel in one of them does not make the heart darker from ED to ES.

    Raises
    ------
    VolumeError: a frame is constant or holds NaN, or the grid has too few or too many voxels.
    """
    lows, highs = zip(*map(_extremes, (ed, es)), strict=True)
    reorientation = short_axis(ed.affine, grid.axis_codes)
    n, r, c = (ed.shape[axis] for axis in reorientation.order)
    size = (n, r, c)
    resampled = _resampled_size(size, ed.spacing[list(reorientation.order)], grid)
    _check_sizes(size, resampled, ed.name)
    difference = reorientation.apply(np.abs(es.array.astype(np.float64) - ed.array))
    offset = [_offset(difference, axis, resampled[axis], grid.size[axis]) for axis in range(3)]
    place = (offset[0], offset[1], offset[2])
    return CinePreparation(reorientation, size, resampled, grid.size, place, min(lows), max(highs))


def _extremes(volume: Volume) -> tuple[float, float]:
    """The lowest and the highest voxel. Raises VolumeError for NaN and where they are the same."""
    check_finite(volume)
    low, high = float(volume.array.min()), float(volume.array.max())
    if not high - low > 1e-6 * max(abs(low), abs(high)):
        raise VolumeError(
            f"{volume.name}: the image is constant (all voxels near {low:g}); choose a frame that "
            "shows the heart."
        )
    return low, high


def short_axis(affine: NDArray[np.float64], codes: str) -> Reorientation:
    """Slices, rows and columns of a stack, growing towards ``codes`` (columns, rows, slices).

    A short-axis stack is oblique to all three patient axes, so that the nearest axis codes may
    take a row for the slices. The slices are the axis with the largest spacing; only where no
    spacing stands out do the codes decide. Rows and columns are those that fit ``codes`` best.
    """
    lengths = spacing(affine)
    largest, second = np.sort(lengths)[::-1][:2]
    if largest < DISTINCT * second:
        return Reorientation.between(affine, codes)
    cosines = affine[:3, :3] / lengths  # (RAS, array axis)
    column, row, stack = (_direction(code) @ cosines for code in codes)  # (array axis,) each
    n = int(np.argmax(lengths))
    a, b = (axis for axis in range(3) if axis != n)
    r, c = max(((a, b), (b, a)), key=lambda rc: round(abs(row[rc[0]]) + abs(column[rc[1]]), 9))
    return Reorientation((n, r, c), (bool(stack[n] < 0), bool(row[r] < 0), bool(column[c] < 0)))


def _direction(code: str) -> NDArray[np.float64]:
    """(3,) the unit vector in RAS of a patient direction such as 'L'."""
    axis = next(axis for axis, pair in enumerate(AXIS_LETTERS) if code in pair)
    vector = np.zeros(3)
    vector[axis] = 1 if AXIS_LETTERS[axis][1] == code else -1
    return vector


def _resampled_size(
    size: tuple[int, int, int], lengths: NDArray[np.float64], grid: CineGridSpec
) -> tuple[int, int, int]:
    if grid.spacing_mm is None:
        return size
    wanted = grid.spacing_mm[::-1]  # slices, rows, columns
    n, r, c = (
        max(1, round(count * float(length) / target))
        for count, length, target in zip(size, lengths, wanted, strict=True)
    )
    return n, r, c


def _check_sizes(size: tuple[int, int, int], resampled: tuple[int, int, int], name: str) -> None:
    if min(size[1:]) < SMALLEST:
        raise VolumeError(
            f"{name}: its slices are {size[1]} x {size[2]} pixels, too small to show a heart; at "
            f"least {SMALLEST} x {SMALLEST} are needed."
        )
    if max(resampled) > LARGEST:
        raise VolumeError(
            f"{name}: would become {' x '.join(map(str, resampled))} voxels for this model, more "
            f"than {LARGEST} along an axis; check the voxel size or crop the image."
        )


def _offset(difference: NDArray[np.float64], axis: int, resampled: int, size: int) -> int:
    """Where the first resampled voxel lies on the canvas: the heart in the middle of what is cut.

    What fits is centered, as in training. The heart is the center of mass of the squared
    difference.
    """
    if resampled <= size:
        return (size - resampled) // 2
    others = tuple(other for other in range(3) if other != axis)
    weight = np.sum(difference**2, axis=others)
    middle = (len(weight) - 1) / 2
    center = float(np.average(np.arange(len(weight)), weights=weight)) if weight.any() else middle
    first = round((center + 0.5) * resampled / len(weight) - size / 2)
    return -min(max(first, 0), resampled - size)


def _sampling_matrix(places: NDArray[np.float64], size: int) -> Floats:
    """(n,size) weights that sample a line linearly at ``places``.

    Beyond the line its end continues, and fades to zero over ``FADE`` voxels.
    """
    inside = np.clip(places, 0, size - 1)
    weights = np.maximum(0.0, 1.0 - np.abs(inside[:, None] - np.arange(size)))
    fading = np.clip(np.abs(places - inside) / FADE, 0, 1)
    faded: Floats = (weights * (0.5 + 0.5 * np.cos(np.pi * fading))[:, None]).astype(np.float32)
    return faded


def _along(matrix: Floats, array: Floats, axis: int) -> Floats:
    """``matrix`` (n,m) applied to one axis of m voxels."""
    result: Floats = np.moveaxis(np.tensordot(matrix, array, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(result)
