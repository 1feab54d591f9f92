"""The wall of the left ventricle as two closed curves per slice, around a smooth center line.

| symbol | code      | shape     | meaning                                             |
|--------|-----------|-----------|-----------------------------------------------------|
| c(z)   | ``center``| (N,2)     | center of the ventricle in the plane, mm            |
| a      | ``inner`` | (N,A)     | radius of the endocardium in A directions, mm       |
| b      | ``outer`` | (N,A)     | radius of the epicardium, mm                        |
| e      | ``blood`` | (N,A)     | radius inside which there is blood alone, mm        |

The outlines are open where the outflow tract leaves the ventricle; a few Fourier terms around the
ventricle close them. Between e and a lie papillary muscles and trabeculae; they, and the right
ventricle, are read off the picture by ``heart_blood.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MambaSynthTraining.data.heart_stacks import Anatomy, Stack

Array = NDArray[np.float64]

ANGLES = 64
HARMONICS = 3
STEP = 0.25  # of a pixel, along a ray
LEAST_SEEN = 0.5  # of the directions, or the neighbor's curves are taken
THINNEST_MM = 3.0
HALF_WIDTH = np.deg2rad(80)  # of the right ventricle, seen from the center of the left one


@dataclass(frozen=True)
class Wall:
    """Curves at the ``slices_mm`` (N,) of the grid's axis D; linear between them."""

    slices_mm: Array
    center: Array
    inner: Array
    outer: Array
    blood: Array

    def center_at(self, z: Array) -> tuple[Array, Array]:
        """c(z): the two coordinates in mm, each of the shape of ``z`` (mm)."""
        row, column = (np.interp(z, self.slices_mm, self.center[:, i]) for i in (0, 1))
        return row, column

    def radii_at(self, z: Array, angle: Array) -> tuple[Array, Array, Array]:
        """e, a and b in mm at heights ``z`` (mm) and directions ``angle`` (radians), of one
        shape.
        """
        slice_index = np.interp(z, self.slices_mm, np.arange(len(self.slices_mm)))
        turn = np.mod(angle, 2 * np.pi) * (ANGLES / (2 * np.pi))
        blood, inner, outer = (
            ndimage.map_coordinates(
                np.concatenate([curves, curves[:, :1]], axis=1), [slice_index, turn], order=1
            )
            for curves in (self.blood, self.inner, self.outer)
        )
        return blood, inner, outer


@dataclass(frozen=True)
class RightVentricle:
    """``direction`` (radians) of its middle from the center of the left one, and at the
    ``slices_mm`` (N,) how deep it is from the septum to its free wall, ``depth_mm`` (N,).
    """

    slices_mm: Array
    direction: float
    depth_mm: Array

    def window(self, angle: Array) -> Array:
        """1 in its middle, 0 from ``HALF_WIDTH`` on."""
        apart = np.abs(np.angle(np.exp(1j * (angle - self.direction))))
        window: Array = np.cos(np.clip(apart / HALF_WIDTH, 0, 1) * np.pi / 2) ** 2
        return window

    def depth_at(self, z: Array) -> Array:
        """mm at heights ``z`` (mm)."""
        return np.interp(z, self.slices_mm, self.depth_mm)


def wall_of(stack: Stack, anatomy: Anatomy) -> Wall:
    """The wall of a stack's outlines, in the coordinates of the grid, without papillary muscles."""
    pixel = np.array(stack.spacing_mm[1:])
    center = np.stack([_box_center(mask) for mask in stack.wall])
    center = ndimage.gaussian_filter1d(center, 1, axis=0, mode="nearest")
    curves = np.stack([_curves(m, c) for m, c in zip(stack.wall, center, strict=True)])
    curves = _fill_slices(curves) * pixel.mean()  # (N,2,A)
    curves = few_harmonics(ndimage.gaussian_filter1d(curves, 0.7, axis=0, mode="nearest"))
    inner = np.maximum(curves[:, 0], 2.0)
    outer = np.maximum(curves[:, 1], inner + THINNEST_MM)
    return Wall(anatomy.slices_mm, center * pixel + anatomy.origin_mm, inner, outer, inner)


def _box_center(mask: NDArray[np.bool_]) -> Array:
    """Centre of the box around an outline: stable for open outlines too, (2,) pixels."""
    points = np.argwhere(mask)
    return (points.min(axis=0) + points.max(axis=0)) / 2


def _curves(mask: NDArray[np.bool_], center: Array) -> Array:
    """(2,A) radii in pixels of the first and last crossing of each ray, NaN where it meets none."""
    angles = np.arange(ANGLES) * (2 * np.pi / ANGLES)
    radii = np.arange(0, mask.shape[0], STEP)
    rows = center[0] + np.sin(angles)[:, None] * radii
    columns = center[1] + np.cos(angles)[:, None] * radii
    inside = ndimage.map_coordinates(mask.astype(float), [rows, columns], order=1) > 0.5
    met = inside.any(axis=1)
    first = radii[inside.argmax(axis=1)]
    last = radii[len(radii) - 1 - inside[:, ::-1].argmax(axis=1)]
    return np.where(met, np.stack([first, last]), np.nan)


def _fill_slices(curves: Array) -> Array:
    """Close the gaps around each slice; a slice that is mostly gap takes its neighbor's curves."""
    seen = np.isfinite(curves[:, 0]).mean(axis=1)
    good = np.flatnonzero(seen >= min(LEAST_SEEN, seen.max()))
    nearest = good[np.abs(np.arange(len(curves))[:, None] - good).argmin(axis=1)]
    filled = curves[nearest].copy()
    directions = np.arange(ANGLES)
    for row in filled.reshape(-1, ANGLES):
        known = np.isfinite(row)
        row[:] = np.interp(directions, directions[known], row[known], period=ANGLES)
    return filled


def few_harmonics(curves: Array, count: int = HARMONICS) -> Array:
    """Low-pass around the ventricle, (...,A)."""
    spectrum = np.fft.rfft(curves, axis=-1)
    spectrum[..., count + 1 :] = 0
    return np.fft.irfft(spectrum, ANGLES, axis=-1)
