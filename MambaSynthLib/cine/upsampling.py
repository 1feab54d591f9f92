"""A denser cine from a coarse one: the acquired frames as they are, synthetic ones between them.

    cine + timeline --motion of every interval--> solved --course of time--> frames in time

What Slicer, the command line and Python users call, so that all three give the same frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.cine.drawing import Motion, iterate_frames
from MambaSynthLib.cine.engine import CineEngine, Progress
from MambaSynthLib.cine.frame_stacks import Stacks
from MambaSynthLib.cine.motion import PairMotion
from MambaSynthLib.cine.options import CineOptions
from MambaSynthLib.cine.pace import with_neighbors
from MambaSynthLib.cine.phases import choose_phases
from MambaSynthLib.cine.timeline import Interval, Timeline, between_all, between_phases
from MambaSynthLib.cine.timing import LINEAR, Course, Timing
from MambaSynthLib.errors import Cancelled
from MambaSynthLib.image.cine import Cine
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.watermark.marking import mark_frame

Array = NDArray[np.float32]


def plan(
    cine: Cine,
    count: int,
    *,
    ed: int | None = None,
    es: int | None = None,
    only_phases: bool = False,
) -> Timeline:
    """The ``count`` frames to make; ``ed`` and ``es`` are frame numbers from 1, None to find them.

    With ``only_phases`` the frames run from ED to ES and the other acquired ones are not used.
    Raises RequestError, VolumeError as ``choose_phases`` and ``between_all``.
    """
    phases = choose_phases(cine, ed, es)
    return (between_phases if only_phases else between_all)(cine, count, phases)


@dataclass(frozen=True)
class Solved:
    """A timeline whose motion is known. ``motions``: one for each interval, None where nothing is
    to be synthesized.
    """

    engine: CineEngine
    cine: Cine
    timeline: Timeline
    options: CineOptions
    motions: tuple[Motion | None, ...]

    @property
    def single(self) -> bool:
        """Whether there is one interval only: ED and ES, and nothing known between."""
        return len(self.timeline.intervals) == 1

    def timing(self) -> Timing:
        """The course of time of all intervals."""
        known = next((motion for motion in self.motions if motion), None)
        if known is None or not self.single:  # the chosen one is from ED to ES
            return Timing(LINEAR)
        return self.engine.timing(self.options, known)

    def course(self, number: int) -> Course:
        """Time between the two frames of an interval -> share of the motion between them."""
        interval, timing = self.timeline.intervals[number], self.timing()
        times = self.cine.times_ms
        length = times[interval.last] - times[interval.first]
        length = length if length > 0 else length + self.cine.period_ms
        if not self.single:
            return timing.course(length)
        course = timing.course(length, times[interval.first])
        return mirrored(course) if interval.backwards else course


def mirrored(course: Course) -> Course:
    """The same course on the way back."""
    return lambda tau: 1 - course(1 - tau)


def solve(
    engine: CineEngine,
    cine: Cine,
    timeline: Timeline,
    options: CineOptions | None = None,
    *,
    progress: Progress = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Solved:
    """The motion of every interval. ``progress`` counts steps of the refinement.

    Raises VolumeError: a frame is constant or holds NaN. Cancelled: ``cancelled()`` was true.
    """
    options = options or CineOptions()
    intervals = timeline.intervals
    used = [cine.frames[n] for interval in intervals for n in (interval.first, interval.last)]
    stacks = Stacks.of(used) if options.refine else None
    wanted = _wanted(intervals, options)
    total = options.steps * len(wanted)
    motions: list[Motion | None] = [None] * len(intervals)

    def counting(before: int) -> Progress:
        return lambda step, planned: progress(
            options.steps * before + options.steps * step // planned, total
        )

    for done, number in enumerate(wanted):
        interval = intervals[number]
        motions[number] = engine.find_motion(
            cine.frames[interval.first], cine.frames[interval.last], options, stacks=stacks,
            backwards=interval.backwards, cancelled=cancelled,
            apart_ms=_length(cine, interval) if len(intervals) > 1 else None,
            progress=counting(done),
        )  # fmt: skip
    motions = _joined(motions, [_length(cine, interval) for interval in intervals])
    return Solved(engine, cine, timeline, options, tuple(motions))


def _wanted(intervals: Sequence[Interval], options: CineOptions) -> list[int]:
    """The intervals to solve: those with synthetic frames, and for refinement those beside them."""
    made = {number for number, interval in enumerate(intervals) if interval.fractions}
    if options.refine:
        made |= {number + step for number in made for step in (-1, 1)}
    return sorted(made & set(range(len(intervals))))


def _joined(motions: list[Motion | None], lengths: Sequence[float]) -> list[Motion | None]:
    """Runs of refined motions in consecutive intervals know of each other."""
    joined = list(motions)
    start = 0
    for number in range(len(motions) + 1):
        if number < len(motions) and isinstance(motions[number], PairMotion):
            continue
        run = [motion for motion in motions[start:number] if isinstance(motion, PairMotion)]
        joined[start:number] = with_neighbors(run, lengths[start:number])
        start = number + 1
    return joined


def _length(cine: Cine, interval: Interval) -> float:
    length = cine.times_ms[interval.last] - cine.times_ms[interval.first]
    return length if length > 0 else length + cine.period_ms


def upsample(
    solved: Solved,
    *,
    progress: Progress = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Volume]:
    """The frames of a solved timeline, one after the other. ``progress`` counts them.

    Raises Cancelled: ``cancelled()`` was true.
    """
    total = len(solved.timeline.times_ms)
    progress(0, total)
    for done, frame in enumerate(_frames(solved), start=1):
        if cancelled():
            raise Cancelled
        yield frame
        progress(done, total)


def _frames(solved: Solved) -> Iterator[Volume]:
    cine, model = solved.cine, solved.engine.card.id
    for number, interval in enumerate(solved.timeline.intervals):
        yield cine.frames[interval.first]
        motion = solved.motions[number]
        if motion is not None and interval.fractions:
            for frame, _ in between(solved, number, interval.fractions):
                yield mark_frame(frame, model, wanted=solved.options.pixel_mark)
    last = solved.timeline.acquired[-1]
    if last is not None:
        yield cine.frames[last]


def between(
    solved: Solved, number: int, fractions: Sequence[float], with_fields: bool = False
) -> Iterator[tuple[Volume, Array | None]]:
    """Frames of an interval at ``fractions`` of its time, in the order given, and where asked for
    their fields (3,I,J,K) into its first frame, as in ``CineSynthesis``.
    """
    interval, motion = solved.timeline.intervals[number], solved.motions[number]
    if motion is None:
        raise ValueError(f"interval {number} was not solved")
    pair = solved.cine.frames[interval.first], solved.cine.frames[interval.last]
    course = solved.course(number)
    if not interval.backwards or isinstance(motion, PairMotion):
        yield from iterate_frames(motion, *pair, fractions, course, with_fields)
        return
    from_ed = [1 - tau for tau in fractions]  # the network counts from ED
    yield from iterate_frames(motion, pair[1], pair[0], from_ed, mirrored(course), with_fields)
