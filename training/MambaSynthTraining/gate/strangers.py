"""Volumes that are no images of a head: noise, shapes, and bodies that nobody has."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.image.volume import Volume
from MambaSynthLib.phantom.random_field import smooth_field

EDGE_MM = 3.0
Floats = NDArray[np.float32]
Places = tuple[Floats, Floats, Floats]


def noise(rng: np.random.Generator) -> Volume:
    """Independent voxels of one of four distributions, sometimes smoothed."""
    shape, edge = _grid(rng)
    drawn = rng.standard_normal((2, *shape))
    kinds = (drawn[0] * 100 + 400, np.hypot(*drawn) * 100, rng.random(shape) * 1000,
             rng.exponential(100, shape))  # fmt: skip
    array = kinds[rng.integers(len(kinds))]
    if rng.random() < 0.3:
        scale = rng.uniform(2.5, 6) * edge
        array = 400 + 100 * smooth_field(shape, np.full(3, edge), scale, rng)
    return _volume(array, edge, "noise")


def shape(rng: np.random.Generator) -> Volume:
    """A phantom as scanners are tested with: cylinders, spheres, boxes, ramps, grids."""
    size, edge = _grid(rng)
    x, y, z = _places(size, edge)
    radius = rng.uniform(60, 110)
    high = rng.uniform(50, 120)
    which = rng.integers(6)
    if which == 0:
        body = (np.hypot(x, y) < radius) & (np.abs(z) < high)
    elif which == 1:
        body = x**2 + y**2 + z**2 < radius**2
    elif which == 2:
        body = (np.abs(x) < radius) & (np.abs(y) < rng.uniform(60, 110)) & (np.abs(z) < high)
    elif which == 3:
        body = (x / radius) ** 2 + (y / rng.uniform(60, 120)) ** 2 + (z / high) ** 2 < 1
    elif which == 4:
        step = rng.uniform(15, 40)
        return _volume(500 + 400 * np.sin(x / step) * np.sin(y / step) * np.sin(z / step), edge)
    else:
        a, b, c = rng.uniform(-3, 3, 3)
        return _volume(a * x + b * y + c * z, edge)
    array = np.where(body, rng.uniform(400, 1000), 0.0)
    for _ in range(rng.integers(0, 12)):  # tubes and balls within
        center = rng.uniform(-60, 60, 3)
        far = (x - center[0]) ** 2 + (y - center[1]) ** 2
        far = far + (0 if rng.random() < 0.5 else (z - center[2]) ** 2)
        array[body & (far < rng.uniform(4, 25) ** 2)] = rng.uniform(0, 1200)
    return _volume(_noisy(array, rng), edge, "phantom")


def body(rng: np.random.Generator) -> Volume:
    """Smooth blobs of tissue in one or two rounded shapes: as of MR, but nobody's anatomy."""
    size, edge = _grid(rng)
    places = _places(size, edge)
    array = np.zeros(size, dtype=np.float32)
    power = rng.choice([2.0, 3.0, 4.0])
    for _ in range(rng.integers(1, 3)):
        axes = rng.uniform(35, 130, 3)
        axes[rng.integers(3)] *= rng.choice([1.0, 1.0, 4.0])
        center = rng.uniform(-40, 40, 3)
        parts = zip(places, center, axes, strict=True)
        depth = sum(np.abs((place - c) / a) ** power for place, c, a in parts)
        inside = depth < 1 + 0.1 * smooth_field(size, np.full(3, edge), 40, rng)
        field = smooth_field(size, np.full(3, edge), rng.uniform(8, 40), rng)
        levels = rng.uniform(0, 1000, rng.integers(2, 6))
        cuts = np.sort(rng.uniform(-1.2, 1.2, len(levels) - 1))
        array[inside] = levels[np.digitize(field, cuts)][inside]
        if rng.random() < 0.6:  # a rim, as of fat
            array[inside & (depth > rng.uniform(0.75, 0.92))] = rng.uniform(300, 1500)
    return _volume(_noisy(array, rng), edge, "body")


def _grid(rng: np.random.Generator) -> tuple[tuple[int, int, int], float]:
    a, b, c = rng.integers(50, 84, 3)
    return (int(a), int(b), int(c)), EDGE_MM


def _places(shape: tuple[int, int, int], edge: float) -> Places:
    """Positions in mm from the middle along each axis, ready to be combined to (I,J,K)."""
    x, y, z = ((np.arange(n, dtype=np.float32) - (n - 1) / 2) * edge for n in shape)
    return x[:, None, None], y[:, None], z


def _noisy(array: Floats, rng: np.random.Generator) -> Floats:
    sigma = rng.uniform(0, 60)
    real, imaginary = sigma * rng.standard_normal((2, *array.shape))
    found: Floats = np.hypot(array + real, imaginary)
    return found


def _volume(array: NDArray[Any], edge: float, name: str = "phantom") -> Volume:
    return Volume(array, np.diag([edge, edge, edge, 1.0]), name)
