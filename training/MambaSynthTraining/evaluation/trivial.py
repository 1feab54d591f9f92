"""Answers that need no model. A model is worth something where it beats them.

The two shifted rows are the acquired target itself, moved by a pixel or two: what registration
errors of that size cost a perfect model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import RequestError
from MambaSynthLib.image.intensity import background
from MambaSynthLib.image.preparation import EMPTY, prepare, scaling_of
from MambaSynthLib.image.volume import Volume, array_axis
from MambaSynthTraining.data.prepared import PreparedData
from MambaSynthTraining.evaluation.candidates import NETWORK_RANGE, Candidate, Pair

SHIFTS = (1, 2)  # pixels


@dataclass
class Source:
    """The source itself, or with its brightness upside down inside the anatomy.

    Both are clipped as the network's input is; that makes the inversion a stronger answer.
    """

    data: PreparedData
    inverted: bool
    random: bool = False
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return "source inverted" if self.inverted else "source itself"

    def synthesize(self, pair: Pair, seed: int) -> Volume:
        scaled = scaling_of(pair.source, self.data.intensity).apply(pair.source.array)
        image = np.clip(scaled, -1, 1)
        if self.inverted:
            image = np.where(background(pair.source.array), EMPTY, -image)
        return pair.source.with_array(image)


@dataclass
class Shifted:
    """The acquired target, moved along the rows of the slices; at the edge comes background."""

    data: PreparedData
    pixels: int
    random: bool = False
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"target shifted {self.pixels} px"

    def synthesize(self, pair: Pair, seed: int) -> Volume:
        scaled = scaling_of(pair.target, self.data.intensity).apply(pair.target.array)
        axis = array_axis(pair.target, self.data.grid.axis_codes[0])
        moved = np.roll(scaled, self.pixels, axis)
        np.moveaxis(moved, axis, 0)[: self.pixels] = scaled.min()
        return pair.target.with_array(moved)


@dataclass
class MeanTarget:
    """The mean of all training slices of the target, cut out by the source's own background."""

    data: PreparedData
    random: bool = False
    about: dict[str, Any] = field(default_factory=dict)
    name: str = "mean target of the training set"

    def __post_init__(self) -> None:
        subjects = self.data.subjects("train")
        if not subjects:
            raise RequestError(f"{self.data.name}: has no training subjects to take a mean of.")
        size = np.max([s.slices(self.data.contrasts[1]).shape[1:] for s in subjects], axis=0)
        total, count = np.zeros(size), 0
        for subject in subjects:
            targets = subject.slices(self.data.contrasts[1])
            for n in range(targets.shape[0]):
                total += centered(np.asarray(targets[n]), tuple(size))
                count += 1
        self.mean = total / count

    def synthesize(self, pair: Pair, seed: int) -> Volume:
        preparation = prepare(pair.source, self.data.grid, self.data.intensity)
        array = preparation.blank(NETWORK_RANGE)
        wanted = np.flatnonzero(preparation.tissue_slices())
        size = preparation.slices(wanted[:1]).shape[1:]
        mean = centered(self.mean, size).astype(np.float32)
        for n in wanted:
            preparation.write(array, np.array([n]), mean[None], NETWORK_RANGE)
        return pair.source.with_array(array)


def centered(image: NDArray[np.floating[Any]], size: tuple[int, ...]) -> NDArray[np.float64]:
    """(H,W) cropped or padded with background to ``size``, its middle kept in the middle."""
    placed = np.full(size, EMPTY, dtype=np.float64)
    cut = [min(n, m) for n, m in zip(image.shape, size, strict=True)]
    into, out = (
        tuple(slice((n - c) // 2, (n - c) // 2 + c) for n, c in zip(shape, cut, strict=True))
        for shape in (size, image.shape)
    )
    placed[into] = image[out]
    return placed


def trivial_candidates(data: PreparedData) -> list[Candidate]:
    """In the order of the table."""
    candidates: list[Candidate] = [
        Source(data, inverted=False),
        Source(data, inverted=True),
        MeanTarget(data),
        *(Shifted(data, pixels) for pixels in SHIFTS),
    ]
    for n, candidate in enumerate(candidates):
        candidate.about["trivial"] = n  # a table puts them last, in this order
    return candidates
