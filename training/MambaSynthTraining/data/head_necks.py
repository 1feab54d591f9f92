"""What a T1w head without its T2w teaches: the face and the neck below the skull base.

The clinical pairs end at the skull base, so nothing acquired says what a T2w volume looks like
further down. But where they show muscle, fat, marrow and air, T2w follows T1w: `mambasynth heads`
prints by how much for each whole head (``outside_brain``), and ``brightness`` is that rule. It is
used where there is neither brain nor spinal fluid; everywhere else the weight is 0, so that nothing
computed is learned as anatomy of the brain.

| symbol | code      | shape   | meaning                                                   |
|--------|-----------|---------|-----------------------------------------------------------|
| x_0    | ``stack`` | (N,H,W) | T1w in [-1,1], axial from below, rows to the back         |
|        | ``brain`` | (N,H,W) | its brain mask                                            |
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.image.intensity import EMPTY, MEDIANS

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

KNOTS_T1W = (0.0, 1.0, 2.0)  # brightness in medians of the brain: air, muscle, fat
KNOTS_T2W = (0.0, 0.55, 1.5)  # fat a little less: vessels are as bright in T1w, and dark in T2w
AT = (0.5, 1.0, 1.5, 2.0)  # T1w brightness that the pairs are looked at, within NEAR of it
NEAR, SCALP_MM = 0.1, 4.0  # medians; what lies closer to the brain mask may be brain
SMALLEST_MM2 = 1500.0  # area of the brain in its lowest slice that is no cord
TAIL_MM = 10.0  # of the brain mask's lower end, which the cord goes on from
CANAL_MM = (25.0, 30.0, 18.0)  # before, behind and beside the cord
AWAY_MM = 12.0  # from the brain: cisterns
FACE_MM = (15.0, 45.0)  # how far up it reaches above the lowest brain, and how far before the cord
FADES_MM = (40.0, 250.0)  # the coil's sensitivity falls by e over such a length
FADED = 0.6  # share of the heads whose coil ends early


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
    t1w, t2w = ((image[away] - EMPTY) * (MEDIANS / 2) for image in (source, target))
    found = [t2w[np.abs(t1w - at) < NEAR] for at in AT]
    return [float(np.median(values)) if values.size else float("nan") for values in found]


def region(stack: Floats, brain: Mask, slice_mm: float) -> Mask:
    """(N,H,W): below the skull base, without spinal canal and cisterns; pixels are 1 mm.

    Raises VolumeError: the brain mask has no slice as large as a brain.
    """
    area = brain.sum(axis=(1, 2))
    if not (area >= SMALLEST_MM2).any():
        raise VolumeError(
            f"its brain mask is nowhere larger than {area.max()} mm2; list only whole heads."
        )
    low = int(np.flatnonzero(area >= SMALLEST_MM2)[0])
    end = int(np.flatnonzero(area)[0])
    _, r, c = np.nonzero(brain[end : end + max(1, round(TAIL_MM / slice_mm))])
    row, column = float(np.median(r)), float(np.median(c))
    n, i, j = np.ogrid[tuple(map(slice, stack.shape))]
    before, behind, beside = CANAL_MM
    canal = (i > row - before) & (i < row + behind) & (abs(j - column) < beside)
    up, ahead = FACE_MM
    under = (n < low) | ((n < low + up / slice_mm) & (i < row - ahead))
    near = ndimage.distance_transform_edt(~brain, sampling=(slice_mm, 1.0, 1.0)) < AWAY_MM
    found: Mask = (stack > EMPTY) & under & ~canal & ~near
    return found


def faded(stack: Floats, brain: Mask, slice_mm: float, rng: np.random.Generator) -> Floats:
    """The stack as a coil sees it that ends below the brain, or as it is."""
    if rng.random() >= FADED:
        return stack
    low = int(np.flatnonzero(brain.sum(axis=(1, 2)) >= SMALLEST_MM2)[0])
    below = np.maximum(low - np.arange(len(stack)), 0) * slice_mm
    kept = np.exp(-below / rng.uniform(*FADES_MM)).astype(np.float32)
    return (stack - EMPTY) * kept[:, None, None] + EMPTY


def target(stack: Floats) -> Floats:
    """(N,H,W) in [-1,1]: ``brightness`` of a stack in [-1,1]."""
    return brightness((stack - EMPTY) * (MEDIANS / 2)) * (2 / MEDIANS) + EMPTY
