"""The eyeballs of a T1w head: balls of fluid before the brain.

In T1w an eyeball is a dark ball in bright fat, though less dark than the air of the sinuses.
``find`` takes the ball on either side that stands out most from its shell, and both only where they
are each other's mirror image about the middle of the brain.

| symbol | code      | shape   | meaning                                                     |
|--------|-----------|---------|-------------------------------------------------------------|
| x_0    | ``stack`` | (N,H,W) | T1w in [-1,1], axial from below, rows to the back           |
|        | ``brain`` | (N,H,W) | its brain mask                                              |
| s      | ``score`` | (N,H,W) | shell - ball, mean brightness around each voxel             |
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from MambaSynthLib.image.intensity import EMPTY, MEDIANS
from MambaSynthTraining.data.head_cord import lowest

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Eyes = list[tuple[int, int, int]]  # slice, row and column of a middle

CORE_MM, BALL_MM, SHELL_MM = 6.0, 9.0, (13.0, 17.0)  # an eyeball has a radius of 12
DARK = (0.18, 0.6)  # T1w in medians of the brain: the core of a sinus is darker, tissue brighter
EVEN = 0.1  # medians by which the core deviates from its mean; the edge of a sinus does more
LEAST = 0.15  # medians by which the shell is brighter
BESIDE_MM = (22.0, 45.0)  # from the middle of the brain
UP_MM = (0.0, 75.0)  # above the lowest brain
AHEAD_MM = (-25.0, 40.0)  # before the front of the brain in its slice of the largest area
UNLIKE_MM = 8.0  # the most that one eye lies off the other's mirror image


def find(stack: Floats, brain: Mask, slice_mm: float) -> Eyes:
    """The middles of both eyeballs, or [] where they cannot be told."""
    low = lowest(brain)
    light = (stack - EMPTY) * (MEDIANS / 2)
    radii = ((0.0, CORE_MM), (0.0, BALL_MM), SHELL_MM)
    core, ball, shell = (_mean(light, *each, slice_mm) for each in radii)
    variance = _mean(light**2, *radii[0], slice_mm) - core**2
    widest = brain[brain.sum(axis=(1, 2)).argmax()]
    front = float(np.flatnonzero(widest.any(axis=1))[0])
    middle = float(np.flatnonzero(widest.any(axis=0)).mean())
    n, i, j = np.ogrid[tuple(map(slice, stack.shape))]
    up, ahead, beside = (n - low) * slice_mm, front - i, j - middle
    there = (up > UP_MM[0]) & (up < UP_MM[1]) & (ahead > AHEAD_MM[0]) & (ahead < AHEAD_MM[1])
    there = there & (core > DARK[0]) & (ball < DARK[1]) & (variance < EVEN**2) & ~brain
    score = np.where(there, shell - ball, 0)
    eyes: Eyes = []
    for side in (-1, 1):
        found = np.where((side * beside > BESIDE_MM[0]) & (side * beside < BESIDE_MM[1]), score, 0)
        place = np.unravel_index(found.argmax(), found.shape)
        if found[place] < LEAST:
            return []
        eyes.append((int(place[0]), int(place[1]), int(place[2])))
    (n1, i1, j1), (n2, i2, j2) = eyes
    unlike = ((n1 - n2) * slice_mm, i1 - i2, j1 + j2 - 2 * middle)
    return eyes if max(map(abs, unlike)) <= UNLIKE_MM else []


def around(eyes: Eyes, shape: tuple[int, ...], mm: float, slice_mm: float) -> Mask:
    """(N,H,W): what lies within ``mm`` of the middle of an eye."""
    found = np.zeros(shape, bool)
    n, i, j = np.ogrid[tuple(map(slice, shape))]
    for k, row, column in eyes:
        found |= ((n - k) * slice_mm) ** 2 + (i - row) ** 2 + (j - column) ** 2 < mm**2
    return found


def _mean(light: Floats, inner_mm: float, outer_mm: float, slice_mm: float) -> Floats:
    """Mean of what lies between two radii around each voxel."""
    deep, wide = int(outer_mm / slice_mm), int(outer_mm)
    n, i, j = np.mgrid[-deep : deep + 1, -wide : wide + 1, -wide : wide + 1]
    distance = np.sqrt((n * slice_mm) ** 2 + i**2 + j**2)
    kernel = ((distance >= inner_mm) & (distance <= outer_mm)).astype(np.float32)
    mean: Floats = signal.fftconvolve(light, kernel / kernel.sum(), mode="same")
    return mean
