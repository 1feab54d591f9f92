"""Cine data: the beats of a prepared data set, whole batches drawn at once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.atomic import telling
from MambaSynthLib.methods.mstg.config import SIZE_MULTIPLE
from MambaSynthTraining.data.batches import NO_VALIDATION, Shard, Validation
from MambaSynthTraining.data.beats import Beats
from MambaSynthTraining.data.cine_validation import validate
from MambaSynthTraining.data.dataset_files import SPLITS_FILE
from MambaSynthTraining.data.heart_cine import HeartCine, read_split, read_subject

if TYPE_CHECKING:
    from MambaSynthTraining.method import CineMethod
    from MambaSynthTraining.recipe import Recipe

CONTRASTS_ONLY = ("same_slice", "epochs", "augmentation", "schedule", "grid", "intensity")


@dataclass(frozen=True)
class CineData:
    """Beats to learn from, and subjects to look at."""

    kind: ClassVar[str] = "cine"
    beats: Beats
    size: tuple[int, ...]  # D, H, W
    spacing_mm: tuple[float, ...]  # likewise
    validation: list[HeartCine] = field(default_factory=list)
    sha256: dict[str, str] = field(default_factory=dict)  # of files, by their names

    def draw(self, recipe: Recipe, iteration: int, n: int, count: int) -> Shard:
        """The whole batch is a function of seed and iteration; the shards are its parts."""
        stage = recipe.stage_at(iteration)
        rng = np.random.default_rng([recipe.seed, iteration])
        spread = recipe.cine.gamma_spread if recipe.cine else 0.0
        batch, names = self.beats.draw(stage.batch, spread, rng, stage.crop)
        seeds = [int(rng.integers(2**62)) for _ in range(count)]
        size = len(names) // count
        return Shard(batch.part(n, count), tuple(names[n * size : (n + 1) * size]), seeds[n])

    def validate(self, method: CineMethod) -> Validation | None:
        return validate(method, self.validation) if self.validation else None

    def settings(self) -> dict[str, Any]:
        return {}

    def unused(self, recipe: Recipe) -> list[str]:
        return [] if self.validation else [NO_VALIDATION]

    def about(self) -> dict[str, Any]:
        return {
            "subjects": self.beats.names,
            "validation_subjects": [cine.name for cine in self.validation],
            "size": list(self.size),
            "spacing_mm": list(self.spacing_mm),
            "sha256": self.sha256,
        }


def check(recipe: Recipe) -> None:
    """Raises ValueError where a recipe of cines is wrong."""
    defaults = type(recipe)
    for name in CONTRASTS_ONLY:
        if getattr(recipe, name) != getattr(defaults, name):
            raise ValueError(f"{name} is not for the method {recipe.method}, which learns cines")
    for stage in recipe.stages:
        if stage.augmentation is not None:
            raise ValueError("a stage's augmentation is for contrasts; see cine.gamma_spread")
        if len(stage.crop) not in (0, 3) or any(n < 1 or n % SIZE_MULTIPLE for n in stage.crop):
            raise ValueError(
                f"the crop {list(stage.crop)} is not made of slices, rows and columns, multiples "
                f"of {SIZE_MULTIPLE}"
            )


def holds_data(folder: Path) -> bool:
    """Whether ``mambasynth beating-heart`` or ``dataset acdc`` wrote the folder."""
    try:
        names = read_split(folder, "train")
    except FileError:
        return False
    return any((folder / name / "subject.json").is_file() for name in names)


def prepared_data(folder: Path, recipe: Recipe) -> CineData:
    """The training and validation subjects of a prepared data set.

    Raises
    ------
    FileError: it is none, or damaged.
    RequestError: it has no subjects to train on, or of sizes that do not fit.
    """
    train, validation = (
        [read_subject(folder, name) for name in read_split(folder, split)]
        for split in ("train", "validation")
    )
    beats = Beats(train, recipe.cine.targets if recipe.cine else "ends")
    size, spacing_mm = train[0].frames.shape[1:], train[0].spacing_mm
    return CineData(beats, size, spacing_mm, validation, hash_of(folder))


def hash_of(folder: Path) -> dict[str, str]:
    """Who is learned from, as a run's record keeps it: file -> sha256. Raises FileError."""
    with telling(folder):
        return {SPLITS_FILE: hashlib.sha256((folder / SPLITS_FILE).read_bytes()).hexdigest()}
