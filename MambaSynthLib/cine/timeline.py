"""Which frames a denser cine has: the acquired ones, and synthetic ones between them.

| symbol | code         | meaning                                                             |
|--------|--------------|---------------------------------------------------------------------|
| t      | ``time_ms``  | trigger time of an output frame                                     |
| tau    | ``fraction`` | where it lies between its two acquired neighbors, 0 at the first    |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from MambaSynthLib.cine.phases import Phases
from MambaSynthLib.errors import RequestError
from MambaSynthLib.image.cine import Cine

MOST_FRAMES = 10_000


@dataclass(frozen=True)
class Interval:
    """Two acquired frames and what is to be synthesized between them.

    ``ed`` and ``es`` are the frame indices handed to the network as such: the heart contracts from
    the first to the second. In diastole that is the later and the earlier frame, and ``backwards``
    is true. ``fractions`` run in time from the earlier frame.
    """

    ed: int
    es: int
    backwards: bool
    fractions: tuple[float, ...]

    @property
    def first(self) -> int:
        """The earlier frame."""
        return self.es if self.backwards else self.ed

    @property
    def last(self) -> int:
        """The later frame."""
        return self.ed if self.backwards else self.es


@dataclass(frozen=True)
class Timeline:
    """The output frames in time: each interval's first frame, its synthetic ones, and the last
    acquired frame.

    ``acquired`` holds for each output frame the index of the acquired frame it is, or None.
    """

    intervals: tuple[Interval, ...]
    times_ms: tuple[float, ...]
    acquired: tuple[int | None, ...]
    phases: Phases

    @property
    def synthetic(self) -> int:
        """How many frames are synthesized."""
        return self.acquired.count(None)


def between_all(cine: Cine, count: int, phases: Phases) -> Timeline:
    """``count`` frames: all acquired ones, and as evenly as possible others between them.

    Each further frame goes where two neighbors are furthest apart in time.
    Raises RequestError when ``count`` is less than there are, or absurd.
    """
    times = cine.times_ms
    _check_count(count, len(times), cine.name)
    added = _spread(times, count - len(times))
    intervals = []
    for first, n in enumerate(added):
        backwards = not _contracts(first, phases, len(times))
        ed, es = (first + 1, first) if backwards else (first, first + 1)
        fractions = tuple((k + 1) / (n + 1) for k in range(n))
        intervals.append(Interval(ed, es, backwards, fractions))
    return _timeline(intervals, times, list(range(len(times))), phases)


def at_fractions(cine: Cine, fractions: Sequence[Sequence[float]], phases: Phases) -> Timeline:
    """Frames at given fractions of the time of each interval between neighboring frames."""
    intervals = []
    for first, taus in enumerate(fractions):
        backwards = not _contracts(first, phases, len(cine.frames))
        ed, es = (first + 1, first) if backwards else (first, first + 1)
        intervals.append(Interval(ed, es, backwards, tuple(taus)))
    return _timeline(intervals, cine.times_ms, list(range(len(cine.frames))), phases)


def between_phases(cine: Cine, count: int, phases: Phases) -> Timeline:
    """``count`` frames from ED to ES, both included; the other acquired frames are not used.

    Where ES comes before ED in the file, the cycle goes on after its last frame.
    Raises RequestError as ``between_all``.
    """
    _check_count(count, 2, cine.name)
    start, end = cine.times_ms[phases.ed], cine.times_ms[phases.es]
    if end < start:
        end += cine.period_ms
    fractions = tuple(k / (count - 1) for k in range(1, count - 1))
    interval = Interval(phases.ed, phases.es, False, fractions)
    return _timeline([interval], (start, end), [phases.ed, phases.es], phases)


def _check_count(count: int, acquired: int, name: str) -> None:
    if not acquired <= count <= MOST_FRAMES:
        raise RequestError(
            f"frames is {count}, but {name} has {acquired} acquired frames, which are all kept; "
            f"give {acquired} to {MOST_FRAMES}."
        )


def _spread(times_ms: Sequence[float], extra: int) -> list[int]:
    """How many of ``extra`` frames go into each interval."""
    lengths = [after - before for before, after in zip(times_ms, times_ms[1:], strict=False)]
    added = [0] * len(lengths)
    for _ in range(extra):
        gaps = [length / (n + 1) for length, n in zip(lengths, added, strict=True)]
        widest = max(range(len(gaps)), key=lambda i: round(gaps[i], 6))  # the first of equals
        added[widest] += 1
    return added


def _contracts(first: int, phases: Phases, count: int) -> bool:
    """Whether the heart contracts from frame ``first`` to the next: on the way from ED to ES."""
    return (first - phases.ed) % count < (phases.es - phases.ed) % count


def _timeline(
    intervals: list[Interval], ends_ms: Sequence[float], frames: list[int], phases: Phases
) -> Timeline:
    times: list[float] = []
    acquired: list[int | None] = []
    for interval, frame, start, end in zip(intervals, frames, ends_ms, ends_ms[1:], strict=False):
        times += [start, *(start + tau * (end - start) for tau in interval.fractions)]
        acquired += [frame, *([None] * len(interval.fractions))]
    return Timeline(tuple(intervals), (*times, ends_ms[-1]), (*acquired, frames[-1]), phases)
