"""One candidate on all subjects of a split with all seeds: every slice's numbers, and examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import RequestError
from MambaSynthLib.image.grid import Reorientation
from MambaSynthLib.image.metrics import foreground
from MambaSynthLib.image.preparation import scaling_of
from MambaSynthLib.image.volume import Volume, check_finite, check_same_grid
from MambaSynthLib.report.evaluation import compared_slices
from MambaSynthTraining.data.prepared import PreparedData
from MambaSynthTraining.evaluation.candidates import Candidate, Pair
from MambaSynthTraining.evaluation.distribution import Features
from MambaSynthTraining.evaluation.examples import Examples, Images
from MambaSynthTraining.evaluation.frame import CanvasFrame
from MambaSynthTraining.evaluation.lpips import Perception, find_perception
from MambaSynthTraining.evaluation.measures import (
    CANVAS,
    Lpips,
    Slice,
    paper_measures,
    slice_measures,
)
from MambaSynthTraining.evaluation.tissues import TissueRow, tissue_row

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SliceRow:
    """The numbers of one slice, or why there are none."""

    subject: str
    seed: int
    slice: int  # along the data set's slice axis, counted from the patient's feet if axial
    measures: dict[str, float] | None  # None: one of the two slices is constant


@dataclass
class Scored:
    """All that was measured of one candidate."""

    rows: list[SliceRow] = field(default_factory=list)  # in the native frame
    canvas: list[SliceRow] = field(default_factory=list)  # measures with the names of CANVAS
    examples: Examples = field(default_factory=Examples)
    features: dict[int, list[Features]] = field(default_factory=dict)  # seed -> of its slices
    tissues: list[TissueRow] = field(default_factory=list)
    lpips: str = ""  # what became of LPIPS


def read_pairs(data: PreparedData, split: str) -> Iterator[Pair]:
    """The volumes of a split's subjects, one after another.

    Raises FileError or VolumeError for a subject whose volumes are missing or on two grids.
    """
    source, target = data.contrasts[:2]
    for subject in data.subjects(split):
        volumes = subject.volume(source), subject.volume(target)
        pair = Pair(subject.id, *volumes, subject.labels())
        check_same_grid(pair.target, pair.source)
        yield pair


def score(
    candidate: Candidate,
    data: PreparedData,
    split: str,
    seeds: Sequence[int],
    progress: Progress = lambda done, total: None,
) -> Scored:
    """Every slice of every subject and seed.

    A candidate without randomness is scored with the first seed only.

    Raises
    ------
    RequestError: the split is empty, or not one slice of a subject can be scored.
    """
    subjects = data.subjects(split)
    if not subjects:
        raise RequestError(f"{data.name}: its split {split} has no subjects; choose another.")
    perception, about_lpips = find_perception()
    used = list(seeds) if candidate.random else list(seeds)[:1]
    scored = Scored(lpips=about_lpips)
    progress(0, len(subjects) * len(used))
    for n, (subject, pair) in enumerate(zip(subjects, read_pairs(data, split), strict=True)):
        frame = CanvasFrame.of(subject, data)
        for m, seed in enumerate(used):
            synthetic = candidate.synthesize(pair, seed)
            found = _score_volume(scored, synthetic, pair, data, seed, perception)
            scored.canvas += _canvas_rows(frame, synthetic, pair.subject, seed, perception)
            row = tissue_row(pair.subject, seed, synthetic, pair.target, pair.labels)
            scored.tissues.append(row)
            if m == 0:
                _keep_examples(scored.examples, found, synthetic, pair, data)
            progress(n * len(used) + m + 1, len(subjects) * len(used))
        if not any(row.measures for row in scored.rows if row.subject == pair.subject):
            raise RequestError(
                f"{pair.subject}: none of its slices can be scored for {candidate.name}, they are "
                "constant; look at its sheet."
            )
    return scored


def in_view(volume: Volume, array: NDArray[Any], data: PreparedData) -> NDArray[Any]:
    """(N,rows,columns) of an array on the volume's grid, in the data set's view."""
    return Reorientation.between(volume.affine, data.grid.axis_codes).apply(array)


def _score_volume(
    scored: Scored,
    synthetic: Volume,
    pair: Pair,
    data: PreparedData,
    seed: int,
    perception: Perception | None,
) -> list[SliceRow]:
    """The rows of one volume, which are also added to ``scored``."""
    check_finite(synthetic)
    check_same_grid(synthetic, pair.target)
    scaled = scaling_of(pair.target, data.intensity).apply(pair.target.array)
    images, references, masks = (
        in_view(pair.target, array, data)
        for array in (synthetic.array, scaled, foreground(pair.target.array))
    )
    images, references = np.asarray(images, np.float64), np.asarray(references, np.float64)
    lpips = _seeing(perception, scored.features.setdefault(seed, [])) if perception else None
    compared = compared_slices(images, references, masks, partial(slice_measures, lpips=lpips))
    rows = [SliceRow(pair.subject, seed, n, found) for n, found in compared.items()]
    scored.rows += rows
    return rows


def _seeing(perception: Perception, features: list[Features]) -> Lpips:
    """LPIPS, which keeps what the network saw in each pair of slices."""

    def distance(image: Slice, reference: Slice) -> float:
        apart, seen = perception.compare(image, reference)
        features.append(seen)
        return apart

    return distance


def _canvas_rows(
    frame: CanvasFrame, synthetic: Volume, subject: str, seed: int, perception: Perception | None
) -> list[SliceRow]:
    lpips = perception.distance if perception else None
    rows = []
    for n, image, acquired in zip(
        frame.numbers, frame.slices(synthetic), frame.acquired, strict=True
    ):
        found = paper_measures(image, acquired, lpips)
        named = found and {CANVAS + name: value for name, value in found.items()}
        rows.append(SliceRow(subject, seed, n, named))
    return rows


def _keep_examples(
    examples: Examples, rows: list[SliceRow], synthetic: Volume, pair: Pair, data: PreparedData
) -> None:
    source, target = (
        np.clip(scaling_of(v, data.intensity).apply(v.array), -1, 1)
        for v in (pair.source, pair.target)
    )
    stacks = [in_view(pair.target, a, data) for a in (source, synthetic.array, target)]

    def image(n: int) -> Images:
        return np.stack([stack[n] for stack in stacks]).astype(np.float32)

    compared = [(row.measures["ssim"], row.slice) for row in rows if row.measures]
    if compared:
        middle = rows[len(rows) // 2].slice  # the same for all candidates
        examples.images[f"middle:{pair.subject}, slice {middle}"] = image(middle)
    examples.keep(pair.subject, compared, image)
