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
acquired frames, see pace.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.cine.frame_stacks import Stacks, moving_region
from MambaSynthLib.cine.noise import noise_of
from MambaSynthLib.image.volume import Volume

if TYPE_CHECKING:
    from MambaSynthLib.methods.mstg.velocity_fit import Fit, FitSettings

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

WIDENED_MM = 6.0  # around the moving region, for the share explained
NEARBY = 3.0  # pixels, standard deviation of the local mean
MOST_LEFT = 1 / 3  # of the difference between ED and ES of a stack, before it is loosened
DOUBT = 0.7  # the most that is faded where motion explains nothing

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PairMotion:
    """Two frames and the motion between them.

    ``bends``: in a coarse cine, the velocity at the first and at the last frame less the mean one,
    ``fit``; None where nothing is known beside the two frames.
    """

    stacks: Stacks
    first: Array  # (N,R,C)
    last: Array
    fit: Fit
    noise: float
    bends: tuple[Fit, Fit] | None = None

    def frame(self, share: float, tau: float) -> Array:
        """(I,J,K) at the time ``tau``, after a ``share`` of the motion, in the source's units."""
        done, to_come = self._parts(share, tau)
        first, last = self.stacks.cut(self.first), self.stacks.cut(self.last)
        a, b = done.pulled(first, 1.0), to_come.pulled(last, -1.0)
        moved_apart, still_apart = self._apart(a, b), self._apart(first, last)
        inside = self._blend(a, b, share, moved_apart)
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
        if self.bends:
            for bend, weight in zip(self.bends, _slopes(tau), strict=True):
                done, to_come = done.plus(bend, weight), to_come.plus(bend, -weight)
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

    Where ED and ES of a stack of slices are ``far_apart`` and more than ``MOST_LEFT`` is left
    unexplained, the motion is too stiff for the wall, and loosened. Raises Cancelled.
    """
    from MambaSynthLib.methods.mstg.velocity_fit import fit_velocity, loosen

    a, b = stacks.stack(first), stacks.stack(last)
    begun = None if start is None else stacks.stack_of_field(start)
    pair, steps = (stacks.cut(a), stacks.cut(b), stacks.spacing), settings.steps
    total = steps + (settings.further_steps if settings.far_apart else 0)
    fit = fit_velocity(*pair, begun, settings, lambda done, _: progress(done, total), cancelled)
    motion = PairMotion(stacks, a, b, fit, noise_of(a, b))
    is_stack = fit.planar and len(a) > 1
    if settings.far_apart and is_stack and motion.unexplained() > MOST_LEFT:
        fit = loosen(fit, *pair, settings, lambda done, _: progress(steps + done, total), cancelled)
        motion = replace(motion, fit=fit)
    progress(total, total)
    return motion


def _slopes(tau: float) -> tuple[float, float]:
    """The two Hermite polynomials of the slopes at the first and at the last frame."""
    return tau * (1 - tau) ** 2, tau**2 * (tau - 1)
