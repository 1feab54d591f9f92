"""A denser cine from a coarse one: the acquired frames as they are, synthetic ones between them.

    cine + timeline --interval by interval--> engine --> frames in time

What Slicer, the command line and Python users call, so that all three give the same frames.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace

from MambaSynthLib.cine.engine import CineEngine, Progress
from MambaSynthLib.cine.phases import choose_phases
from MambaSynthLib.cine.timeline import Timeline, between_all, between_phases
from MambaSynthLib.errors import Cancelled
from MambaSynthLib.image.cine import Cine
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import sha256_of
from MambaSynthLib.provenance import Provenance


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


def upsample(
    engine: CineEngine,
    cine: Cine,
    timeline: Timeline,
    *,
    progress: Progress = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Volume]:
    """The frames of ``timeline``, one after the other. ``progress`` counts them.

    Raises
    ------
    VolumeError: a frame is constant or holds NaN.
    Cancelled: ``cancelled()`` was true.
    """
    total = len(timeline.times_ms)
    progress(0, total)
    for done, frame in enumerate(_frames(engine, cine, timeline, cancelled), start=1):
        if cancelled():
            raise Cancelled
        yield frame
        progress(done, total)


def _frames(
    engine: CineEngine, cine: Cine, timeline: Timeline, cancelled: Callable[[], bool]
) -> Iterator[Volume]:
    for interval in timeline.intervals:
        first = interval.es if interval.backwards else interval.ed
        yield cine.frames[first]
        if interval.fractions:
            ed, es = cine.frames[interval.ed], cine.frames[interval.es]
            yield from engine.frames(ed, es, interval.contraction, cancelled=cancelled)
    last = timeline.acquired[-1]
    if last is not None:
        yield cine.frames[last]


def provenance_of(
    engine: CineEngine, cine: Cine, timeline: Timeline, *, seed: int = 0
) -> Provenance:
    """The record of a whole cine: which frames are acquired, their times, ED and ES and why.

    Raises VolumeError as ``upsample``, before anything is computed.
    """
    phases = timeline.phases
    record = engine.provenance(cine.frames[phases.ed], cine.frames[phases.es], seed)
    used = [frame for frame in timeline.acquired if frame is not None]
    hashes = "".join(sha256_of(cine.frames[frame]) for frame in used)
    return replace(
        record,
        source_name=cine.name,
        source_sha256=hashlib.sha256(hashes.encode("ascii")).hexdigest(),
        times_ms=timeline.times_ms,
        acquired=tuple(
            number for number, frame in enumerate(timeline.acquired, 1) if frame is not None
        ),
        phases=f"ED frame {phases.ed + 1}, ES frame {phases.es + 1}: {phases.rule}",
        warnings=tuple(dict.fromkeys((*cine.notes, *record.warnings))),
    )
