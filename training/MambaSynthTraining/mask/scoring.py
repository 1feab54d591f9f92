"""Dice of a model's masks on volumes that it did not learn from, as they are and made harder.

| given      | what it is                                                            |
|------------|-----------------------------------------------------------------------|
| as it is   | the volume of the list                                                |
| stripped   | a head without what lies outside its brain                            |
| 6 mm       | slices of 6 mm, means of the axial ones, where they are thinner       |
| flipped    | all axes of the array turned around, the affine with them             |
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.grid import Reorientation
from MambaSynthLib.image.head import block_means
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.atomic import telling, write_whole
from MambaSynthLib.mask.engine import MaskEngine
from MambaSynthTraining.mask.truths import Truth

FORMS = AS_IT_IS, STRIPPED, THICK, FLIPPED = "as it is", "stripped", "6 mm", "flipped"
THICK_MM = 6.0
WEIGHTS = "weights_sha256"  # the last column

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Score:
    """One line of the table: Dice from 0 to 1."""

    volume: str
    group: str
    given: str
    brain: float
    head: float
    seconds: float


def dice(a: Mask, b: Mask) -> float:
    """2 |a and b| / (|a| + |b|); 1 where both are empty."""
    total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    return 2 * int(np.count_nonzero(a & b)) / total if total else 1.0


def score(engine: MaskEngine, truths: Iterable[Truth]) -> Iterator[Score]:
    """The scores of all volumes in every form."""
    for truth in truths:
        for given, volume, brain, head in forms_of(truth):
            began = time.monotonic()
            masks = engine.find(volume)
            seconds = time.monotonic() - began
            found = (masks.brain.array > 0, masks.head.array > 0)
            yield Score(truth.id, truth.group, given, dice(found[0], brain),
                        dice(found[1], head), seconds)  # fmt: skip


def forms_of(truth: Truth) -> Iterator[tuple[str, Volume, Mask, Mask]]:
    """Name, volume, brain, head of each form."""
    volume, brain, head = truth.volume, truth.brain, truth.head
    yield AS_IT_IS, volume, brain, head
    if truth.whole:
        low = volume.array.min()
        yield STRIPPED, volume.with_array(np.where(brain, volume.array, low)), brain, brain
    axis = Reorientation.between(volume.affine, "RAS").order[0]
    factor = round(THICK_MM / volume.spacing[axis])
    if factor > 1:
        thick, *masks = (_thicker(v, axis, factor) for v in _three(volume, brain, head))
        yield THICK, thick, masks[0].array > 0.5, masks[1].array > 0.5
    turn = np.diag([-1.0, -1.0, -1.0, 1.0])
    turn[:3, 3] = np.array(volume.shape) - 1
    flipped, *masks = (
        Volume(v.array[::-1, ::-1, ::-1], v.affine @ turn, v.name)
        for v in _three(volume, brain, head)
    )
    yield FLIPPED, flipped, masks[0].array > 0, masks[1].array > 0


def _three(volume: Volume, brain: Mask, head: Mask) -> list[Volume]:
    return [volume, volume.with_array(brain), volume.with_array(head)]


def _thicker(volume: Volume, axis: int, factor: int) -> Volume:
    factors = [factor if a == axis else 1 for a in range(3)]
    affine = volume.affine @ np.diag([*factors, 1.0])
    affine[:3, 3] = volume.affine[:3, 3] + volume.affine[:3, axis] * (factor - 1) / 2
    return Volume(block_means(volume.array, factors), affine, volume.name)


def write_scores(path: Path, scores: Sequence[Score], weights_sha256: str) -> None:
    """A CSV of all lines, each with whose scores they are. Raises FileError."""
    lines = [",".join([*(field.name for field in fields(Score)), WEIGHTS])]
    for each in scores:
        values = asdict(each).values()
        texts = [f"{v:.4f}" if isinstance(v, float) else v for v in values]
        lines.append(",".join([*texts, weights_sha256]))
    with telling(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, ("\n".join(lines) + "\n").encode("utf-8"))


def read_scores(path: Path, weights_sha256: str) -> list[Score]:
    """What ``write_scores`` wrote of these weights. Raises FileError for anything else."""
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        scores = [
            Score(row["volume"], row["group"], row["given"],
                  *(float(row[name]) for name in ("brain", "head", "seconds")))
            for row in rows
        ]  # fmt: skip
        of = {row[WEIGHTS] for row in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(
            f"{path}: holds no scores of masks; let 'mambasynth score-masks' write it."
        ) from error
    if of != {weights_sha256}:
        raise FileError(
            f"{path}: holds scores of other weights; let 'mambasynth score-masks' score this "
            "package."
        )
    return scores


def rows_of(scores: Sequence[Score]) -> list[dict[str, object]]:
    """Group and form -> the mean and the lowest Dice, for a card and the table."""
    groups: dict[tuple[str, str], list[Score]] = {}
    for each in scores:
        groups.setdefault((each.group, each.given), []).append(each)
    return [
        {
            "name": f"{group}, {given}",
            "volumes": len(own),
            "brain": round(float(np.mean([s.brain for s in own])), 4),
            "brain, lowest": round(min(s.brain for s in own), 4),
            "head": round(float(np.mean([s.head for s in own])), 4),
            "head, lowest": round(min(s.head for s in own), 4),
            "seconds": round(max(s.seconds for s in own), 2),
        }
        for (group, given), own in sorted(groups.items(), key=lambda item: _order(*item[0]))
    ]


def _order(group: str, given: str) -> tuple[str, int]:
    return group, FORMS.index(given)
