"""How a heart moves: its left and right ventricle, and as a whole, each a map with a closed form.

    frame --shift--> --right ventricle--> --left ventricle--> end-diastole

Every map says where a point of the frame was before; one after the other they give its
end-diastolic position, so that the pull field is exact, and none of them folds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MambaSynthTraining.data.heart_blood import right_ventricle, with_papillary_muscles
from MambaSynthTraining.data.heart_course import Course, draw_course
from MambaSynthTraining.data.heart_right import (
    RightMotion,
    draw_right_motion,
    pull_right,
    pull_shift,
)
from MambaSynthTraining.data.heart_room import Room
from MambaSynthTraining.data.heart_stacks import Anatomy, Grid, Stack
from MambaSynthTraining.data.heart_ventricle import (
    Array,
    LeftMotion,
    Points,
    descent,
    draw_left_motion,
    pull_left,
)
from MambaSynthTraining.data.heart_wall import Wall, wall_of


@dataclass(frozen=True)
class Motion:
    """What moves, where, how far and when."""

    wall: Wall
    room: Room
    left: LeftMotion
    right: RightMotion
    course: Course


def draw_motion(stack: Stack, anatomy: Anatomy, grid: Grid, rng: np.random.Generator) -> Motion:
    """A heartbeat that suits a stack."""
    wall = with_papillary_muscles(wall_of(stack, anatomy), stack, anatomy)
    beside = right_ventricle(wall, stack, anatomy)
    left_rng, right_rng, course_rng = rng.spawn(3)
    return Motion(
        wall,
        Room.of(wall, beside, anatomy, grid),
        draw_left_motion(wall, left_rng),
        draw_right_motion(beside.direction, right_rng),
        draw_course(course_rng),
    )


def pull_coordinates(motion: Motion, grid: Grid, planes_mm: Array, s: Array) -> Points:
    """Where each voxel of the planes (K,) was at end-diastole: z, row, column in mm, each (K,H,W).

    ``s`` (K,): the contraction at which each plane is seen.
    """
    rows, columns = (
        np.arange(n) * step for n, step in zip(grid.size[1:], grid.spacing_mm[1:], strict=True)
    )
    z, row, column = np.meshgrid(planes_mm, rows, columns, indexing="ij")
    share = np.asarray(s, dtype=np.float64)[:, None, None]
    points = pull_shift((z, row, column), share, motion.room, motion.right)
    fall, _ = descent(points[0], motion.wall, motion.room, motion.left)
    points = pull_right(points, share, fall, motion.room, motion.right)
    return pull_left(points, share, motion.wall, motion.room, motion.left)
