"""What is to be said about two acquired frames, and about the motion found between them.

| outcome                        | sign                                                            |
|--------------------------------|-----------------------------------------------------------------|
| a single slice                 | what moves through it is not seen                               |
| equal frames                   | every voxel is the same                                         |
| no motion to speak of          | the largest change is that of noise, or no two neighbors share  |
|                                | it: noise that is stronger in the lung than in the heart        |
| swapped frames                 | the blood pool is clearly larger in ES                          |
| other people, or another place | the pictures as a whole do not agree                            |
| motion that does not explain   | half or more of the squared difference is left after it         |
| a jump                         | the step from the last synthetic frame to ES stands out         |
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.cine.motion import PairMotion
from MambaSynthLib.cine.noise import roughness
from MambaSynthLib.cine.options import CineOptions
from MambaSynthLib.cine.phases import seems_swapped
from MambaSynthLib.cine.preparation import short_axis
from MambaSynthLib.image.volume import Volume

Array = NDArray[np.float32]

LEAST_EXPLAINED = 0.5  # of the squared difference in the moving region
NOISE_ALONE = 3.0  # times the variance of two frames' noise, that much in the moving region
ROUGH = 0.5  # of the squared change in the moving region is not shared by neighboring pixels
SAME_PERSON = 0.7  # correlation of the two frames over all voxels
JUMP = 3.0  # times the median step
STEPS_LOOKED_AT = 4  # of the others

SINGLE_SLICE = (
    "a single slice: what moves through the slice, as the base of the heart does, is not seen; it "
    "fades"
)


def judge_pair(ed: Volume, es: Volume) -> list[str]:
    """Warnings that need no motion."""
    if np.array_equal(ed.array, es.array):
        return ["ED and ES are identical: every frame is a copy of them"]
    slices = short_axis(ed.affine, "LPS").order[0]
    found = [SINGLE_SLICE] if ed.shape[slices] == 1 else []
    alike = correlation(ed.array, es.array)
    if alike < SAME_PERSON:
        found.append(
            f"ED and ES seem to be of different people or places: their voxels correlate by "
            f"{alike:.2f} only; the frames between would mean nothing"
        )
    if seems_swapped(ed, es):
        found.append("ED and ES seem swapped: the blood pool is larger in ES than in ED")
    return found


def judge_motion(motion: PairMotion, between: str = "ED and ES") -> list[str]:
    """Warnings about what the motion explains."""
    region = motion.region()
    first, last = (motion.stacks.cut(stack) for stack in (motion.first, motion.last))
    if not region.any():
        return []
    change = float(np.mean((first - last)[region] ** 2))
    noisy = roughness(first - last, region) > ROUGH
    if noisy or change < NOISE_ALONE * 2 * motion.noise:
        return [f"{between} differ by little more than noise: nearly nothing moves between them"]
    explained = 1 - motion.unexplained()
    if explained >= LEAST_EXPLAINED:
        return []
    return [
        f"the motion explains {100 * max(0.0, explained):.0f} % of the difference between "
        f"{between} only: tissue fades from one to the other instead of moving"
    ]


def refinement_of(options: CineOptions, motion: object) -> str:
    """How the motion was refined, for the record."""
    if not isinstance(motion, PairMotion):
        return f"on the frames themselves, up to {options.steps} steps"
    explained = 100 * (1 - motion.unexplained())
    return (
        f"on the frames themselves, {motion.fit.steps} of {motion.fit.planned} steps; the motion "
        f"explains {explained:.0f} % of the difference between the two"
    )


def correlation(a: Array, b: Array) -> float:
    """Pearson's, over all voxels; 0 where one image is constant."""
    x, y = (np.asarray(image, np.float64) - float(np.mean(image)) for image in (a, b))
    scale = float(np.sqrt(np.sum(x * x) * np.sum(y * y)))
    return float(np.sum(x * y)) / scale if scale > 0 else 0.0


def last_step(frame: Callable[[int], Array], count: int) -> float:
    """The step from the last but one of ``count`` frames to the last, in medians of the steps
    before, by root mean square; NaN where there are fewer than two steps.
    """
    steps = count - 1
    if steps < 2:
        return float("nan")
    chosen = np.unique(np.linspace(0, steps - 2, min(steps - 1, STEPS_LOOKED_AT)).round())
    others = [_step(frame, int(n)) for n in chosen]
    middle = float(np.median(others))
    return _step(frame, steps - 1) / middle if middle > 0 else float("nan")


def judge_last_step(ratio: float) -> list[str]:
    if not ratio > JUMP:
        return []
    return [f"the cine jumps: its last step, to ES, is {ratio:.1f} times as large as the others"]


def _step(frame: Callable[[int], Array], number: int) -> float:
    """Root mean square of what changes from frame ``number`` to the next."""
    change = frame(number + 1) - frame(number)
    return float(np.sqrt(np.mean(change**2, dtype=np.float64)))
