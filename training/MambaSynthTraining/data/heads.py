"""Heads as training data: 2.5-D crops drawn from volumes in memory.

| symbol | code      | shape        | meaning                                                     |
|--------|-----------|--------------|-------------------------------------------------------------|
| x_0    | ``source``| (B,1+2r,h,w) | source slice, then the r before and the r after it          |
| y_0    | ``target``| (B,1+2o,h,w) | target slice of the same place, then o before and o after   |
| w      | ``weight``| (B,1+2o,h,w) | how much a pixel counts, 0 to 5                             |

A recipe may ask for volumes with thin slices to be cut in all three planes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from MambaSynthLib.errors import RequestError
from MambaSynthLib.image.intensity import EMPTY
from MambaSynthLib.image.neighbors import neighbors_of
from MambaSynthTraining.data.batches import NO_VALIDATION, Shard, Validation
from MambaSynthTraining.data.head_augmentation import augment
from MambaSynthTraining.data.head_slices import HeadSlices
from MambaSynthTraining.data.heads_set import LIST, read_list_of

if TYPE_CHECKING:
    from MambaSynthTraining.method import TrainingMethod
    from MambaSynthTraining.recipe import Recipe, Stage

SMALLEST_CROP, CROP_MULTIPLE = 64, 8
SHOWN = 24  # slices that a validation looks at


class HeadBatch(NamedTuple):
    """See the table above; values in [-1,1]."""

    source: Tensor
    target: Tensor
    weight: Tensor

    @property
    def extent(self) -> str:
        return f"{len(self.source)} slices of {tuple(self.source.shape[2:])}"

    def augmented(self, recipe: Recipe, stage: Stage, generator: Generator) -> HeadBatch:
        return HeadBatch(*augment(*self, recipe.augmentation_of(stage), generator))


@dataclass(frozen=True)
class HeadData:
    """The heads that are learned from, and those that were left out to look at."""

    kind: ClassVar[str] = "heads"
    heads: list[list[HeadSlices]]  # each in the planes that it is cut in
    left_out: list[HeadSlices]
    neighbors: int
    overlap: int
    contrasts: tuple[str, str]
    planes: str  # one or all
    white_over_gray: float  # that sources were brought to; 0: they are as they were
    record: dict[str, Any]  # heads.json
    sha256: dict[str, str]

    def draw(self, recipe: Recipe, iteration: int, n: int, count: int) -> Shard:
        stage = recipe.stage_at(iteration)
        rng = np.random.default_rng([recipe.seed, iteration, n])
        shares = np.array([planes[0].entry.share for planes in self.heads])
        chosen = rng.choice(len(self.heads), stage.batch // count, p=shares / shares.sum())
        size = (stage.crop[0], stage.crop[1])
        cut = [self.heads[m][int(rng.integers(len(self.heads[m])))] for m in chosen]
        drawn = [slices.crop(self.neighbors, self.overlap, size, rng) for slices in cut]
        images = [image for image, _ in drawn]
        batch = torch.from_numpy(np.stack(images).astype(np.float32))
        estimated = 1 + 2 * self.overlap
        parts = batch.split([1 + 2 * self.neighbors, estimated, estimated], dim=1)
        names = tuple(name for _, name in drawn)
        return Shard(HeadBatch(*parts), names, int(rng.integers(2**62)))

    def validate(self, method: TrainingMethod) -> Validation | None:
        """Mean absolute error where the source shows something, over evenly spaced slices."""
        if not self.left_out:
            return None
        network = method.networks[method.exported]
        errors, picture = [], torch.zeros(3, CROP_MULTIPLE, CROP_MULTIPLE)
        for head in self.left_out:
            for n in head.drawn[:: max(1, len(head.drawn) // (SHOWN // len(self.left_out) or 1))]:
                images = _whole(head, int(n), self.neighbors)
                made, target = network(images[:, :-1])[0, 0, 0], images[0, -1]
                shown = images[0, 0] > EMPTY
                errors.append(float((made - target).abs()[shown].mean()))
                if n == head.drawn[len(head.drawn) // 2] or picture.shape[1] == CROP_MULTIPLE:
                    picture = torch.stack([images[0, 0], made, target])
        row = torch.cat([*picture], dim=1).clamp(-1, 1).add(1).div(2)
        shown_names = "source, synthetic, acquired: " + self.left_out[-1].entry.id
        return Validation(float(np.mean(errors)), row.expand(3, -1, -1), shown_names)

    def settings(self) -> dict[str, Any]:
        grid = self.record["grid"] | {"planes": self.planes}
        intensity = self.record["intensity"] | {"white_over_gray": self.white_over_gray}
        return {"grid": grid, "intensity": intensity}

    def unused(self, recipe: Recipe) -> list[str]:
        return [] if self.left_out else [NO_VALIDATION]

    def about(self) -> dict[str, Any]:
        return {
            "source_contrast": self.contrasts[0],
            "target_contrast": self.contrasts[1],
            "heads": [planes[0].entry.id for planes in self.heads],
            "left_out": [head.entry.id for head in self.left_out],
            "sha256": self.sha256,
        }


def _whole(head: HeadSlices, n: int, r: int) -> Tensor:
    """(1,1+2r+1,H,W): a whole slice with neighbors, and its target."""
    places = [n, *neighbors_of(np.array([n]), r, 0, len(head.source) - 1)[0]]
    layers = [*head.source[places], head.target[n]]
    return torch.from_numpy(np.stack(layers).astype(np.float32))[None]


def check(recipe: Recipe) -> None:
    """Raises ValueError where a recipe of heads is wrong."""
    if recipe.cine is not None or recipe.run != 1:
        raise ValueError("cine and run are not for the method " + recipe.method)
    for stage in recipe.stages:
        fits = all(n >= SMALLEST_CROP and n % CROP_MULTIPLE == 0 for n in stage.crop)
        if len(stage.crop) != 2 or not fits:
            raise ValueError(
                f"the crop {list(stage.crop)} is not made of two multiples of {CROP_MULTIPLE} from "
                f"{SMALLEST_CROP}"
            )


def holds_data(folder: Path) -> bool:
    """Whether ``mambasynth heads`` wrote the folder."""
    return (folder / LIST).is_file()


def prepared_data(folder: Path, recipe: Recipe) -> HeadData:
    """The heads of a folder, all of them in memory (about 0.2 GB for ten heads of 1 mm).

    Raises
    ------
    FileError: it is no such data set, or damaged.
    RequestError: every person in it is left out.
    """
    record, entries = read_list_of(folder)
    source = recipe.options.get("source", "T1w")
    contrasts = ("T1w", "T2w") if source == "T1w" else ("T2w", "T1w")
    given = [entry for entry in entries if source == "T1w" or not entry.computed]
    heads = [HeadSlices.read(folder, entry, contrasts) for entry in given]
    ratio = float(recipe.options.get("white_over_gray", 0))
    if ratio:
        heads = [head.toned(ratio) for head in heads]
    missing = set(record["left_out"])
    learned = [head for head in heads if not head.entry.persons & missing]
    if not learned:
        raise RequestError(f"{folder}: all its heads are left out; keep some to learn from.")
    left_out = [h for h in heads if h.entry.person in missing and not h.entry.host]
    digest = hashlib.sha256((folder / LIST).read_bytes()).hexdigest()
    seen, estimated = (int(recipe.network.get(name, 0)) for name in ("neighbors", "overlap"))
    planes = recipe.options.get("planes", "one")
    cut = [head.in_all_planes() if planes == "all" else [head] for head in learned]
    hashes = {LIST: digest}
    return HeadData(cut, left_out, seen, estimated, contrasts, planes, ratio, record, hashes)
