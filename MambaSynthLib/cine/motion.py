"""The motion between two acquired frames, found on these frames, and the frames it makes.

    network's field --start--> velocity --refined on the pair--> both frames moved, then blended

| symbol | code            | shape     | meaning                                                   |
|--------|-----------------|-----------|-----------------------------------------------------------|
| A, B   | ``first, last`` | (N,R,C)   | the frames as slices, rows, columns, scaled: 1 is bright  |
| v      | ``fit``         | see there | stationary velocity; A exp(v) is B, B exp(-v) is A        |
| s      | ``share``       | -         | share of the motion done                                  |
| a, b   | ``a``, ``b``    | (N,R,C)   | A exp(s v) and B exp((s - 1) v)                           |
| sigma2 | ``noise``       | -         | variance of the noise of one frame                        |
| w      | ``weight``      | (N,R,C)   | of b in the blend a + w (b - a)                           |
| c      | ``doubt``       | (N,R,C)   | what the motion leaves of the local difference, 0 to 1    |

Where a and b agree but for noise, their mean is the better frame; where they differ, because blood
flows or a wall comes from outside the slice, the difference passes with the motion. With d2 the
local mean of (a - b)^2 less 2 sigma2, the weight of least expected error is
w = (s d2 + sigma2) / (d2 + 2 sigma2).

Where the motion explains nothing, because blood is bright for another reason than its place, to
move it is worse than to let it fade. So the frame is a mixture of the blend of a and b and that of
A and B as they are, the latter with the weight c: ``DOUBT`` times the root mean square of a - b
nearby over that of A - B.

Between the frames of a coarse cine the neighboring intervals tell how fast the heart passes its
acquired frames: displacements d(tau), and brightness along the way, are cubic Hermite curves with
the mean of both sides as slopes (Catmull and Rom 1974), and natural ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.cine.preparation import short_axis
from MambaSynthLib.image.grid import Reorientation
from MambaSynthLib.image.volume import Volume

if TYPE_CHECKING:
    from MambaSynthLib.methods.mstg.velocity_fit import Fit, FitSettings

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

BRIGHT_PERCENTILE = 99.9
SMOOTHED, MOVING_SHARE = 1.0, 0.25  # pixels; of the largest change, above which the heart moves
WIDENED_MM, MARGIN_MM = 6.0, 80.0  # around that for the share explained, and for the motion
NEARBY = 3.0  # pixels, standard deviation of the local mean
DOUBT = 0.7  # the most that is faded where motion explains nothing
ROUGHEST = 4.0  # times the variance that neighboring pixels tell; more is change, not noise
MEDIAN_OF_ABSOLUTE = 0.6745  # of a normal variable with standard deviation 1

Progress = Callable[[int, int], None]
Box = tuple[slice, slice]


@dataclass(frozen=True)
class Stacks:
    """Frames on one grid as the motion sees them: oriented, scaled, and where the heart moves."""

    view: Reorientation
    scale: np.float32  # intensity of 1
    spacing: tuple[float, float, float]  # mm: slices, rows, columns
    box: Box  # rows and columns that the motion covers

    @classmethod
    def of(cls, frames: Sequence[Volume]) -> Stacks:
        view = short_axis(frames[0].affine, "LPS")
        bright = max(float(np.percentile(frame.array, BRIGHT_PERCENTILE)) for frame in frames)
        top = max(float(np.abs(frame.array).max()) for frame in frames)
        scale = np.float32(bright if bright > 0 else top or 1.0)
        n, r, c = (float(frames[0].spacing[axis]) for axis in view.order)
        low, high = frames[0].array, frames[0].array
        for frame in frames[1:]:
            low, high = np.minimum(low, frame.array), np.maximum(high, frame.array)
        moving = moving_region(view.apply(high - low))
        return cls(view, scale, (n, r, c), _box_around(moving, (r, c)))

    def stack(self, volume: Volume) -> Array:
        """(N,R,C), 1 is bright."""
        scaled: Array = self.view.apply(volume.array) / self.scale
        return scaled

    def volume(self, stack: Array) -> Array:
        """(I,J,K) in the source's units."""
        return self.view.undo(stack) * self.scale

    def cut(self, stack: Array) -> Array:
        """What lies in the box, of the last two axes."""
        return np.ascontiguousarray(stack[(..., *self.box)])

    def field_of_volume(self, field: Array) -> Array:
        """(3,N,R,C) voxels of slices, rows, columns -> (3,I,J,K) along the volume's axes."""
        parts: list[Array] = [np.zeros(0, np.float32)] * 3
        for axis, source in enumerate(self.view.order):
            sign = np.float32(-1 if self.view.flipped[axis] else 1)
            parts[source] = self.view.undo(sign * field[axis])
        return np.stack(parts)


def moving_region(change: Array) -> Mask:
    """(N,R,C) where a change (N,R,C) is large, smoothed by a pixel."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(change, (0, SMOOTHED, SMOOTHED))
    found: Mask = smooth > MOVING_SHARE * smooth.max()
    return found


def _box_around(moving: Mask, spacing: tuple[float, float]) -> Box:
    """Rows and columns of the moving region and a margin; all where nothing moves."""
    sides = []
    for axis, mm in enumerate(spacing):
        seen = np.flatnonzero(moving.any(axis=(0, 2 - axis)))
        margin = round(MARGIN_MM / mm)
        if not len(seen):
            sides.append(slice(None))
            continue
        sides.append(slice(max(0, int(seen[0]) - margin), int(seen[-1]) + margin + 1))
    return sides[0], sides[1]


@dataclass(frozen=True)
class Neighbors:
    """What the intervals beside one tell about its course: how displacement and brightness (N,r,c)
    at its first and its last frame change, less their mean change over the interval.
    """

    fits: tuple[Fit, Fit]
    changes: tuple[Array, Array]  # on the grids of the first and of the last frame


@dataclass(frozen=True)
class PairMotion:
    """Two frames and the motion between them; ``neighbors`` in a coarse cine."""

    stacks: Stacks
    first: Array  # (N,R,C)
    last: Array
    fit: Fit
    noise: float
    neighbors: Neighbors | None = None

    def frame(self, share: float, tau: float) -> Array:
        """(I,J,K) at the time ``tau``, after a ``share`` of the motion, in the source's units."""
        done, to_come = self._parts(share, tau)
        first, last = self.stacks.cut(self.first), self.stacks.cut(self.last)
        a, b = done.pulled(first, 1.0), to_come.pulled(last, -1.0)
        moved_apart, still_apart = self._apart(a, b), self._apart(first, last)
        inside = self._blend(a, b, share, moved_apart)
        if self.neighbors:
            early, late = _slopes(tau)
            at_first, at_last = self.neighbors.changes
            inside += early * done.pulled(at_first, 1.0) + late * to_come.pulled(at_last, -1.0)
        left = np.sqrt((moved_apart + self.noise) / (still_apart + self.noise))
        doubt = np.float32(DOUBT) * left.clip(0, 1)
        inside += doubt * (self._blend(first, last, share, still_apart) - inside)
        whole = self._blend(self.first, self.last, share, self._apart(self.first, self.last))
        whole[(..., *self.stacks.box)] = inside
        return self.stacks.volume(whole)

    def field(self, share: float, tau: float) -> Array:
        """(3,I,J,K) how the frame looks into the first one, in voxels along the volume's axes."""
        whole = np.zeros((3, *self.first.shape), np.float32)
        whole[(..., *self.stacks.box)] = self._parts(share, tau)[0].field(1.0)
        return self.stacks.field_of_volume(whole)

    def _parts(self, share: float, tau: float) -> tuple[Fit, Fit]:
        """The velocity from the first frame to this one, and from this one to the last."""
        done, to_come = self.fit.times(share), self.fit.times(1 - share)
        if self.neighbors:
            for velocity, weight in zip(self.neighbors.fits, _slopes(tau), strict=True):
                done, to_come = done.plus(velocity, weight), to_come.plus(velocity, -weight)
        return done, to_come

    def _apart(self, a: Array, b: Array) -> Array:
        """The local mean of the squared difference, less that of noise."""
        from scipy.ndimage import gaussian_filter

        local: Array = gaussian_filter((a - b) ** 2, (0, NEARBY, NEARBY))
        apart: Array = np.maximum(local - 2 * self.noise, 0)
        return apart

    def _blend(self, a: Array, b: Array, share: float, apart: Array) -> Array:
        weight = (share * apart + self.noise) / (apart + 2 * self.noise)
        blend: Array = (a + weight * (b - a)).astype(np.float32)
        return blend

    def unexplained(self) -> float:
        """Which part of the squared difference of the two frames, where it is large, is left
        between the moved first and the last; 0 where they do not differ.
        """
        first, last = (self.stacks.cut(stack) for stack in (self.first, self.last))
        region = self.region()
        change = float(np.sum((first - last)[region] ** 2, dtype=np.float64))
        rest = float(np.sum((self.fit.pulled(first, 1.0) - last)[region] ** 2, dtype=np.float64))
        return rest / change if change > 0 else 0.0

    def region(self) -> Mask:
        """(N,r,c) of the box, where the two frames differ much, and nearby."""
        from scipy.ndimage import binary_dilation

        first, last = (self.stacks.cut(stack) for stack in (self.first, self.last))
        wide = max(1, round(WIDENED_MM / max(self.stacks.spacing[1:])))
        moving = moving_region(np.abs(first - last))
        return np.stack([binary_dilation(slice_, iterations=wide) for slice_ in moving])


def fit_pair(
    first: Volume,
    last: Volume,
    stacks: Stacks,
    *,
    start: Array | None = None,
    settings: FitSettings,
    progress: Progress = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> PairMotion:
    """The motion between two frames. ``start``: (3,I,J,K) the field of the first one at the last,
    in voxels along the volume's axes, to begin with.

    Raises Cancelled.
    """
    from MambaSynthLib.methods.mstg.velocity_fit import fit_velocity

    a, b = stacks.stack(first), stacks.stack(last)
    begun = None if start is None else _oriented(start, stacks)
    fit = fit_velocity(
        stacks.cut(a), stacks.cut(b), stacks.spacing, begun, settings, progress, cancelled
    )
    return PairMotion(stacks, a, b, fit, noise_of(a, b))


def _oriented(field: Array, stacks: Stacks) -> Array:
    """(3,I,J,K) -> (3,N,r,c) in the box: the undoing of ``field_of_volume``."""
    parts = []
    for axis, source in enumerate(stacks.view.order):
        sign = np.float32(-1 if stacks.view.flipped[axis] else 1)
        parts.append(sign * stacks.view.apply(field[source]))
    return stacks.cut(np.stack(parts))


def noise_of(a: Array, b: Array) -> float:
    """Variance of the noise of one frame (N,R,C), from the median difference of two: most of a
    chest stands still. Where most of an image changes, neighboring pixels tell how much of that is
    noise. A tiny number where most voxels are equal.
    """
    difference = a - b
    rough = difference[:, 1:, 1:] - difference[:, :-1, 1:] - difference[:, 1:, :-1]
    rough = (rough + difference[:, :-1, :-1]) / 2  # white noise keeps its variance
    return max(min(_variance(difference), ROUGHEST * _variance(rough)) / 2, 1e-8)


def _variance(values: Array) -> float:
    """From the median, so that few large values do not count."""
    seen = np.abs(values[values != 0])
    return (float(np.median(seen)) / MEDIAN_OF_ABSOLUTE) ** 2 if len(seen) else 0.0


def _slopes(tau: float) -> tuple[float, float]:
    """The two Hermite polynomials of the slopes at the first and at the last frame."""
    return tau * (1 - tau) ** 2, tau**2 * (tau - 1)


def with_neighbors(motions: Sequence[PairMotion], lengths_ms: Sequence[float]) -> list[PairMotion]:
    """The motions of consecutive intervals, each with what those beside it tell.

    At the two ends of a cine, where one side is unknown, the second derivative is taken as zero. A
    single interval has no neighbors.
    """
    return [
        replace(motion, neighbors=_neighbors(motions, lengths_ms, number))
        for number, motion in enumerate(motions)
    ]


def _neighbors(
    motions: Sequence[PairMotion], lengths_ms: Sequence[float], number: int
) -> Neighbors | None:
    motion = motions[number]
    sides: list[tuple[Fit, Array] | None] = []
    for beside in (number - 1, number + 1):
        if not 0 <= beside < len(motions):
            sides.append(None)
            continue
        pace = lengths_ms[number] / lengths_ms[beside]
        fit = motions[beside].fit.times(pace / 2).plus(motion.fit, -0.5)
        sides.append((fit, _change(motion, motions[beside], pace, before=beside < number)))
    early, late = sides
    if early is None and late is None:
        return None
    if early is None:
        early = late[0].times(-0.5), -0.5 * motion.fit.pulled(late[1], -1.0)  # type: ignore[index]
    if late is None:
        late = early[0].times(-0.5), -0.5 * motion.fit.pulled(early[1], 1.0)
    return Neighbors((early[0], late[0]), (early[1], late[1]))


def _change(motion: PairMotion, other: PairMotion, pace: float, before: bool) -> Array:
    """(N,r,c) half of how the brightness of tissue changes beside the interval less that in it; on
    the grid of the frame that both share, and nothing where noise hides it.
    """
    from scipy.ndimage import gaussian_filter

    cut = motion.stacks.cut
    here, away = (motion.first, other.first) if before else (motion.last, other.last)
    sign = 1.0 if before else -1.0
    inside = cut(motion.last if before else motion.first)
    own = motion.fit.pulled(inside, -sign) - cut(here)
    beyond = other.fit.pulled(cut(away), sign) - cut(here)
    change = -sign * (own + pace * beyond) / 2
    local = gaussian_filter(own**2 + beyond**2, (0, NEARBY, NEARBY))
    apart = np.maximum(local - 4 * motion.noise, 0)
    kept: Array = (change * apart / (apart + 4 * motion.noise)).astype(np.float32)
    return kept
