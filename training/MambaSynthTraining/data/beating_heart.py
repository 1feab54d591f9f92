"""Beating hearts: real short-axis stacks set in motion, with every frame and field known exactly.

    stack --resample--> ED anatomy --pull field(s)--> tissue --slices, flow, gain, noise--> frame
    outlines --> wall --pull field(s)--> labels

Anatomy, texture and artefacts are a patient's; the motion is drawn (heart_motion.py) and never
seen in that patient. Use it to compare methods, not to claim anything about patients. Known
simplifications: one center line, the right ventricle is a bellows, atria only follow the base,
nobody breathes. The stack's noise moves with the tissue; the noise added to each frame does not.

Fields and labels are those of the tissue at each voxel's place, whatever the slices blur. Each
subject's motion, slices, signal and noise have streams of their own from (seed, subject), so that a
subject is the same whatever else is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MambaSynthLib.errors import RequestError
from MambaSynthTraining.data.heart_cine import LEFT_POOL, HeartCine
from MambaSynthTraining.data.heart_fields import labels_at, pull_field
from MambaSynthTraining.data.heart_motion import Motion, draw_motion, pull_coordinates
from MambaSynthTraining.data.heart_signal import (
    Blood,
    Signal,
    acquire,
    draw_signal,
    scaled_by,
    tissue_signal,
)
from MambaSynthTraining.data.heart_slices import KINDS, Slices, draw_slices
from MambaSynthTraining.data.heart_stacks import Anatomy, Grid, Stack, place

FEWEST_FRAMES = 8  # or end-systole may have no frame before it


@dataclass(frozen=True)
class Heart:
    """A subject before it is imaged: everything that does not depend on time."""

    grid: Grid
    anatomy: Anatomy
    motion: Motion
    slices: Slices
    signal: Signal

    @cached_property
    def tissue(self) -> NDArray[np.float64]:
        """(D,H,W) the end-diastolic signal as cubic spline coefficients."""
        covered = tuple(slice(*ends) for ends in self.anatomy.valid)
        image = tissue_signal(self.anatomy.image, covered)
        found: NDArray[np.float64] = ndimage.spline_filter(image, order=3, mode="constant")
        return found

    @property
    def valid(self) -> tuple[tuple[int, int], ...]:
        """What is acquired of the grid."""
        return (self.slices.filled, *self.anatomy.valid[1:])


def draw_heart(
    stack: Stack, rng: np.random.Generator, grid: Grid, kinds: tuple[str, ...] = KINDS
) -> Heart:
    """A stack with a random, fitting motion, slices and signal."""
    motion_rng, signal_rng, slices_rng = rng.spawn(3)
    anatomy = place(stack, grid)
    motion = draw_motion(stack, anatomy, grid, motion_rng)
    slices = draw_slices(kinds, motion.wall, anatomy, grid, slices_rng)
    return Heart(grid, anatomy, motion, slices, draw_signal(signal_rng))


def beating_heart(
    stack: Stack,
    subject: int,
    seed: int = 0,
    frames: int = 16,
    grid: Grid | None = None,
    kinds: tuple[str, ...] = KINDS,
) -> HeartCine:
    """One heart cycle of one patient, ``frames`` equally spaced frames, ED first.

    End-systole is the frame of greatest contraction. ``kinds`` of slices that may be drawn, see
    ``heart_slices.py``. The same (seed, subject) gives the same cine. Raises RequestError for fewer
    than 8 frames.
    """
    if frames < FEWEST_FRAMES:
        raise RequestError(
            f"beating heart: {frames} frames are too few; ask for {FEWEST_FRAMES} or more."
        )
    draw_rng, noise_rng = np.random.default_rng([seed, subject]).spawn(2)
    heart = draw_heart(stack, draw_rng, grid or Grid(), kinds)
    course = heart.motion.course
    times = np.arange(frames) / frames * course.period_ms
    es = int(course.contraction(times).argmax())
    made = [
        _frame(heart, float(t), rng) for t, rng in zip(times, noise_rng.spawn(frames), strict=True)
    ]
    images, labels, fields = (np.stack(parts) for parts in zip(*made, strict=True))
    return HeartCine(
        name=f"heart-{subject:02d}",
        frames=scaled_by(images, [0, es], heart.valid),
        times_ms=tuple(float(t) for t in times),
        labels=labels,
        labeled=tuple(range(frames)),
        spacing_mm=heart.grid.spacing_mm,
        ed=0,
        es=es,
        valid=heart.valid,
        fields=fields,
    )


def _frame(
    heart: Heart, time_ms: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float32]]:
    """Image, labels and pull field of the frame at a time."""
    grid, motion = heart.grid, heart.motion
    s = heart.slices.contractions(motion.course, time_ms)
    planes = np.asarray(np.arange(grid.size[0]) * grid.spacing_mm[0], dtype=np.float64)
    where = pull_coordinates(motion, grid, planes, heart.slices.between(s, grid))
    labels = labels_at(motion.wall, where)
    covered = tuple(slice(*ends) for ends in heart.valid)
    labels[_outside(labels.shape, covered)] = 0
    image = heart.slices.onto_grid(_seen(heart, s, time_ms, rng), grid)
    return image, labels, pull_field(where, grid)


def _seen(
    heart: Heart, s: NDArray[np.float64], time_ms: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """(N,H,W) the slices as they are acquired at contractions ``s`` (N,)."""
    slices, grid, motion = heart.slices, heart.grid, heart.motion
    count, within = slices.planes_mm.shape
    where = pull_coordinates(motion, grid, slices.planes_mm.ravel(), np.repeat(s, within))
    voxels = [mm / step for mm, step in zip(where, grid.spacing_mm, strict=True)]
    tissue = ndimage.map_coordinates(heart.tissue, voxels, order=3, prefilter=False)
    shape = (count, within, *grid.size[1:])
    mean = np.clip(tissue, 0, 1).reshape(shape).mean(axis=1) * slices.gain[:, None, None]
    pool = (labels_at(motion.wall, where) == LEFT_POOL).reshape(shape)[:, within // 2]
    below = slices.centers_mm - motion.wall.slices_mm[0]
    blood = Blood(pool, motion.course.flow(time_ms), below)
    seen = acquire(mean.astype(np.float32), blood, s, grid.spacing_mm[1:], heart.signal, rng)
    return seen


def _outside(shape: tuple[int, ...], covered: tuple[slice, ...]) -> NDArray[np.bool_]:
    outside = np.ones(shape, dtype=bool)
    outside[covered] = False
    return outside
