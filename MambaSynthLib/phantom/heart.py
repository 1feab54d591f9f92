"""A beating heart in short-axis slices, from formulas: something to try a cine model on.

| symbol | code            | meaning                                                              |
|--------|-----------------|----------------------------------------------------------------------|
| s(t)   | ``contraction`` | 0 at end-diastole, 1 at end-systole                                  |
| r(s)   | ``pool``        | radius of the left blood pool, mm                                    |
| R(s)   | ``outside``     | of the wall: R^2 - r^2 stays, as muscle keeps its volume             |
| z      | ``share``       | 0 at the base, 1 beyond the apex; all radii shrink with it           |

Blood is bright and muscle dark, as in a steady-state free precession cine; the chest, its fat and
the lungs stand still. It shows no patient and no disease.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.image.cine import Cine
from MambaSynthLib.image.volume import Volume

SHAPE = (96, 96, 8)
SPACING_MM = (2.0, 2.0, 8.0)
BEAT_MS = 900.0
SYSTOLE = 0.36  # share of the beat until end-systole
POOL_MM, WALL_MM = 24.0, 9.0  # at end-diastole, at the base
SHORTENING = 0.38  # of the radius of the pool
EDGE_MM = 1.2  # over which one tissue passes into the next
SIGNAL = {"lung": 30.0, "chest": 180.0, "fat": 620.0, "muscle": 210.0, "blood": 700.0}
NOISE = 9.0

Array = NDArray[np.floating[Any]]


def computed_heart(frames: int = 8, seed: int = 0) -> Cine:
    """One beat in ``frames`` evenly spaced frames, end-diastole first.

    The same seed gives the same heart to the last bit. Raises VolumeError for fewer than two.
    """
    rng = np.random.default_rng(seed)
    affine = np.diag([-SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2], 1.0])
    affine[:3, 3] = [SPACING_MM[axis] * (SHAPE[axis] - 1) / 2 for axis in (0, 1)] + [0.0]
    texture = rng.normal(0.0, NOISE, SHAPE)
    times = [BEAT_MS * number / frames for number in range(frames)]
    volumes = []
    for time in times:
        image = anatomy(contraction(time / BEAT_MS))
        real, other = image + texture, rng.normal(0.0, NOISE, SHAPE)
        array = np.hypot(real, other).astype(np.float32)  # magnitude image
        volumes.append(Volume(array, affine, "computed heart"))
    return Cine(tuple(volumes), tuple(times), "computed heart")


def contraction(phase: float) -> float:
    """Smooth, 1 at ``SYSTOLE`` and 0 from twice that on until the next beat."""
    return float(np.sin(np.pi * phase / (2 * SYSTOLE)) ** 2) if phase < 2 * SYSTOLE else 0.0


def anatomy(s: float) -> Array:
    """(I,J,K) signal without noise at contraction ``s``."""
    x, y, share = _coordinates()
    taper = np.sqrt(np.clip(1 - share**2, 0.0, 1.0))
    pool = POOL_MM * (1 - SHORTENING * s) * taper
    wall = (POOL_MM + WALL_MM) ** 2 - POOL_MM**2
    outside = np.sqrt(pool**2 + wall * taper**2)
    around = np.hypot(x, y)
    image = np.full(SHAPE, SIGNAL["lung"])
    image = _over(image, "fat", 1 - np.hypot(x / 88, y / 78), 80.0)
    image = _over(image, "chest", 1 - np.hypot(x / 82, y / 72), 76.0)
    image = _over(image, "lung", 1 - np.hypot((x - 34) / 40, y / 58), 45.0)
    right = np.hypot((x + 30) / (26 - 6 * s), y / (34 - 5 * s)) / np.maximum(taper, 1e-3)
    image = _over(image, "muscle", 1 - right * 0.9, 30.0)
    image = _over(image, "blood", 1 - right, 30.0)
    image = _over(image, "muscle", outside - around, 1.0)
    image = _over(image, "blood", pool - around, 1.0)
    papillary = [
        np.hypot(x - 0.55 * pool * np.cos(a), y - 0.55 * pool * np.sin(a)) for a in (0.8, -1)
    ]
    for distance in papillary:
        image = _over(image, "muscle", np.where(taper > 0.4, 4.0 - distance, -9.0), 1.0)
    return image


def _coordinates() -> tuple[Array, Array, Array]:
    """mm to the left and to the back of the axis of the left ventricle; share from base to apex."""
    i, j, k = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    middle = [(n - 1) / 2 for n in SHAPE]
    x, y = (i - middle[0]) * SPACING_MM[0], (j - middle[1]) * SPACING_MM[1]
    return x, y, (SHAPE[2] - 1 - k) / SHAPE[2]


def _over(image: Array, tissue: str, inside: Array, mm: float) -> Array:
    """Put a tissue where ``inside`` is positive; ``mm`` says how long 1 of it is."""
    share: Array = 1 / (1 + np.exp(np.clip(-inside * mm / EDGE_MM, -50, 50)))
    mixed: Array = image + share * (SIGNAL[tissue] - image)
    return mixed
