"""Beating hearts: real short-axis stacks set in motion, with every frame and field known exactly.

    stack --resample--> ED anatomy --pull field(s(t))--> tissue(t) --inflow, gain, noise--> frame(t)
    outlines --> wall --pull field(s(t))--> labels(t)

Anatomy, texture and artefacts are a patient's; the motion is drawn (heart_motion.py) and never
seen in that patient. Use it to compare methods, not to claim anything about patients. Known
simplifications: one center line, no papillary muscles of their own, the right ventricle only
follows, no flow artefacts, and the slices' thickness does not blur what moves through them.
The stack's own noise moves with the tissue; the noise added to each frame does not.

Each subject's motion, signal and noise have streams of their own from (seed, subject), so that a
subject is the same whatever else is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MambaSynthLib.errors import RequestError
from MambaSynthTraining.data.heart_cine import LEFT_POOL, MYOCARDIUM, HeartCine
from MambaSynthTraining.data.heart_motion import Motion, contraction, draw_motion, pull_coordinates
from MambaSynthTraining.data.heart_signal import (
    Signal,
    acquire,
    draw_signal,
    scaled_by,
    tissue_signal,
)
from MambaSynthTraining.data.heart_stacks import Anatomy, Grid, Stack, place
from MambaSynthTraining.data.heart_wall import Wall, wall_of

Coordinates = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]

FEWEST_FRAMES = 8  # or end-systole may have no frame before it


@dataclass(frozen=True)
class Heart:
    """A subject before it is imaged: everything that does not depend on time."""

    grid: Grid
    anatomy: Anatomy
    wall: Wall
    motion: Motion
    signal: Signal


def draw_heart(stack: Stack, rng: np.random.Generator, grid: Grid) -> Heart:
    """A stack with a random, fitting motion and signal."""
    motion_rng, signal_rng = rng.spawn(2)
    anatomy = place(stack, grid)
    wall = wall_of(stack, anatomy)
    return Heart(grid, anatomy, wall, draw_motion(wall, motion_rng), draw_signal(signal_rng))


def beating_heart(
    stack: Stack,
    subject: int,
    seed: int = 0,
    frames: int = 16,
    grid: Grid | None = None,
) -> HeartCine:
    """One heart cycle of one patient, ``frames`` equally spaced frames, ED first.

    End-systole is the frame of greatest contraction. The same (seed, subject) gives the same
    cine. Raises RequestError for fewer than 8 frames.
    """
    if frames < FEWEST_FRAMES:
        raise RequestError(
            f"beating heart: {frames} frames are too few; ask for {FEWEST_FRAMES} or more."
        )
    draw_rng, noise_rng = np.random.default_rng([seed, subject]).spawn(2)
    heart = draw_heart(stack, draw_rng, grid or Grid())
    phases = np.arange(frames) / frames
    contractions = contraction(heart.motion, phases)
    es = int(contractions.argmax())
    made = [
        _frame(heart, float(s), rng)
        for s, rng in zip(contractions, noise_rng.spawn(frames), strict=True)
    ]
    images, labels, fields = (np.stack(parts) for parts in zip(*made, strict=True))
    return HeartCine(
        name=f"heart-{subject:02d}",
        frames=scaled_by(images, [0, es], heart.anatomy.valid),
        times_ms=tuple(float(t) for t in phases * heart.motion.period_ms),
        labels=labels,
        labeled=tuple(range(frames)),
        spacing_mm=heart.grid.spacing_mm,
        ed=0,
        es=es,
        valid=heart.anatomy.valid,
        fields=fields,
    )


def _frame(
    heart: Heart, s: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float32]]:
    """Image, labels and pull field of the frame at contraction ``s``."""
    covered = tuple(slice(*ends) for ends in heart.anatomy.valid)
    where = pull_coordinates(heart.wall, heart.anatomy, heart.grid, heart.motion, s)
    field = pull_field(where, heart.grid)
    moved = warp(tissue_signal(heart.anatomy.image, covered), field, order=3)
    labels = labels_at(heart.wall, where)
    labels[_outside(labels.shape, covered)] = 0
    frame = acquire(moved, labels == LEFT_POOL, s, heart.signal, rng)
    return frame, labels, field


def pull_field(where: Coordinates, grid: Grid) -> NDArray[np.float32]:
    """(3,D,H,W) displacement in voxels from positions in mm: frame(x) = ED(x + field(x)).

    Rounded to 1e-4 voxel, so that a still voxel at the border does not look past it by 1e-15.
    """
    here = np.indices(grid.size)
    steps = zip(where, grid.spacing_mm, here, strict=True)
    field = np.stack([position / step - index for position, step, index in steps])
    return field.round(4).astype(np.float32)


def warp(
    image: NDArray[np.float32], field: NDArray[np.float32], order: int = 1
) -> NDArray[np.float32]:
    """image(x + field(x)) by splines of ``order``; zeros outside, clipped to the image's range."""
    where = np.indices(image.shape, dtype=np.float32) + field
    moved = ndimage.map_coordinates(image, where, order=order, mode="constant")
    return np.clip(moved, image.min(), image.max())


def labels_at(wall: Wall, where: Coordinates) -> NDArray[np.uint8]:
    """(D,H,W) labels: which side of the end-diastolic wall each point came from."""
    z, row, column = where
    center_row, center_column = wall.center_at(z)
    down, right = row - center_row, column - center_column
    inner, outer = wall.radii_at(z, np.arctan2(down, right))
    radius = np.hypot(down, right)
    half = (wall.slices_mm[1] - wall.slices_mm[0]) / 2
    within = (z >= wall.slices_mm[0] - half) & (z <= wall.slices_mm[-1] + half)
    labels = np.where(radius < inner, LEFT_POOL, np.where(radius < outer, MYOCARDIUM, 0))
    return np.where(within, labels, 0).astype(np.uint8)


def _outside(shape: tuple[int, ...], covered: tuple[slice, ...]) -> NDArray[np.bool_]:
    outside = np.ones(shape, dtype=bool)
    outside[covered] = False
    return outside
