"""How a left ventricle moves: shortening, wall thickening, torsion, all inverses in closed form.

A thick-walled tube of incompressible muscle, in cylindrical coordinates around its center line:

    z  = z' - s H p(z')                            shortening, base drawn towards the apex
    w  = w' - s phi(z')                            torsion: base clockwise, apex counterclockwise
    r^2 = a^2 + lambda (r'^2 - a'^2)               the wall keeps its volume
    a' = a sqrt((1 - s EF) / lambda)               the pool ejects

| symbol      | meaning                                                                         |
|-------------|---------------------------------------------------------------------------------|
| (r',w',z')  | where a point is in the frame; (r,w,z): where it was at end-diastole            |
| s           | contraction, 0 at end-diastole, 1 at end-systole                                |
| lambda      | dz'/dz, the local stretch along the axis, below 1                               |
| a, a'       | radius of the endocardium at end-diastole and now                               |
| EF, H, phi  | ejection fraction; descent of the base, mm; twist, radians                      |

The Jacobian of this map is 1 in the wall. In the pool r = r' a/a'. Outside the epicardium all
motion fades to nothing at the border of the image. Because every formula gives the end-diastolic
position of a point of the frame, the pull field is exact and nothing has to be inverted.
Kinematics after Arts et al. 1991 and Guccione et al. 1991.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from MambaSynthTraining.data.heart_stacks import Anatomy, Grid
from MambaSynthTraining.data.heart_wall import Wall

Array = NDArray[np.float64]

DILATED_MM = 24.0  # mean radius of the pool beyond which a heart ejects less
CLEARANCE_MM = 4.0  # beyond the epicardium that still moves with the wall
ROOM_ABOVE_MM = 18.0  # what comes down with the base has to lie inside the stack
STEEPEST = 0.5  # mm of descent per mm above its maximum: the tissue there must not fold
BASAL_STRENGTH = (0.25, 0.75)  # of the contraction: above the base, at the base


@dataclass(frozen=True)
class Motion:
    """What is drawn once per subject."""

    ejection_fraction: float
    shortening: float  # of the axis, as a fraction of its length
    twist_base: float  # radians at end-systole
    twist_apex: float
    es_phase: float  # of the heart cycle
    ejection: tuple[float, float, float]  # contraction at 15, 50 and 80 % of systole
    filling: tuple[float, float, float, float]  # at 12, 40, 65 and 85 % of diastole
    period_ms: float


def draw_motion(wall: Wall, rng: np.random.Generator) -> Motion:
    """A heart beat that suits a ventricle: dilated ones eject less and twist less."""
    dilated = float(np.clip((wall.inner.mean() - DILATED_MM) / 5, 0, 1))
    return Motion(
        ejection_fraction=rng.uniform(0.54, 0.72) - 0.10 * dilated,
        shortening=rng.uniform(0.10, 0.16) * (1 - 0.3 * dilated),
        twist_base=-np.deg2rad(rng.uniform(2, 5)),
        twist_apex=np.deg2rad(rng.uniform(6, 12)) * (1 - 0.4 * dilated),
        es_phase=rng.uniform(0.33, 0.42),
        ejection=(rng.uniform(0.02, 0.06), rng.uniform(0.55, 0.7), rng.uniform(0.9, 0.96)),
        filling=(
            rng.uniform(0.95, 0.98),
            rng.uniform(0.3, 0.45),
            rng.uniform(0.2, 0.27),
            rng.uniform(0.12, 0.18),
        ),
        period_ms=rng.uniform(750, 1050),
    )


def contraction(motion: Motion, phases: Array) -> Array:
    """s at phases of the cycle in [0, 1]: fast ejection, then early, slow and atrial filling.

    Monotone cubic through the drawn points, so that the volume falls until end-systole and rises
    after it without overshoot.
    """
    systole = np.array([0, 0.15, 0.5, 0.8, 1]) * motion.es_phase
    diastole = motion.es_phase + np.array([0.12, 0.4, 0.65, 0.85, 1]) * (1 - motion.es_phase)
    values = [0, *motion.ejection, 1, *motion.filling, 0]
    curve = PchipInterpolator(np.concatenate([systole, diastole]), values)
    return np.asarray(curve(phases), dtype=np.float64)


def pull_coordinates(
    wall: Wall, anatomy: Anatomy, grid: Grid, motion: Motion, s: float
) -> tuple[Array, Array, Array]:
    """Where each voxel of a frame was at end-diastole: z, row, column in mm, each (D,H,W)."""
    z, row, column = np.meshgrid(
        *(np.arange(n) * step for n, step in zip(grid.size, grid.spacing_mm, strict=True)),
        indexing="ij",
    )
    fading = _fading(wall, anatomy, grid, z, row, column)
    fall, slope = _descent(wall, anatomy, grid, motion, z)
    z_ed = z - s * fall * fading
    stretch = 1 / (1 - s * slope)  # lambda
    center_row, center_column = wall.center_at(z_ed)
    down, right = row - center_row, column - center_column
    radius = np.hypot(down, right)
    angle = np.arctan2(down, right) - s * _twist(wall, motion, z) * fading
    radius_ed = _radius_at_ed(wall, motion, anatomy, z_ed, angle, radius, stretch, s, fading)
    return (
        z_ed,
        center_row + radius_ed * np.sin(angle),
        center_column + radius_ed * np.cos(angle),
    )


def _radius_at_ed(
    wall: Wall,
    motion: Motion,
    anatomy: Anatomy,
    z: Array,
    angle: Array,
    radius: Array,
    stretch: Array,
    s: float,
    fading: Array,
) -> Array:
    """r from r': pool, wall and surroundings; continuous across both borders of the wall."""
    a, b = wall.radii_at(z, angle)
    contraction = s * _strength(wall, z)
    stretch = np.minimum(stretch, 1)  # what lies above the base is no muscle
    a_now = a * np.sqrt((1 - contraction * motion.ejection_fraction) / stretch)
    b_now = np.sqrt(a_now**2 + (b**2 - a**2) / stretch)
    in_wall = np.sqrt(np.maximum(a**2 + stretch * (radius**2 - a_now**2), 0))
    outside = radius + (b - b_now) * fading
    return np.where(
        radius < a_now, radius * (a / a_now), np.where(radius < b_now, in_wall, outside)
    )


def _strength(wall: Wall, z: Array) -> Array:
    """How much of the contraction a slice takes part in; the fibrous base hardly contracts."""
    base = wall.slices_mm[0]
    heights = [base - 10, base, base + 20]
    return np.asarray(PchipInterpolator(heights, [*BASAL_STRENGTH, 1.0])(
        np.clip(z, heights[0], heights[-1])
    ))  # fmt: skip


def _descent(
    wall: Wall, anatomy: Anatomy, grid: Grid, motion: Motion, z: Array
) -> tuple[Array, Array]:
    """H p(z') in mm and its slope: nothing at the top of the stack and at the apex."""
    base, apex = wall.slices_mm[0], wall.slices_mm[-1]
    top = anatomy.valid[0][0] * grid.spacing_mm[0]
    deepest = max(base + 0.12 * (apex - base), top + ROOM_ABOVE_MM)
    height = (apex - deepest) * motion.shortening / (1 - motion.shortening)
    height = min(height, STEEPEST * (deepest - top))
    curve = PchipInterpolator([top, deepest, apex, apex + 30], [0, height, 0, 0])
    within = np.clip(z, top, apex)
    return np.asarray(curve(within)), np.asarray(curve.derivative()(within))


def _twist(wall: Wall, motion: Motion, z: Array) -> Array:
    """phi(z') in radians, linear from base to apex, as measured by tagging."""
    ends = (wall.slices_mm[0], wall.slices_mm[-1])
    return np.interp(z, ends, (motion.twist_base, motion.twist_apex))


def _fading(wall: Wall, anatomy: Anatomy, grid: Grid, z: Array, row: Array, column: Array) -> Array:
    """1 up to a little outside the epicardium, smoothly to 0 at the border of the stack."""
    center_row, center_column = wall.center_at(z)
    down, right = row - center_row, column - center_column
    radius = np.hypot(down, right)
    start = np.interp(z, wall.slices_mm, wall.outer.max(axis=1)) + CLEARANCE_MM
    end = np.full_like(radius, np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        for axis, offset, center in ((1, down, center_row), (2, right, center_column)):
            low, high = (np.array(anatomy.valid[axis]) - (0, 1)) * grid.spacing_mm[axis]
            reach = np.where(offset > 0, high - center, center - low) / np.abs(offset) * radius
            end = np.fmin(end, reach)
    start = np.minimum(start, 0.6 * end)
    part = np.clip((radius - start) / (end - start), 0, 1)
    return np.where(radius == 0, 1.0, (1 - part**2) ** 2)
