"""Contrast data: slices of a prepared data set."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.model.card import GridSpec, IntensitySpec
from MambaSynthTraining.data.batches import NO_VALIDATION, Shard, Validation
from MambaSynthTraining.data.dataset_files import DATASET, SPLITS_FILE, read_json
from MambaSynthTraining.data.prepared import open_prepared
from MambaSynthTraining.data.slice_draws import Draws, Epochs, draw_apart, draw_pairs
from MambaSynthTraining.data.slice_validation import mean_slice, validate
from MambaSynthTraining.data.slices import SIZE_MULTIPLE, Image, SliceGroup, SlicePairs
from MambaSynthTraining.data.stored import all_paired, pairs_of, side_of

if TYPE_CHECKING:
    from MambaSynthTraining.method import ContrastMethod
    from MambaSynthTraining.recipe import Recipe

SMALLEST_CROP = 64  # discriminators halve up to six times


class NeedsPairs(RequestError):
    """A method that compares with the target of the same place was given data without pairs."""


@dataclass(frozen=True)
class ContrastData:
    """Groups of pairs, the share of the batches that each one has, and what they were made of.

    ``sides`` are there where not every slice has a partner: groups of all slices of the source, and
    of the target. Then nothing is drawn in pairs.
    """

    kind: ClassVar[str] = "contrast"
    groups: list[SlicePairs]
    shares: list[float]
    grid: GridSpec
    intensity: IntensitySpec
    contrasts: tuple[str, str] = ("T1w", "T2w")
    validation: SlicePairs = field(default_factory=lambda: SlicePairs([], []))
    sha256: dict[str, str] = field(default_factory=dict)  # of files, by their names
    sides: tuple[list[SliceGroup], list[SliceGroup]] | None = None

    def __post_init__(self) -> None:
        if not all(any(map(len, groups)) for groups in self.sides or [self.groups]):
            raise RequestError("the data hold no slice with tissue; name other data.")

    def draw(self, recipe: Recipe, iteration: int, n: int, count: int) -> Shard:
        stage = recipe.stage_at(iteration)
        rows, columns = stage.crop
        rng = np.random.default_rng([recipe.seed, iteration, n])
        size = stage.batch // count
        used = recipe.slices_before(iteration) + n * size
        draws = Draws(
            (rows, columns),
            recipe.run,
            recipe.augmentation_of(stage).flip,
            Epochs(recipe.seed, used // recipe.run) if recipe.epochs else None,
        )
        if self.sides is None and recipe.same_slice:
            batch, names = draw_pairs(self.groups, self.shares, size, draws, rng)
        else:
            source, target = self.sides or (self.groups, self.groups)
            batch, names = draw_apart(source, target, self.shares, size, draws, rng)
        return Shard(batch, names, int(rng.integers(2**62)))

    def validate(self, method: ContrastMethod) -> Validation | None:
        if not len(self.validation):
            return None
        return validate(method, self.validation, self._mean_target)

    @cached_property
    def _mean_target(self) -> Image:
        return mean_slice(self.groups if self.sides is None else self.sides[1])

    def settings(self) -> dict[str, Any]:
        return {"grid": asdict(self.grid), "intensity": asdict(self.intensity)}

    def unused(self, recipe: Recipe) -> list[str]:
        stated = {name: getattr(recipe, name) for name in ("grid", "intensity")}
        found = [
            f"{name} (the data have their own)"
            for name, value in stated.items()
            if value is not None and value != getattr(self, name)
        ]
        if recipe.same_slice and self.sides is not None:
            found.append("same_slice: true (the data are unpaired, each contrast is drawn alone)")
        return found if len(self.validation) else [*found, NO_VALIDATION]

    def about(self) -> dict[str, Any]:
        sides: dict[str, Sequence[SliceGroup]] = {"train": self.groups}
        if self.sides is not None:
            sides = dict(zip(("train", "train_target"), self.sides, strict=True))
        slices = {side: sum(map(len, groups)) for side, groups in sides.items()}
        return {
            "source_contrast": self.contrasts[0],
            "target_contrast": self.contrasts[1],
            "paired": self.sides is None,
            "slices": {**slices, "validation": len(self.validation)},
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
    if not recipe.same_slice and (what := what_needs_pairs(recipe)):
        raise ValueError(f"{what} learns from pairs; leave same_slice: false out")


def what_needs_pairs(recipe: Recipe) -> str:
    """The first stage that compares with the target of the same place, for people; '' if none."""
    from MambaSynthTraining.methods import method_class

    with torch.device("meta"):  # the method says it; nothing is allocated
        method: Any = method_class(recipe.method).build(recipe)
        for stage in recipe.stages:
            method.begin(stage)
            if not method.needs_pairs:
                continue
            named = "" if method.objective == "all" else f" with the objective {method.objective}"
            weighted = " and lambda_paired" if method.objective == "cycle" else ""
            return f"{recipe.method}{named}{weighted}"
    return ""


def holds_data(folder: Path) -> bool:
    """Whether ``mambasynth dataset`` wrote the folder."""
    try:
        return "contrasts" in read_json(folder / DATASET)
    except FileError:
        return False


def prepared_data(
    folder: Path, recipe: Recipe | None = None, direction: tuple[str, str] | None = None
) -> ContrastData:
    """The training and validation slices of a prepared data set, read when they are drawn.

    ``direction`` (source, target) may be another one than the data set's.

    Raises
    ------
    NeedsPairs: the recipe learns from pairs, but not every training subject is paired.
    RequestError: the recipe asks for epochs of groups that are mixed by shares; the data lack a
        contrast of the direction.
    FileError: the folder is no prepared data set, or a subject of it is not as it says.
    """
    data = open_prepared(folder)
    data = data.toward(*direction) if direction else data
    source, target = data.contrasts[:2]
    groups = data.training_groups()
    paired = all(all_paired(people) for _, people in groups)
    if not paired and recipe is not None and (what := what_needs_pairs(recipe)):
        raise NeedsPairs(
            f"{folder}: {what} learns from pairs, but not every training subject there is marked "
            "paired: true; make pairs with 'mambasynth dataset paired' or --register all, or train "
            "by a recipe without pairs."
        )
    if len(groups) > 1 and recipe is not None and recipe.epochs:
        raise RequestError(
            f"{folder}: epochs have no meaning where phantoms are mixed in by their share; set "
            "epochs: false in the recipe, or make the data without --phantoms."
        )

    def sides_of(contrast: str) -> list[SliceGroup]:
        return [side_of(people, contrast) for _, people in groups]

    held_out = [subject for subject in data.subjects("validation") if all_paired([subject])]
    return ContrastData(
        [pairs_of(people, source, target) for _, people in groups] if paired else [],
        [share for share, _ in groups],
        data.grid,
        data.intensity,
        (source, target),
        pairs_of(held_out, source, target),
        {name: _sha256(folder / name) for name in (DATASET, SPLITS_FILE)},
        None if paired else (sides_of(source), sides_of(target)),
    )


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
