"""Who makes the hidden frames: the classical methods, and a model through its engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.cine.cine_record import provenance_of
from MambaSynthLib.cine.engine import CineEngine
from MambaSynthLib.cine.frame_stacks import Stacks
from MambaSynthLib.cine.leaving_out import Task
from MambaSynthLib.cine.motion import PairMotion
from MambaSynthLib.cine.options import CineOptions
from MambaSynthLib.cine.rivals import RIVALS, Passage
from MambaSynthLib.cine.timeline import at_fractions
from MambaSynthLib.cine.upsampling import between, solve
from MambaSynthLib.image.cine import Cine

Array = NDArray[np.float32]


class Contestant(Protocol):
    """A method that makes frames of a coarse cine. One object scores one task."""

    name: str

    def frames(self, interval: int, fractions: Sequence[float]) -> Iterator[Array]:
        """(I,J,K) frames at ``fractions`` of the time between a given frame and the next."""

    def fields(self, interval: int, fractions: Sequence[float]) -> Iterator[Array] | None:
        """(3,I,J,K) pull fields of these frames into the interval's first one, in voxels along the
        volume's axes; None for a method without motion.
        """


class Rival:
    """A classical method of ``rivals.py`` as a contestant; it counts time linearly."""

    def __init__(self, name: str, coarse: Cine) -> None:
        self.name, self._coarse = name, coarse
        self._stacks = Stacks.of(coarse.frames)
        self._passages: dict[int, Passage] = {}

    def _passage(self, interval: int) -> Passage:
        if interval not in self._passages:
            pair = self._coarse.frames[interval : interval + 2]
            first, last = (self._stacks.stack(frame) for frame in pair)
            self._passages[interval] = RIVALS[self.name](first, last)
        return self._passages[interval]

    def frames(self, interval: int, fractions: Sequence[float]) -> Iterator[Array]:
        for share in fractions:
            yield self._stacks.volume(self._passage(interval).frame(share))

    def fields(self, interval: int, fractions: Sequence[float]) -> Iterator[Array] | None:
        found = [self._passage(interval).field(share) for share in fractions]
        if found[0] is None:
            return None
        return (self._stacks.field_of_volume(field) for field in found if field is not None)


class Ours:
    """A cine model through its engine, as a contestant."""

    def __init__(self, name: str, engine: CineEngine, task: Task, options: CineOptions) -> None:
        self.name, coarse = name, task.coarse
        inner = [[0.5]] * (len(coarse.frames) - 1)  # every interval is to be solved
        self._solved = solve(engine, coarse, at_fractions(coarse, inner, task.phases), options)

    @property
    def warnings(self) -> tuple[str, ...]:
        return provenance_of(self._solved).warnings

    def frames(self, interval: int, fractions: Sequence[float]) -> Iterator[Array]:
        for volume, _ in between(self._solved, interval, fractions):
            yield volume.array

    def fields(self, interval: int, fractions: Sequence[float]) -> Iterator[Array] | None:
        backwards = self._solved.timeline.intervals[interval].backwards
        refined = isinstance(self._solved.motions[interval], PairMotion)
        if backwards and not refined:  # the network's fields look into the other frame
            return None
        made = [field for _, field in between(self._solved, interval, fractions, True)]
        known = [field for field in made if field is not None]
        return iter(known) if len(known) == len(made) else None
