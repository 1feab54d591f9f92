"""A kind of data of its own: images of two sources and two targets, in one file.

toy.npz   sources, targets (N,2,H,W) float32 in [-1,1]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from MambaSynthLib.errors import FileError
from MambaSynthTraining.data.batches import NO_VALIDATION, Shard, Validation
from MambaSynthTraining.recipe import Recipe, Stage

FILE = "toy.npz"
SOURCES, TARGETS = ["T1w", "PDw"], ["T2w", "FLAIR"]
GRID = {"axis_codes": "LPS", "in_plane_spacing_mm": 2.0, "size": [16, 16]}
INTENSITY = {"rule": "percentile", "upper_percentile": 99.5, "target_range": [0.0, 1000.0]}


class ToyBatch(NamedTuple):
    """Both (B,2,H,W)."""

    sources: Tensor
    targets: Tensor

    @property
    def extent(self) -> str:
        return f"{len(self.sources)} images"

    def augmented(self, recipe: Recipe, stage: Stage, generator: Generator) -> ToyBatch:
        return self


class ToyData(NamedTuple):
    """All images of the file; nobody is left out."""

    sources: Tensor
    targets: Tensor
    kind: ClassVar[str] = "toy"

    def draw(self, recipe: Recipe, iteration: int, n: int, count: int) -> Shard:
        rng = np.random.default_rng([recipe.seed, iteration, n])
        size = recipe.stage_at(iteration).batch // count
        chosen = rng.integers(len(self.sources), size=size)
        names = tuple(f"image {k}" for k in chosen)
        batch = ToyBatch(self.sources[chosen], self.targets[chosen])
        return Shard(batch, names, int(rng.integers(2**62)))

    def validate(self, method: Any) -> Validation | None:
        return None

    def settings(self) -> dict[str, Any]:
        return {"grid": GRID, "intensity": INTENSITY}

    def unused(self, recipe: Recipe) -> list[str]:
        return [NO_VALIDATION]

    def about(self) -> dict[str, Any]:
        return {"source_contrast": " + ".join(SOURCES), "target_contrast": " + ".join(TARGETS)}


def check(recipe: Recipe) -> None:
    """Raises ValueError: a stage has a crop, but these images are taken whole."""
    if any(stage.crop for stage in recipe.stages):
        raise ValueError("crop is not for the method toy")


def holds_data(folder: Path) -> bool:
    return (folder / FILE).is_file()


def prepared_data(folder: Path, recipe: Recipe) -> ToyData:
    """Raises FileError: the file is missing or no such one."""
    try:
        with np.load(folder / FILE, allow_pickle=False) as arrays:
            return ToyData(*(torch.from_numpy(arrays[name]) for name in ("sources", "targets")))
    except (OSError, ValueError, KeyError) as error:
        raise FileError(f"{folder / FILE}: cannot be read; make it again.") from error
