"""The rows of a table that need no model: the library's answers, and the mean training target."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from MambaSynthLib.image.intensity import EMPTY
from MambaSynthLib.image.metrics import foreground
from MambaSynthLib.image.preparation import prepare, scaling_of
from MambaSynthLib.image.trivial import SHIFTED, Answer, trivial_answers
from MambaSynthLib.image.volume import Volume
from MambaSynthTraining.data.canvas import center
from MambaSynthTraining.data.prepared import PreparedData
from MambaSynthTraining.evaluation.candidates import NETWORK_RANGE, Candidate, Pair


@dataclass
class Trivial:
    """One of the library's answers as a row of a table."""

    name: str
    answer: Answer
    data: PreparedData
    random: bool = False
    about: dict[str, Any] = field(default_factory=dict)

    def synthesize(self, pair: Pair, seed: int) -> Volume:
        made = self.answer(pair.source, pair.target, foreground(pair.target.array))
        scaling = scaling_of(pair.target, self.data.intensity)
        return made.with_array(scaling.apply(made.array))


@dataclass
class MeanTarget:
    """The mean of all training slices of the target, cut out by the source's own background.

    ``data`` must have subjects to train on.
    """

    data: PreparedData
    random: bool = False
    about: dict[str, Any] = field(default_factory=dict)
    name: str = "mean target of the training set"

    def __post_init__(self) -> None:
        subjects = self.data.subjects("train")
        size = np.max([s.slices(self.data.contrasts[1]).shape[1:] for s in subjects], axis=0)
        total, count = np.zeros(size), 0
        for subject in subjects:
            targets = subject.slices(self.data.contrasts[1])
            for n in range(targets.shape[0]):
                total += center(np.asarray(targets[n]), tuple(size), EMPTY)[0]
                count += 1
        self.mean = total / count

    def synthesize(self, pair: Pair, seed: int) -> Volume:
        preparation = prepare(pair.source, self.data.grid, self.data.intensity)
        array = preparation.blank(NETWORK_RANGE)
        wanted = np.flatnonzero(preparation.tissue_slices())
        size = preparation.slices(wanted[:1]).shape[1:]
        mean = center(self.mean, size, EMPTY)[0].astype(np.float32)
        for n in wanted:
            preparation.write(array, np.array([n]), mean[None], NETWORK_RANGE)
        return pair.source.with_array(array)


def trivial_candidates(data: PreparedData) -> list[Candidate]:
    """In the order of the table; the mean target only where the data have people to train on."""
    answers = trivial_answers(data.grid.axis_codes[2])
    rows = [Trivial(name, answer, data) for name, answer in answers.items()]
    moved = next(n for n, row in enumerate(rows) if row.name.startswith(SHIFTED))
    mean = [MeanTarget(data)] if data.subjects("train") else []
    candidates: list[Candidate] = [*rows[:moved], *mean, *rows[moved:]]
    for n, candidate in enumerate(candidates):
        candidate.about["trivial"] = n  # a table puts them last, in this order
    return candidates
