"""Doubts that a cine shows a beating heart, before its motion is looked for.

| rule           | what it looks at                                               |
|----------------|----------------------------------------------------------------|
| mask or labels | the values of the first frame                                  |
| noise          | neighboring pixels do not resemble each other                  |
| CT             | air at -1000                                                   |
| a head         | the network of ``gate/`` sees one in a stack of slices         |
| nothing beats  | the two frames that differ most do so by noise only            |

Each is a reason for doubt and becomes a note of the cine, which every command shows and every
record keeps; nothing is refused, because hearts, views and scanners differ more than heads. Two
frames are judged as ED and ES, see judgment.py.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.cine.frame_stacks import moving_region
from MambaSynthLib.cine.judgment import NOISE_ALONE
from MambaSynthLib.cine.noise import noise_of
from MambaSynthLib.cine.phases import A_STACK
from MambaSynthLib.cine.preparation import short_axis
from MambaSynthLib.gate import rules
from MambaSynthLib.gate.look import coarsened, look_at
from MambaSynthLib.gate.network import shipped_gate
from MambaSynthLib.image.cine import Cine
from MambaSynthLib.image.suitability import value_doubts
from MambaSynthLib.image.volume import Volume

Floats = NDArray[np.float32]

ALIKE = 0.5  # correlation of neighboring pixels; that of images is near 1, that of noise near 0
A_HEAD = 0.9  # probability of a head or a brain
BEATS = 3  # frames or more, of which a whole cine is judged


def with_doubt(cine: Cine) -> Cine:
    """``cine``, with a note for the first reason to doubt that it shows a beating heart.

    Raises VolumeError for a constant first frame.
    """
    first = cine.frames[0]
    looks = _still_picture(first) or _stillness(cine)
    if looks is None:
        return cine
    note = f"gate, doubtful: {looks}; give a cine of a beating heart"
    return replace(cine, notes=(*cine.notes, note))


def _still_picture(frame: Volume) -> str | None:
    """What one frame looks like, if not like a slice through a chest."""
    look = look_at(coarsened(frame), frame.name)
    drawn = rules.mask_or_labels(frame, frame.array > look.threshold)
    if drawn:
        return drawn.looks
    stack = _slices(frame)
    if _alike(stack) < ALIKE:
        return "looks like noise"
    if value_doubts(frame):
        return "looks like CT in Hounsfield units"
    anatomy = shipped_gate().answers(look.image)["anatomy"]
    if len(stack) >= A_STACK and anatomy["head"] + anatomy["brain"] >= A_HEAD:
        return "looks like a head"
    return None


def _alike(stack: Floats) -> float:
    """Correlation of neighbors in a row; 1 where there are none."""
    if stack.shape[-1] < 2:
        return 1.0
    centered = stack.astype(np.float64) - float(stack.mean())
    return float((centered[..., 1:] * centered[..., :-1]).mean() / (centered**2).mean())


def _stillness(cine: Cine) -> str | None:
    """Whether no frame differs from the first by more than noise."""
    if len(cine.frames) < BEATS:
        return None
    first = _slices(cine.frames[0])
    others = (_slices(frame) for frame in cine.frames[1:])
    other = max(others, key=lambda stack: float(np.mean((stack - first) ** 2)))
    change = other - first
    region = moving_region(np.abs(change))
    if region.any() and np.mean(change[region] ** 2) >= NOISE_ALONE * 2 * noise_of(first, other):
        return None
    return "differs from frame to frame by little more than noise: nothing beats"


def _slices(frame: Volume) -> Floats:
    """(N,R,C)"""
    return short_axis(frame.affine, "LPS").view(frame.array)
