"""What the intervals of a coarse cine tell each other: how fast the heart passes its frames.

Displacements d(tau) are cubic Hermite curves between two acquired frames, with the mean of both
sides as slopes (Catmull and Rom 1974). Before the first frame and after the last one nothing is
known; a cine begins and ends at an R wave, or with end-systole, where the heart stands still, so
the slopes there are zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from MambaSynthLib.cine.motion import PairMotion

if TYPE_CHECKING:
    from MambaSynthLib.methods.mstg.velocity_fit import Fit


def with_neighbors(motions: Sequence[PairMotion], lengths_ms: Sequence[float]) -> list[PairMotion]:
    """The motions of consecutive intervals, each with what those beside it tell. A single interval
    has no neighbors.
    """
    if len(motions) < 2:
        return list(motions)
    return [
        replace(
            motion,
            bends=(
                _bend(motions, lengths_ms, number, number - 1),
                _bend(motions, lengths_ms, number, number + 1),
            ),
        )
        for number, motion in enumerate(motions)
    ]


def _bend(
    motions: Sequence[PairMotion], lengths_ms: Sequence[float], number: int, beside: int
) -> Fit:
    """The slope at the frame that an interval shares with the one beside it, less the interval's
    mean slope.
    """
    own = motions[number].fit
    if not 0 <= beside < len(motions):
        return own.times(-1.0)
    pace = lengths_ms[number] / lengths_ms[beside]
    return motions[beside].fit.times(pace / 2).plus(own, -0.5)
