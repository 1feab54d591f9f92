"""Where there is blood in a stack: papillary muscles in the left pool, and the right ventricle.

Along rays from the center of the left ventricle, a picture is told into blood (1) and muscle (0) by
the brightness of the left pool and of the wall in the same slice.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MambaSynthTraining.data.heart_stacks import Anatomy, Stack
from MambaSynthTraining.data.heart_wall import ANGLES, RightVentricle, Wall, few_harmonics

Array = NDArray[np.float64]

STEP_MM = 0.5  # along a ray
PAPILLARY_MM = 9.0  # from the endocardium inwards that is searched for muscle
PAPILLARY_HARMONICS = 6
MOST_PAPILLARY = 0.45  # of the radius
SEPTUM_MM = 3.0  # beyond the epicardium that may be the right ventricle's own wall
DEEPEST_MM = 40.0
FAT = 1.8  # times the blood of the left pool: that is none
MIDDLE = (0.15, 0.7)  # of the slices, base first, whose right ventricle tells the direction
SHALLOWEST_MM, USUAL_MM = 10.0, 22.0


def with_papillary_muscles(wall: Wall, stack: Stack, anatomy: Anatomy) -> Wall:
    """The wall, with the radius of the blood alone."""
    inwards = np.arange(STEP_MM, PAPILLARY_MM, STEP_MM)
    radii = wall.inner[..., None] - inwards  # (N,A,R)
    muscle = 1 - _blood(np.maximum(radii, 0), wall, stack, anatomy)
    thick = np.where(radii > 0, muscle, 0).sum(axis=-1) * STEP_MM
    thick = ndimage.gaussian_filter1d(thick, 0.7, axis=0, mode="nearest")
    thick = np.clip(few_harmonics(thick, PAPILLARY_HARMONICS), 0, MOST_PAPILLARY * wall.inner)
    return replace(wall, blood=wall.inner - thick)


def right_ventricle(wall: Wall, stack: Stack, anatomy: Anatomy) -> RightVentricle:
    """The longest runs of blood outside the epicardium; of usual depth where a slice has none."""
    outwards = np.arange(0, SEPTUM_MM + DEEPEST_MM, STEP_MM)
    blood = _blood(wall.outer[..., None] + outwards, wall, stack, anatomy) > 0.5  # (N,A,R)
    first = int(SEPTUM_MM / STEP_MM)
    blood[..., :first] |= blood[..., first : first + 1]
    runs = np.cumprod(blood, axis=-1).sum(axis=-1) * STEP_MM  # (N,A) mm
    angles = np.asarray(np.arange(ANGLES) * (2 * np.pi / ANGLES), dtype=np.float64)
    low, high = (round(part * len(runs)) for part in MIDDLE)
    weight = (runs[low : max(high, low + 1)] ** 2).sum(axis=0)
    direction = float(np.angle(np.sum(weight * np.exp(1j * angles)))) if weight.any() else np.pi
    right = RightVentricle(wall.slices_mm, direction, np.full(len(runs), USUAL_MM))
    inside = right.window(angles) > 0.4
    depth = np.percentile(runs[:, inside], 75, axis=1)
    depth = np.where(depth >= SHALLOWEST_MM, depth, USUAL_MM)
    return replace(right, depth_mm=ndimage.gaussian_filter1d(depth, 1, mode="nearest"))


def _blood(radii: Array, wall: Wall, stack: Stack, anatomy: Anatomy) -> Array:
    """(N,A,R) 0 to 1 at ``radii`` mm from the center, in all directions; fat is 0."""
    found = []
    for picture, center, inner, outer, rays in zip(
        stack.images, wall.center, wall.inner, wall.outer, radii, strict=True
    ):
        pixel = [center, np.array(anatomy.origin_mm), np.array(stack.spacing_mm[1:])]
        pool = np.median(_along(picture, pixel, inner[:, None] * np.linspace(0.1, 0.7, 8)))
        middle = (inner + outer) / 2
        muscle = np.median(_along(picture, pixel, middle[:, None] + np.linspace(-1, 1, 3)))
        seen = _along(picture, pixel, rays)
        part = np.clip((seen - muscle) / max(float(pool - muscle), 1e-6), 0, 1)
        found.append(np.where(seen > FAT * pool, 0, part))
    return np.stack(found)


def _along(picture: NDArray[np.float32], pixel: list[Array], radii: Array) -> Array:
    """(A,R) the picture at ``radii`` mm; zero outside. ``pixel``: center, origin, spacing in mm."""
    center, origin, spacing = pixel
    angles = (np.arange(ANGLES) * (2 * np.pi / ANGLES))[:, None]
    rows = (center[0] + radii * np.sin(angles) - origin[0]) / spacing[0]
    columns = (center[1] + radii * np.cos(angles) - origin[1]) / spacing[1]
    seen: Array = ndimage.map_coordinates(picture, [rows, columns], order=1, output=np.float64)
    return seen
