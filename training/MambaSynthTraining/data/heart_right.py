"""How the right ventricle moves, and the heart as a whole.

Outside the left ventricle's epicardium, in the directions w of the right one, with d the distance
from the epicardium:

    d  = d' + s A W(w) h(d')              its free wall comes to the septum like a bellows
    z  = z' - s R H p(z') W(w) h(d')      and comes down more than the left ventricle's base does
    x  = x' - s T f(x')                   the heart is drawn to the right ventricle's side

| symbol | code            | meaning                                                             |
|--------|-----------------|---------------------------------------------------------------------|
| W      | ``window``      | 1 in the middle of the right ventricle, 0 beside it                 |
| h      | ``_rise``       | 0 at the septum, 1 at the free wall, 0 at the border of the image   |
| A      | ``inward_mm``   | of the free wall, less where the image ends soon                    |
| R      | ``further``     | of the left ventricle's descent H p, which it has as well           |
| T, f   | ``shift_mm``    | a vector; f: the fading of ``heart_room.py``                        |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MambaSynthTraining.data.heart_room import Room
from MambaSynthTraining.data.heart_ventricle import Array, Points

MOST_OF_ROOM = 0.3  # of the way from epicardium to border: how far the free wall moves at most
NEAREST = 0.25  # of that way: where the free wall is at least


@dataclass(frozen=True)
class RightMotion:
    """What is drawn once per subject."""

    inward_mm: float
    further: float
    shift_mm: tuple[float, float]  # rows, columns


def draw_right_motion(direction: float, rng: np.random.Generator) -> RightMotion:
    """``direction`` of the right ventricle, radians."""
    angle = direction + rng.normal(0, 0.5)
    length = rng.uniform(1.0, 5.0)
    return RightMotion(
        inward_mm=rng.uniform(8, 14),
        further=rng.uniform(0.2, 0.6),
        shift_mm=(length * np.sin(angle), length * np.cos(angle)),
    )


def pull_shift(points: Points, s: Array, room: Room, motion: RightMotion) -> Points:
    """Where points of a frame were before the heart moved as a whole."""
    z, row, column = points
    share = s * room.fading(z, row, column)
    down, right = motion.shift_mm
    return z, row - share * down, column - share * right


def pull_right(points: Points, s: Array, fall: Array, room: Room, motion: RightMotion) -> Points:
    """Where points were before the right ventricle moved; ``fall``: H p(z') in mm."""
    z, row, column = points
    radius, angle, end = room.around(z, row, column)
    outer = room.wall.radii_at(z, angle)[2]
    inward, rise = _rise(radius - outer, end - outer, room.right.depth_at(z), motion.inward_mm)
    share = s * room.right.window(angle) * rise
    center_row, center_column = room.wall.center_at(z)
    radius = radius + share * inward
    return (
        z - motion.further * share * fall,
        center_row + radius * np.sin(angle),
        center_column + radius * np.cos(angle),
    )


def _rise(distance: Array, room: Array, depth: Array, inward_mm: float) -> tuple[Array, Array]:
    """A in mm, and h at a ``distance`` from the epicardium, of a ``room`` up to the border."""
    room = np.maximum(room, 1e-3)
    inward = np.minimum(inward_mm, MOST_OF_ROOM * room)
    top = np.clip(depth - inward, NEAREST * room, np.maximum(room - 2 * inward, NEAREST * room))
    near = np.clip(distance / top, 0, 1)
    far = np.clip((distance - top) / (room - top), 0, 1)
    return inward, _smooth(near) * (1 - _smooth(far))


def _smooth(x: Array) -> Array:
    return x * x * (3 - 2 * x)
