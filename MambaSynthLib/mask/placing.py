"""A volume's voxels <-> cubes of one edge length, whose axes grow upwards, forwards, rightwards.

    V (I,J,K) --by the affine--> (N,H,W) --linear, along each axis--> cubes --> padded

The axes are those of the volume that are closest to the patient's: an oblique head stays turned,
and no voxel is interpolated twice. The field of view is kept, padding is air.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.image.grid import Reorientation, interpolation_matrix
from MambaSynthLib.image.volume import Volume

CODES = "RAS"  # columns, rows, slices
AIR_SHARE = 0.15  # of the way from the darkest to the brightest: what is below counts as air
DARKEST, BRIGHTEST = 1.0, 99.5  # percentiles
AIR, MOST = 0.0, 3.0  # in medians of what is not air
LEAST_CONTRAST = 1e-4  # of the brightest; interpolation alone makes a millionth

Floats = NDArray[np.float32]
Sizes = tuple[int, int, int]


@dataclass(frozen=True)
class Placing:
    """The way there and back; see ``of``."""

    reorientation: Reorientation
    source: Sizes  # slices, rows, columns of the volume
    cubes: Sizes  # of its field of view
    before: Sizes  # padding at the beginning of each axis
    padded: Sizes

    @classmethod
    def of(cls, volume: Volume, edge_mm: float, multiple: int = 1) -> Placing:
        """Cubes of about ``edge_mm``, of whose number along each axis ``multiple`` is a part."""
        turn = Reorientation.between(volume.affine, CODES)
        source = [volume.shape[axis] for axis in turn.order]
        edges = volume.spacing[list(turn.order)]
        cubes = [max(1, round(n * e / edge_mm)) for n, e in zip(source, edges, strict=True)]
        padded = [-(-n // multiple) * multiple for n in cubes]
        before = [(p - n) // 2 for p, n in zip(padded, cubes, strict=True)]
        return cls(turn, *(_three(sizes) for sizes in (source, cubes, before, padded)))

    def apply(self, array: Floats) -> Floats:
        """(I,J,K) -> the cubes of its field of view."""
        return _resampled(self.reorientation.view(array), self.cubes)

    def pad(self, cubes: Floats, outside: float) -> Floats:
        """The cubes of the field of view -> those of the padded one."""
        found = np.full(self.padded, outside, np.float32)
        found[self._inner()] = cubes
        return found

    def undo(self, cubes: Floats) -> Floats:
        """The padded cubes -> (I,J,K)."""
        return self.reorientation.undo(_resampled(cubes[self._inner()], self.source))

    def _inner(self) -> tuple[slice, ...]:
        return tuple(slice(b, b + n) for b, n in zip(self.before, self.cubes, strict=True))


def _three(sizes: list[int]) -> Sizes:
    a, b, c = sizes
    return a, b, c


def _resampled(array: Floats, sizes: Sizes) -> Floats:
    """Linear along each axis, the one that shrinks most first; equal sizes change nothing."""
    for axis in sorted(range(3), key=lambda a: sizes[a] / array.shape[a]):
        if array.shape[axis] != sizes[axis]:
            weights = interpolation_matrix(array.shape[axis], sizes[axis])
            array = np.moveaxis(np.tensordot(weights, array, (1, axis)), 0, axis)
    return np.ascontiguousarray(array, np.float32)


def scaled(cubes: Floats, name: str) -> Floats:
    """Air becomes 0, the median of what is not air 1; cut at 3.

    Raises VolumeError for a constant image.
    """
    low, bright = (float(v) for v in np.percentile(cubes, [DARKEST, BRIGHTEST]))
    if not bright > low:
        low, bright = float(cubes.min()), float(cubes.max())
    if not bright - low > LEAST_CONTRAST * max(abs(low), abs(bright)):
        raise VolumeError(
            f"{name}: the image is constant (all voxels near {low:g}); choose a volume that shows "
            "anatomy."
        )
    median = float(np.median(cubes[cubes > low + AIR_SHARE * (bright - low)]))
    found: Floats = np.clip((cubes - low) / (median - low), 0, MOST).astype(np.float32)
    return found
