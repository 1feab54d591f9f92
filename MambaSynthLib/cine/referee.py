"""How close synthetic frames come to acquired ones that were left out, method beside method.

    cine --leave out--> coarse cine --method--> frames at the times left out --compare--> scores

| symbol | code          | meaning                                                              |
|--------|---------------|----------------------------------------------------------------------|
| V_f    | ``frames``    | (N,R,C) acquired frames, divided by their 99.9th percentile          |
| M      | ``region``    | where the heart moves: the range over time of V, smoothed by 1 pixel,|
|        |               | above a quarter of its maximum, widened by 4 pixels in each slice    |
| PSNR   | ``psnr``      | -10 log10 of the mean squared error, peak 1; of all voxels, or of M  |
| SSIM   | ``ssim``      | slice by slice, 7 x 7 pixels, scikit-image's, L = 1; mean map        |
| left   | ``left``      | sum over M of (A moved onto B - B)^2 over that of (A - B)^2: what of |
|        |               | the change between two acquired frames the motion leaves unexplained |

| noise  | see there       | PSNR that noise alone would leave to a frame without error: the      |
|        |                 | median of noise.py's variance over neighbors in time                 |

``best in time`` scores, for each frame left out, the method's best frame between the same acquired
neighbors, so that a wrong course of time and a wrong motion can be told apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.cine.contestants import Contestant
from MambaSynthLib.cine.leaving_out import Task
from MambaSynthLib.cine.noise import noise_of
from MambaSynthLib.cine.preparation import short_axis
from MambaSynthLib.cine.verdict import FrameRow, MotionRow
from MambaSynthLib.errors import RequestError
from MambaSynthLib.image.cine import Cine
from MambaSynthLib.image.metrics import skimage_metrics

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

PEAK_PERCENTILE = 99.9
SMOOTHED, MOVING_SHARE, WIDENED = 1.0, 0.25, 4  # pixels, of the largest range, pixels
SMALLEST = 7  # pixels along rows and columns, the window of SSIM
GRID = 21  # points in time, ends included, among which the best is chosen


def peak(cine: Cine) -> np.float32:
    """What counts as 1. Raises RequestError where the cine is constant."""
    values = np.concatenate([frame.array.ravel()[:: max(1, frame.array.size // 200_000)]
                             for frame in cine.frames])  # fmt: skip
    found = np.float32(np.percentile(values, PEAK_PERCENTILE))
    if not found > 0:
        raise RequestError(f"{cine.name}: its bright voxels are {found:g}; give an image.")
    return found


class Referee:
    """Scores contestants on one task."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._view = short_axis(task.cine.frames[0].affine, "LPS")
        self._scale = peak(task.cine)
        span = range(task.given[0], task.given[-1] + 1)
        self._acquired = {f: self._slices(task.cine.frames[f].array) for f in span}
        shape = self._acquired[span[0]].shape
        if min(shape[1:]) < SMALLEST:
            raise RequestError(
                f"{task.cine.name}: its slices are {shape[1]} x {shape[2]} pixels; SSIM needs "
                f"{SMALLEST} x {SMALLEST} or more."
            )
        self.region = moving_region(np.stack(list(self._acquired.values())))

    def noise_decibels(self) -> float:
        stacks = list(self._acquired.values())
        pairs = zip(stacks, stacks[1:], strict=False)
        return _decibels(np.array(np.median([noise_of(a, b) for a, b in pairs])))

    def _slices(self, array: Array) -> Array:
        stack: Array = self._view.apply(array) / self._scale
        return stack

    def score(self, contestant: Contestant, best_in_time: bool = True) -> list[FrameRow]:
        """The rows of all hidden frames."""
        rows = []
        times = self.task.cine.times_ms
        for number in range(len(self.task.given) - 1):
            hidden = [f for f in self.task.hidden if self.task.interval_of(f) == number]
            start, end = (times[self.task.given[n]] for n in (number, number + 1))
            fractions = [(times[f] - start) / (end - start) for f in hidden]
            best = self._best(contestant, number, hidden) if best_in_time else {}
            for f, made in zip(hidden, contestant.frames(number, fractions), strict=True):
                scores = self._compare(self._slices(made), f)
                rows.append(FrameRow(contestant.name, f + 1, *scores, *best.get(f, ())))
        return rows

    def _best(
        self, contestant: Contestant, interval: int, hidden: Sequence[int]
    ) -> dict[int, tuple[float, ...]]:
        """Frame -> the scores of the best of ``GRID`` frames by error in the region, and where."""
        grid = np.linspace(0, 1, GRID)
        least = dict.fromkeys(hidden, math.inf)
        kept: dict[int, tuple[float, Array]] = {}
        for fraction, made in zip(grid, contestant.frames(interval, list(grid)), strict=True):
            stack = self._slices(made)
            for f in hidden:
                error = float(np.mean((stack - self._acquired[f])[self.region] ** 2))
                if error < least[f]:
                    least[f], kept[f] = error, (float(fraction), stack)
        return {f: (*self._compare(stack, f), at) for f, (at, stack) in kept.items()}

    def _compare(self, stack: Array, frame: int) -> tuple[float, float, float, float]:
        """PSNR and SSIM of all voxels, then of the region."""
        acquired = self._acquired[frame]
        error = (stack - acquired) ** 2
        similarity = np.stack(
            [
                skimage_metrics().structural_similarity(y, r, data_range=1.0, full=True)[1]
                for y, r in zip(stack, acquired, strict=True)
            ]
        )
        inside = self.region
        return (
            _decibels(error), float(similarity.mean()),
            _decibels(error[inside]), float(similarity[inside].mean()),
        )  # fmt: skip

    def motion(
        self, contestant: Contestant, masks: Cine | None = None, label: int = 1
    ) -> MotionRow:
        """What the contestant's fields explain, fold, and do to the volume of a label."""
        left, folded, off = [], [], []
        for number, (a, b) in enumerate(zip(self.task.given, self.task.given[1:], strict=False)):
            fields = contestant.fields(number, [0.5, 1.0])
            if fields is None:
                return MotionRow(contestant.name)
            for motion in fields:
                folded.append(100 * float(np.mean(_determinant(motion)[self._inside()] <= 0)))
            moved = self._slices(pull(self.task.cine.frames[a].array, motion))
            acquired, before = self._acquired[b], self._acquired[a]
            change = float(np.sum((before - acquired)[self.region] ** 2, dtype=np.float64))
            if change > 0:
                rest = float(np.sum((moved - acquired)[self.region] ** 2, dtype=np.float64))
                left.append(rest / change)
            if masks is not None:
                off += self._volume_errors(contestant, number, masks, label)
        mean = [float(np.mean(part)) if part else math.nan for part in (left, folded, off)]
        return MotionRow(contestant.name, *mean)

    def _inside(self) -> Mask:
        """The region on the volume's grid, without the last voxel of each axis longer than 1."""
        whole: Mask = self._view.undo(self.region)
        return whole[tuple(slice(0, n - 1) if n > 1 else slice(None) for n in whole.shape)]

    def _volume_errors(
        self, contestant: Contestant, interval: int, masks: Cine, label: int
    ) -> list[float]:
        """|volume of the label carried by the motion - of the acquired mask| in % of the largest,
        for each hidden frame of the interval.
        """
        times, given = self.task.cine.times_ms, self.task.given
        a, b = given[interval], given[interval + 1]
        hidden = [f for f in self.task.hidden if a < f < b]
        fractions = [(times[f] - times[a]) / (times[b] - times[a]) for f in hidden]
        carried = (masks.frames[a].array.round() == label).astype(np.float32)
        counts = {f: int(np.sum(masks.frames[f].array.round() == label)) for f in (a, *hidden, b)}
        largest = max(counts.values())
        fields = contestant.fields(interval, fractions)
        if not largest or fields is None:
            return []
        return [
            100 * abs(float(pull(carried, motion).sum()) - counts[f]) / largest
            for f, motion in zip(hidden, fields, strict=True)
        ]


def moving_region(frames: Array) -> Mask:
    """(N,R,C) where the frames (F,N,R,C) change most over time."""
    from scipy.ndimage import binary_dilation, gaussian_filter

    spread = np.ptp(gaussian_filter(frames, (0, 0, SMOOTHED, SMOOTHED)), axis=0)
    moving = spread > MOVING_SHARE * spread.max()
    if not moving.any():
        raise RequestError("all frames of the cine are equal; give a beating heart.")
    return np.stack([binary_dilation(slice_, iterations=WIDENED) for slice_ in moving])


def pull(array: Array, field: Array) -> Array:
    """(I,J,K) an array seen through a field (3,I,J,K) in voxels; linear, borders continue."""
    from scipy.ndimage import map_coordinates

    places = field + np.indices(array.shape, dtype=np.float32)
    moved: Array = map_coordinates(array, places, order=1, mode="nearest")
    return moved


def _determinant(field: Array) -> Array:
    """Jacobian determinant of x + u(x) by forward differences; along an axis of one voxel nothing
    changes.
    """
    inner = tuple(slice(0, n - 1) if n > 1 else slice(None) for n in field.shape[1:])
    columns = []
    for axis, size in enumerate(field.shape[1:]):
        change = np.zeros_like(field) if size == 1 else np.diff(
            field, axis=axis + 1, append=np.take(field, [-1], axis + 1)
        )  # fmt: skip
        change[axis] += 1
        columns.append(change[(slice(None), *inner)])
    a, b, c = columns
    determinant: Array = (a * np.cross(b, c, axis=0)).sum(0)
    return determinant


def _decibels(squared_error: Array) -> float:
    mean = float(np.mean(squared_error, dtype=np.float64))
    return math.inf if mean == 0 else -10 * math.log10(mean)
