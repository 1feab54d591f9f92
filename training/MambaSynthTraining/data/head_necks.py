"""What a T1w head without its T2w teaches: face and neck, the eyes, scalp and bone.

The clinical pairs end at the skull base, so nothing acquired says what a T2w volume looks like
further down, and their slices are thick. But where they show muscle, fat, marrow and air, T2w
follows T1w: `mambasynth heads` prints by how much for each whole head (``outside_brain``), and
``brightness`` is that rule. Spinal cord and fluid are found by following the cord down
(``head_cord``); their T2w brightness is a number. So is that of the eyeballs, which T1w shows as
dark as bone (``head_eyes``). Where it cannot be told, in the wall of the canal, near the brain and
in it, the weight is 0, so that nothing computed is learned as anatomy of the brain.

| symbol | code      | shape   | meaning                                                   |
|--------|-----------|---------|-----------------------------------------------------------|
| x_0    | ``stack`` | (N,H,W) | T1w in [-1,1], axial from below, rows to the back         |
|        | ``brain`` | (N,H,W) | its brain mask                                            |
|        | ``cord``  | (n,2)   | row and column of the cord in the lowest n slices         |
|        | ``eyes``  | 2 or 0  | slice, row and column of the middles of the eyeballs      |
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MambaSynthLib.image.intensity import EMPTY, MEDIANS
from MambaSynthTraining.data import head_eyes
from MambaSynthTraining.data.head_cord import Path, around, lowest
from MambaSynthTraining.data.head_eyes import Eyes

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

KNOTS_T1W = (0.0, 1.0, 2.0)  # brightness in medians of the brain: air, muscle, fat
KNOTS_T2W = (0.0, 0.55, 1.5)  # fat a little less: vessels are as bright in T1w, and dark in T2w
AT = (0.5, 1.0, 1.5, 2.0)  # T1w brightness that the pairs are looked at, within NEAR of it
NEAR, SCALP_MM = 0.1, 4.0  # medians; what lies closer to the brain mask may be brain
CORD_T2W, FLUID_T2W = 0.9, 2.2  # medians, where the coil sees the cord as bright as the brain
FLUID_T1W = 0.35  # of the cord's brightness; between them a pixel holds some of both
CANAL_MM, WALL_MM = 8.0, 16.0  # from the middle of the cord: cord and fluid; then nobody knows
AWAY_MM = 12.0  # from the brain: cisterns
EYE_MM, ORBIT_MM = 12.0, 20.0  # from the middle of an eyeball: fluid and lens; then fat and muscle
LENS_T1W = (1.2, 2.2)  # of the fluid's brightness: from all fluid to none in an eyeball
FACE_MM = (15.0, 45.0)  # how far up it reaches above the lowest brain, and how far before the cord
FADES_MM = (40.0, 250.0)  # the coil's sensitivity falls by e over such a length
FADED = 0.6  # share of the heads whose coil ends early
EYE, CANAL, NOSE, PLAIN = 400, 100, 100, 35  # weights in percent: muscle is soon learned


def brightness(t1w: Floats) -> Floats:
    """T2w of muscle, fat and air, both in medians of the brain. Any shape."""
    return np.interp(t1w, KNOTS_T1W, KNOTS_T2W).astype(np.float32)


def outside_brain(source: Floats, target: Floats, brain: Mask, slice_mm: float) -> list[float]:
    """Median T2w brightness of a registered pair, below the middle of its brain and outside of it,
    where T1w is as bright as ``AT``; NaN where it is nowhere.
    """
    middle = np.flatnonzero(brain.any(axis=(1, 2))).mean()
    away = ndimage.distance_transform_edt(~brain, sampling=(slice_mm, 1.0, 1.0)) > SCALP_MM
    away &= (np.arange(len(brain)) < middle)[:, None, None] & (source > EMPTY)
    t1w, t2w = (_in_medians(image[away]) for image in (source, target))
    found = [t2w[np.abs(t1w - at) < NEAR] for at in AT]
    return [float(np.median(values)) if values.size else float("nan") for values in found]


def weights(
    stack: Floats, brain: Mask, slice_mm: float, cord: Path, eyes: Eyes
) -> NDArray[np.uint16]:
    """(N,H,W) in percent: below the skull base, without the wall of the canal and cisterns; where
    the eyes are known also scalp and bone above; the orbits; and the nose between them, which is
    not to be taken for an eye.
    """
    low = lowest(brain)
    n, i, _ = np.ogrid[tuple(map(slice, stack.shape))]
    up, ahead = FACE_MM
    under = (n < low) | ((n < low + up / slice_mm) & (i < cord[-1, 0] - ahead))
    away = ndimage.distance_transform_edt(~brain, sampling=(slice_mm, 1.0, 1.0))
    orbits = head_eyes.around(eyes, stack.shape, ORBIT_MM, slice_mm) & (away > SCALP_MM)
    known = ((under | bool(eyes)) & (away >= AWAY_MM)) | orbits
    found = np.where((stack > EMPTY) & known, PLAIN, 0).astype(np.uint16)
    if eyes:
        top, behind, _ = np.max(eyes, axis=0)
        nose = (n >= low) & (n < top + ORBIT_MM / slice_mm) & (i < behind + ORBIT_MM) & ~orbits
        found[nose & (away >= AWAY_MM) & (stack > EMPTY)] = NOSE
    found[around(cord, stack.shape, WALL_MM)] = 0
    found[around(cord[:low], stack.shape, CANAL_MM)] = CANAL
    found[orbits & head_eyes.around(eyes, stack.shape, EYE_MM, slice_mm)] = EYE
    return found


def faded(stack: Floats, brain: Mask, slice_mm: float, rng: np.random.Generator) -> Floats:
    """The stack as a coil sees it that ends below the brain, or as it is."""
    if rng.random() >= FADED:
        return stack
    below = np.maximum(lowest(brain) - np.arange(len(stack)), 0) * slice_mm
    kept = np.exp(-below / rng.uniform(*FADES_MM)).astype(np.float32)
    return (stack - EMPTY) * kept[:, None, None] + EMPTY


def target(stack: Floats, slice_mm: float, cord: Path, eyes: Eyes) -> Floats:
    """(N,H,W) in [-1,1]: ``brightness`` of a stack in [-1,1]; in the canal cord and fluid, as
    bright as the coil lets the cord of that slice be; in the eyeballs fluid, and as the rule says
    where T1w is brighter.
    """
    t1w = _in_medians(stack)
    t2w = brightness(t1w)
    canal = around(cord, stack.shape, CANAL_MM)
    for n, (row, column) in enumerate(cord):
        middle = t1w[n, row - 1 : row + 2, column - 1 : column + 2]
        seen = max(float(np.median(middle)), 1e-3)
        held = np.clip((t1w[n] / seen - FLUID_T1W) / (1 - FLUID_T1W), 0, 1)  # share of cord
        mixed = seen * (FLUID_T2W + held * (CORD_T2W - FLUID_T2W))
        t2w[n][canal[n]] = mixed[canal[n]]
    for eye in eyes:
        core, ball = (
            head_eyes.around([eye], stack.shape, mm, slice_mm) for mm in (head_eyes.CORE_MM, EYE_MM)
        )
        other = np.interp(t1w[ball] / np.median(t1w[core]), LENS_T1W, (0, 1))
        t2w[ball] += (1 - other) * (FLUID_T2W - t2w[ball])
    return t2w * (2 / MEDIANS) + EMPTY


def _in_medians(values: Floats) -> Floats:
    return (values - EMPTY) * (MEDIANS / 2)
