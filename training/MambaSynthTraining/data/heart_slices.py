"""How a moving heart is cut into slices, and how these come back onto a cubic grid.

| kind     | what is acquired                                                                     |
|----------|--------------------------------------------------------------------------------------|
| volume   | every plane of the grid at once, thin, in one heartbeat                              |
| stack    | slices of a clinical cine, 8 to 10 mm apart and nearly as thick, a heartbeat each    |
| single   | one such slice                                                                       |

A thick slice is the mean over its thickness of what moves through it. Heartbeats differ: each slice
has a pace, a strength and a gain of its own. Between slices the grid is filled linearly, as the
engine does when it brings a stack to the grid of its network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MambaSynthTraining.data.heart_course import Course
from MambaSynthTraining.data.heart_stacks import Anatomy, Grid
from MambaSynthTraining.data.heart_wall import Wall

Array = NDArray[np.float64]
Image = NDArray[np.float32]

VOLUME, STACK, SINGLE = KINDS = ("volume", "stack", "single")
SHARES = (0.35, 0.5, 0.15)  # how often each is drawn
GAP_MM = (8.0, 10.0)
THICK = (0.75, 1.0)  # of the gap
WITHIN = 3  # planes over the thickness
PACE, STRENGTH, GAIN = 0.03, 0.05, 0.03  # standard deviations from slice to slice
FARTHEST = 2.0  # of these


@dataclass(frozen=True)
class Slices:
    """``centers_mm`` (N,), growing; ``planes_mm`` (N,M) what each averages; ``filled``: (start,
    stop) of the grid's planes that get an image.
    """

    centers_mm: Array
    planes_mm: Array
    pace: Array
    strength: Array
    gain: Array
    filled: tuple[int, int]

    def contractions(self, course: Course, time_ms: float) -> Array:
        """(N,) s of each slice."""
        return self.strength * course.contraction(time_ms, self.pace)

    def between(self, values: Array, grid: Grid) -> Array:
        """(N,) values of the slices -> (D,) of the grid's planes."""
        planes = np.arange(grid.size[0]) * grid.spacing_mm[0]
        return np.interp(planes, self.centers_mm, values)

    def onto_grid(self, slices: Image, grid: Grid) -> Image:
        """(N,H,W) -> (D,H,W), linear between slices, zeros where nothing was acquired."""
        place = self.between(np.arange(len(slices), dtype=np.float64), grid)
        below = np.minimum(place.astype(int), max(0, len(slices) - 2))
        above = np.minimum(below + 1, len(slices) - 1)
        part = (place - below).astype(np.float32)[:, None, None]
        image = np.zeros(grid.size, dtype=np.float32)
        chosen = slice(*self.filled)
        blend = slices[below] * (1 - part) + slices[above] * part
        image[chosen] = blend[chosen]
        return image


def draw_slices(
    kinds: tuple[str, ...], wall: Wall, anatomy: Anatomy, grid: Grid, rng: np.random.Generator
) -> Slices:
    """One of ``kinds``, as often as ``SHARES`` says."""
    weights = np.array([SHARES[KINDS.index(kind)] for kind in kinds])
    kind = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
    first, stop = anatomy.valid[0]
    step = grid.spacing_mm[0]
    low, high = first * step, (stop - 1) * step
    gap, thick = rng.uniform(*GAP_MM), rng.uniform(*THICK)
    offset, height = rng.uniform(0, 1), rng.uniform(0.25, 0.65)
    if kind == VOLUME:
        centers = np.asarray(np.arange(first, stop) * step, dtype=np.float64)
        ones = np.ones(len(centers))
        return Slices(centers, centers[:, None], ones, ones, ones, (first, stop))
    centers = np.asarray(
        low + np.arange(offset * gap / 2, max(high - low, gap / 2) + 1e-6, gap), dtype=np.float64
    )
    if kind == SINGLE:
        base, apex = wall.slices_mm[[0, -1]]
        centers = np.array([np.clip(base + height * (apex - base), low + gap / 2, high - gap / 2)])
        middle, count = round(float(centers[0]) / step), max(1, round(gap / step))
        start = max(first, middle - count // 2)
        filled = (start, min(stop, start + count))
    else:
        filled = (first, stop)
    within = (np.arange(WITHIN) - (WITHIN - 1) / 2) / WITHIN * thick * gap
    planes = np.clip(centers[:, None] + within, low, high)
    pace, strength, gain = (_around_one(spread, len(centers), rng)
                            for spread in (PACE, STRENGTH, GAIN))  # fmt: skip
    return Slices(centers, planes, pace, strength, gain, filled)


def _around_one(spread: float, count: int, rng: np.random.Generator) -> Array:
    values: Array = 1 + spread * np.clip(rng.standard_normal(count), -FARTHEST, FARTHEST)
    return values
