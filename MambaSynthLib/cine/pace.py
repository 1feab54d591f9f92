"""What the intervals of a coarse cine tell each other: how fast the heart passes its frames.

Displacements d(tau), and brightness along the way, are cubic Hermite curves between two acquired
frames, with the mean of both sides as slopes (Catmull and Rom 1974), and natural ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.cine.motion import NEARBY, Neighbors, PairMotion

if TYPE_CHECKING:
    from MambaSynthLib.methods.mstg.velocity_fit import Fit

Array = NDArray[np.float32]


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
