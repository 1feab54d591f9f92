"""How a left ventricle moves: shortening, wall thickening, torsion, all inverses in closed form.

A thick-walled tube of incompressible muscle, in cylindrical coordinates around its center line:

    z  = z' - s H p(z')                            shortening, base drawn towards the apex
    w  = w' - s phi(z')                            torsion: base clockwise, apex counterclockwise
    r^2 = a^2 + lambda (r'^2 - a'^2)               the wall keeps its volume
    a' = a sqrt((1 - s EF) / lambda)               the pool ejects
    q (a^2 - e^2) = lambda (a'^2 - e'^2)           papillary muscles keep what room the pool leaves

| symbol      | meaning                                                                         |
|-------------|---------------------------------------------------------------------------------|
| (r',w',z')  | where a point is in the frame; (r,w,z): where it was at end-diastole            |
| s           | contraction, 0 at end-diastole, 1 at end-systole; may differ from slice to slice|
| lambda      | dz'/dz, the local stretch along the axis, below 1                               |
| a, a'       | radius of the endocardium at end-diastole and now                               |
| e, e'       | radius inside which there is blood alone: a less papillary muscle and trabeculae|
| q           | share of its area that the muscle between e and a keeps, 1 where there is room   |
| EF, H, phi  | ejection fraction; descent of the base, mm; twist, radians                      |

The Jacobian of this map is 1 in the wall. In the blood r = r' e/e'. Outside the epicardium all
motion fades to nothing at the border of the image. Because every formula gives the end-diastolic
position of a point of the frame, the pull field is exact and nothing has to be inverted.
Kinematics after Arts et al. 1991 and Guccione et al. 1991.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from MambaSynthTraining.data.heart_room import Room
from MambaSynthTraining.data.heart_wall import Wall

Array = NDArray[np.float64]
Points = tuple[Array, Array, Array]  # z, row, column in mm

DILATED_MM = 24.0  # mean radius of the pool beyond which a heart ejects less
ROOM_ABOVE_MM = 18.0  # what comes down with the base has to lie inside the stack
STEEPEST = 0.5  # mm of descent per mm above its maximum: the tissue there must not fold
BASAL_STRENGTH = (0.25, 0.75)  # of the contraction: above the base, at the base
BLOOD_LEFT = 0.3  # of its share of the pool that blood beside papillary muscle keeps at least


@dataclass(frozen=True)
class LeftMotion:
    """What is drawn once per subject."""

    ejection_fraction: float
    shortening: float  # of the axis, as a fraction of its length
    twist_base: float  # radians at end-systole
    twist_apex: float


def draw_left_motion(wall: Wall, rng: np.random.Generator) -> LeftMotion:
    """One that suits a ventricle: dilated ones eject less and twist less."""
    dilated = float(np.clip((wall.inner.mean() - DILATED_MM) / 5, 0, 1))
    return LeftMotion(
        ejection_fraction=rng.uniform(0.56, 0.74) - 0.10 * dilated,
        shortening=rng.uniform(0.10, 0.17) * (1 - 0.3 * dilated),
        twist_base=-np.deg2rad(rng.uniform(2, 5)),
        twist_apex=np.deg2rad(rng.uniform(6, 12)) * (1 - 0.4 * dilated),
    )


def pull_left(points: Points, s: Array, wall: Wall, room: Room, motion: LeftMotion) -> Points:
    """Where points of a frame were at end-diastole, for all of them (K,H,W); ``s`` (K,1,1)."""
    z, row, column = points
    fading = room.fading(z, row, column)
    fall, slope = descent(z, wall, room, motion)
    z_ed = z - s * fall * fading
    stretch = np.minimum(1 / (1 - s * slope), 1)  # lambda; what lies above the base is no muscle
    center_row, center_column = wall.center_at(z_ed)
    down, right = row - center_row, column - center_column
    radius = np.hypot(down, right)
    angle = np.arctan2(down, right) - s * _twist(z, wall, motion) * fading
    ejected = np.minimum(s * _strength(z_ed, wall) * motion.ejection_fraction, 0.8)
    radius_ed = _radius_at_ed(wall.radii_at(z_ed, angle), radius, stretch, ejected, fading)
    return (
        z_ed,
        center_row + radius_ed * np.sin(angle),
        center_column + radius_ed * np.cos(angle),
    )


def _radius_at_ed(
    radii: tuple[Array, Array, Array],
    radius: Array,
    stretch: Array,
    ejected: Array,
    fading: Array,
) -> Array:
    """r from r': blood, papillary muscle, wall, surroundings; continuous across their borders."""
    e, a, b = radii
    a_now2 = a**2 * (1 - ejected) / stretch
    muscle = np.maximum(a**2 - e**2, 1e-6)
    left = a**2 * (1 - ejected) - BLOOD_LEFT * (1 - ejected) * e**2
    kept = np.minimum(1, left / muscle)  # q
    e_now2 = a_now2 - kept * muscle / stretch
    b_now = np.sqrt(a_now2 + (b**2 - a**2) / stretch)
    in_muscle = np.sqrt(np.maximum(e**2 + stretch / kept * (radius**2 - e_now2), 0))
    in_wall = np.sqrt(np.maximum(a**2 + stretch * (radius**2 - a_now2), 0))
    return np.select(
        [radius**2 < e_now2, radius**2 < a_now2, radius < b_now],
        [radius * e / np.sqrt(e_now2), in_muscle, in_wall],
        radius + (b - b_now) * fading,
    )


def descent(z: Array, wall: Wall, room: Room, motion: LeftMotion) -> tuple[Array, Array]:
    """H p(z') in mm and its slope: nothing at the top of the stack and at the apex."""
    base, apex, top = wall.slices_mm[0], wall.slices_mm[-1], room.top_mm
    deepest = max(base + 0.12 * (apex - base), top + ROOM_ABOVE_MM)
    height = (apex - deepest) * motion.shortening / (1 - motion.shortening)
    height = min(height, STEEPEST * (deepest - top))
    curve = PchipInterpolator([top, deepest, apex, apex + 30], [0, height, 0, 0])
    within = np.clip(z, top, apex)
    return np.asarray(curve(within)), np.asarray(curve.derivative()(within))


def _strength(z: Array, wall: Wall) -> Array:
    """How much of the contraction a slice takes part in; the fibrous base hardly contracts."""
    base = wall.slices_mm[0]
    heights = [base - 10, base, base + 20]
    return np.asarray(PchipInterpolator(heights, [*BASAL_STRENGTH, 1.0])(
        np.clip(z, heights[0], heights[-1])
    ))  # fmt: skip


def _twist(z: Array, wall: Wall, motion: LeftMotion) -> Array:
    """phi(z') in radians, linear from base to apex, as measured by tagging."""
    ends = (wall.slices_mm[0], wall.slices_mm[-1])
    return np.interp(z, ends, (motion.twist_base, motion.twist_apex))
