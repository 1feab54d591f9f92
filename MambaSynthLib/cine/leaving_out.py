"""Which frames of an acquired cine a method sees, and which are hidden from it to compare with."""

from __future__ import annotations

from dataclasses import dataclass

from MambaSynthLib.cine.phases import Phases
from MambaSynthLib.errors import RequestError
from MambaSynthLib.image.cine import Cine


@dataclass(frozen=True)
class Task:
    """A cine of which some frames are given and the others are to be made.

    ``given``: frame indices from 0 that a method sees, growing in time; ``hidden``: those between
    them.
    """

    cine: Cine
    given: tuple[int, ...]
    hidden: tuple[int, ...]
    phases: Phases  # as indices of ``given``
    keep: str  # "ed-es" or "every 3", for people

    @property
    def coarse(self) -> Cine:
        """What a method sees."""
        frames = [self.cine.frames[f] for f in self.given]
        times = [self.cine.times_ms[f] for f in self.given]
        phases = (self.phases.ed, self.phases.es, self.phases.rule)
        return Cine(tuple(frames), tuple(times), self.cine.name, self.cine.notes, phases)

    def interval_of(self, frame: int) -> int:
        """Between which given frames a hidden one lies: the number of the first."""
        return sum(f < frame for f in self.given) - 1


def ed_and_es_given(cine: Cine, phases: Phases) -> Task:
    """The frames strictly between ED and ES are hidden, all others are not used.

    Raises RequestError where none lies between.
    """
    first, last = sorted((phases.ed, phases.es))
    hidden = tuple(range(first + 1, last))
    if not hidden:
        raise RequestError(
            f"{cine.name}: no acquired frame lies between ED (frame {phases.ed + 1}) and ES (frame "
            f"{phases.es + 1}), so there is nothing to compare with; name others with --ed and "
            "--es."
        )
    inner = Phases(0, 1, phases.rule) if phases.ed < phases.es else Phases(1, 0, phases.rule)
    return Task(cine, (first, last), hidden, inner, "ed-es")


def every_kth_given(cine: Cine, k: int, phases: Phases) -> Task:
    """Frames 1, 1 + k, 1 + 2k, ... are given; those between them are hidden.

    Raises RequestError where fewer than two would be given or none hidden.
    """
    count = len(cine.frames)
    if not 2 <= k < count:
        raise RequestError(
            f"--keep {k}: {cine.name} has {count} frames; give ed-es, or a number from 2 to "
            f"{count - 1}."
        )
    given = tuple(range(0, count, k))
    hidden = tuple(f for f in range(given[-1]) if f % k)
    near = [min(range(len(given)), key=lambda n: abs(given[n] - f)) for f in (phases.ed, phases.es)]
    if near[0] == near[1]:
        near[1] = (near[0] + max(1, len(given) // 3)) % len(given)
    return Task(cine, given, hidden, Phases(near[0], near[1], phases.rule), f"every {k}")
