"""Contrast data: slices of a prepared data set."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.model.card import GridSpec, IntensitySpec
from MambaSynthTraining.data.batches import NO_VALIDATION, Shard, Validation
from MambaSynthTraining.data.dataset_files import DATASET, SPLITS_FILE, read_json
from MambaSynthTraining.data.prepared import PreparedData, PreparedSubject, open_prepared
from MambaSynthTraining.data.slice_validation import validate
from MambaSynthTraining.data.slices import (
    SIZE_MULTIPLE,
    SlicePairs,
    StoredSlices,
    draw_batch,
    following,
)

if TYPE_CHECKING:
    from MambaSynthTraining.method import ContrastMethod
    from MambaSynthTraining.recipe import Recipe

SMALLEST_CROP = 64  # discriminators halve up to six times


@dataclass(frozen=True)
class ContrastData:
    """Groups of slices, the share of the batches that each one has, and what they were made of."""

    kind: ClassVar[str] = "contrast"
    groups: list[SlicePairs]
    shares: list[float]
    grid: GridSpec
    intensity: IntensitySpec
    contrasts: tuple[str, str] = ("T1w", "T2w")
    validation: SlicePairs = field(default_factory=lambda: SlicePairs([], []))
    sha256: dict[str, str] = field(default_factory=dict)  # of files, by their names

    def __post_init__(self) -> None:
        if not any(map(len, self.groups)):
            raise RequestError("the data hold no slice with tissue; name other data.")

    def draw(self, recipe: Recipe, iteration: int, n: int, count: int) -> Shard:
        stage = recipe.stage_at(iteration)
        rows, columns = stage.crop
        rng = np.random.default_rng([recipe.seed, iteration, n])
        batch, names = draw_batch(
            self.groups, self.shares, stage.batch // count, (rows, columns), rng,
            recipe.same_slice, recipe.run,
        )  # fmt: skip
        return Shard(batch, names, int(rng.integers(2**62)))

    def validate(self, method: ContrastMethod) -> Validation | None:
        return validate(method, self.validation) if len(self.validation) else None

    def settings(self) -> dict[str, Any]:
        return {"grid": asdict(self.grid), "intensity": asdict(self.intensity)}

    def unused(self, recipe: Recipe) -> list[str]:
        stated = {name: getattr(recipe, name) for name in ("grid", "intensity")}
        found = [
            f"{name} (the data have their own)"
            for name, value in stated.items()
            if value is not None and value != getattr(self, name)
        ]
        return found if len(self.validation) else [*found, NO_VALIDATION]

    def about(self) -> dict[str, Any]:
        return {
            "source_contrast": self.contrasts[0],
            "target_contrast": self.contrasts[1],
            "slices": {"train": sum(map(len, self.groups)), "validation": len(self.validation)},
            "sha256": self.sha256,
        }


def check(recipe: Recipe) -> None:
    """Raises ValueError where a recipe of contrasts is wrong."""
    if recipe.cine is not None:
        raise ValueError(f"cine is not for the method {recipe.method}, which learns contrasts")
    for stage in recipe.stages:
        if len(stage.crop) != 2:
            raise ValueError(f"the crop {list(stage.crop)} is not made of rows and columns")
        if any(n < SMALLEST_CROP or n % SIZE_MULTIPLE for n in stage.crop):
            raise ValueError(
                f"the crop {list(stage.crop)} is not made of multiples of {SIZE_MULTIPLE} from "
                f"{SMALLEST_CROP}"
            )


def holds_data(folder: Path) -> bool:
    """Whether ``mambasynth dataset`` wrote the folder."""
    try:
        return "contrasts" in read_json(folder / DATASET)
    except FileError:
        return False


def prepared_data(folder: Path, _: Recipe | None = None) -> ContrastData:
    """The training and validation slices of a prepared data set, read when they are drawn."""
    data = open_prepared(folder)
    groups = data.training_groups()
    return ContrastData(
        [_stored(data, subjects) for _, subjects in groups],
        [share for share, _ in groups],
        data.grid,
        data.intensity,
        (data.contrasts[0], data.contrasts[1]),
        _stored(data, data.subjects("validation")),
        {name: _sha256(folder / name) for name in (DATASET, SPLITS_FILE)},
    )


def _stored(data: PreparedData, subjects: Sequence[PreparedSubject]) -> SlicePairs:
    source, target = data.contrasts[:2]
    names = [
        f"{subject.id}, slice {n}"
        for subject in subjects
        for n in range(subject.slices(source).shape[0])
    ]
    a, b = (
        StoredSlices([subject.slices(contrast) for subject in subjects])
        for contrast in (source, target)
    )
    return SlicePairs(a, b, names, _follows(subjects, source, target))


def _follows(subjects: Sequence[PreparedSubject], source: str, target: str) -> list[bool]:
    """Which slices lie directly beside the one before, in the source and in the target."""

    def of(subject: PreparedSubject, contrast: str) -> list[bool]:
        places = subject.attributes.get("slices", {}).get(contrast)
        unknown = [False] * subject.slices(contrast).shape[0]
        return unknown if places is None else following(places)

    a, b = ([x for s in subjects for x in of(s, contrast)] for contrast in (source, target))
    b += [False] * (len(a) - len(b))  # unpaired subjects may have fewer of the target
    return [x and y for x, y in zip(a, b, strict=False)]


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
