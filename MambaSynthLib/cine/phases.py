"""Which frame is end-diastole and which is end-systole, and by which rule that is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import RequestError, VolumeError
from MambaSynthLib.image.cine import Cine
from MambaSynthLib.image.volume import Volume

MOVING_PERCENTILE = 99.0  # of the temporal range of a voxel; above lies the border of the blood
AROUND_PERCENTILE = 97.0  # above lies what the border of the blood passes through
BLOOD = 0.5  # of the way from dark to bright in the moving region: above is blood
RULE_GIVEN = "given by the user"
A_STACK = 3  # slices
CLEAR_CHANGE = 0.25  # of the moving region must pass from blood to muscle to tell the phases


@dataclass(frozen=True)
class Phases:
    """Frame indices from 0, and the rule that named them, for people."""

    ed: int
    es: int
    rule: str


def choose_phases(cine: Cine, ed: int | None = None, es: int | None = None) -> Phases:
    """ED and ES as the user numbers them (from 1), else as a file says, else as found.

    Raises
    ------
    RequestError: a number outside the cine, or the same one twice.
    VolumeError: no frame differs from another, so that nothing can be found.
    """
    for number in (ed, es):
        if number is not None and not 1 <= number <= len(cine.frames):
            raise RequestError(
                f"frame {number} is not in {cine.name}, which has the frames 1 to "
                f"{len(cine.frames)}; give another number."
            )
    if ed is not None and ed == es:
        raise RequestError(f"frame {ed} cannot be both ED and ES; give two frame numbers.")
    if ed is not None and es is not None:
        return Phases(ed - 1, es - 1, RULE_GIVEN)
    known = Phases(*cine.phases) if cine.phases else found_phases(cine)
    if ed is None and es is None:
        return known
    chosen_ed = known.ed if ed is None else ed - 1
    chosen_es = known.es if es is None else es - 1
    if chosen_ed == chosen_es:  # the user named what the rule takes for the other
        other = _opposite(cine, chosen_ed)
        if es is not None:
            return Phases(
                other, chosen_es, f"ES {RULE_GIVEN}, ED by the largest difference from it"
            )
        return Phases(chosen_ed, other, f"ED {RULE_GIVEN}, ES by the largest difference from it")
    return Phases(chosen_ed, chosen_es, f"one given by the user, the other by {known.rule}")


def found_phases(cine: Cine) -> Phases:
    """The largest and the smallest blood pool; where blood cannot be told, the largest difference.

    The region looked at is where intensities change most over the cycle, which is the border of
    the ventricles. There blood (bright in bSSFP) gives way to muscle in systole. A single slice may
    be a long-axis view, where atria fill meanwhile; there, and in two slices, frame 1 is ED: cines
    begin with the R wave. So is the first of several frames with the largest pool; where all of
    the border is muscle in several, the darkest of them is ES.
    """
    pool = _blood_pool(cine.frames)
    if _slices(cine.frames[0]) >= A_STACK and np.ptp(pool) >= CLEAR_CHANGE:
        ed, es = int(np.argmax(pool)), _darkest(cine.frames, np.flatnonzero(pool == pool.min()))
        return Phases(ed, es, "the largest and the smallest blood pool")
    return Phases(0, _opposite(cine, 0), "the largest difference from frame 1")


def _darkest(frames: Sequence[Volume], among: NDArray[np.intp]) -> int:
    """The one of those frames whose signal is lowest around the border of the blood."""
    arrays = [frame.array for frame in frames]
    change = np.maximum.reduce(arrays) - np.minimum.reduce(arrays)
    around = change >= np.percentile(change, AROUND_PERCENTILE)
    return int(min(among, key=lambda n: float(arrays[n][around].mean())))


def _opposite(cine: Cine, frame: int) -> int:
    """The frame that differs most from ``frame``, by mean squared difference."""
    differences = [_mean_square(other.array, cine.frames[frame].array) for other in cine.frames]
    other = int(np.argmax(differences))
    if other == frame:
        raise VolumeError(
            f"{cine.name}: all frames are equal, so ED and ES cannot be found; name them with "
            "--ed and --es."
        )
    return other


def _mean_square(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    return float(np.mean((first - second) ** 2, dtype=np.float64))


def seems_swapped(ed: Volume, es: Volume) -> bool:
    """Whether the blood pool is clearly larger in what is given as ES; not asked of fewer than
    three slices, which may be long-axis views.
    """
    if _slices(ed) < A_STACK:
        return False
    pool = _blood_pool((ed, es))
    return bool(pool[1] - pool[0] >= CLEAR_CHANGE)


def _slices(volume: Volume) -> int:
    return volume.shape[int(np.argmax(volume.spacing))]


def _blood_pool(frames: Sequence[Volume]) -> NDArray[np.float64]:
    """(F,) the part of the moving region that is bright, in each frame: the median over slices.

    The median, because the atria and great vessels in the basal slices fill while the ventricles
    empty.
    """
    stack = int(np.argmax(frames[0].spacing))  # the slice axis
    arrays = [np.moveaxis(frame.array, stack, 0) for frame in frames]
    low, high = np.minimum.reduce(arrays), np.maximum.reduce(arrays)
    change = high - low
    if not change.any():
        return np.zeros(len(frames))
    moving = change >= np.percentile(change, MOVING_PERCENTILE)
    dark, bright = np.median(low[moving]), np.median(high[moving])
    threshold = dark + BLOOD * (bright - dark)
    counts = moving.sum(axis=(1, 2))
    kept = counts >= counts.mean() / 2
    bright_counts = np.array(
        [np.sum(moving & (a > threshold), axis=(1, 2)) for a in arrays]
    )  # (F,N)
    pool: NDArray[np.float64] = np.median(bright_counts[:, kept] / counts[kept], axis=1)
    return pool
