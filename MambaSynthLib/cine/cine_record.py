"""The record of a whole cine: what made it and from what, and what is to be said about it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.cine.judgment import judge_last_step, judge_motion, last_step
from MambaSynthLib.cine.motion import PairMotion
from MambaSynthLib.cine.upsampling import Solved, between
from MambaSynthLib.io.files import hash_of_frames, sha256_of
from MambaSynthLib.provenance import Provenance

Array = NDArray[np.float32]

FROM_NEIGHBORS = "from the neighboring frames"


def provenance_of(solved: Solved, *, seed: int = 0) -> Provenance:
    """The record of a whole cine: which frames are acquired, their times, ED and ES and why, how
    the motion was found, and what is to be said about it.
    """
    engine, cine, timeline = solved.engine, solved.cine, solved.timeline
    phases = timeline.phases
    motion = solved.motions[0] if solved.single else next((m for m in solved.motions if m), None)
    record = engine.provenance(
        cine.frames[phases.ed], cine.frames[phases.es], seed, options=solved.options,
        motion=motion if solved.single else None,
    )  # fmt: skip
    used = [frame for frame in timeline.acquired if frame is not None]
    bent = not solved.single and isinstance(motion, PairMotion)
    return replace(
        record,
        source_name=cine.name,
        source_sha256=hash_of_frames(sha256_of(cine.frames[frame]) for frame in used),
        times_ms=timeline.times_ms,
        acquired=tuple(
            number for number, frame in enumerate(timeline.acquired, 1) if frame is not None
        ),
        phases=f"ED frame {phases.ed + 1}, ES frame {phases.es + 1}: {phases.rule}",
        timing=FROM_NEIGHBORS if bent else solved.timing().name,
        warnings=tuple(dict.fromkeys((*cine.notes, *record.warnings, *_told(solved)))),
    )


def _told(solved: Solved) -> list[str]:
    """Warnings about a course of time that is not used, the motion of each interval, and a jump at
    the end.
    """
    told = []
    if solved.options.timing and not solved.single:
        told.append(
            f"the course {solved.options.timing.name} is one from ED to ES and not used: the "
            "acquired frames between tell how far the heart has come"
        )
    for interval, motion in zip(solved.timeline.intervals, solved.motions, strict=True):
        if isinstance(motion, PairMotion) and interval.fractions and not solved.single:
            names = f"frames {interval.first + 1} and {interval.last + 1}"
            told += [text for text in judge_motion(motion, names) if "noise" not in text]
    if solved.single and solved.motions[0] is not None:
        told += judge_last_step(step_to_the_end(solved))
    return told


def step_to_the_end(solved: Solved) -> float:
    """The step to the last frame of a single interval, in medians of those before; NaN where there
    are fewer than two steps.
    """
    (interval,) = solved.timeline.intervals
    fractions = [0.0, *interval.fractions, 1.0]
    first, last = (solved.cine.frames[n].array for n in (interval.first, interval.last))
    ends = {0: first, len(fractions) - 1: last}

    def frame(number: int) -> Array:
        if number in ends:
            return ends[number]
        ((made, _),) = between(solved, 0, [fractions[number]])
        return made.array

    return last_step(frame, len(fractions))
