"""A textured head that costs nothing to make, for the tests of scores."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from MambaSynthLib.image.volume import Volume

AXES = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))


def head(shape=(40, 48, 30), seed=0) -> np.ndarray:
    """An ellipsoid of smooth texture on a background of 0, different in every octant."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    texture = ndimage.gaussian_filter(noise, 2)
    radius = sum(np.linspace(-1, 1, n).reshape(s) ** 2 for n, s in zip(shape, AXES, strict=True))
    return np.where(radius < 0.7, 100 + 40 * texture / texture.std(), 0).clip(0)


def volume(array, name="volume", affine=None) -> Volume:
    return Volume(array, np.diag([1, 1, 2, 1]) if affine is None else affine, name)
