"""The batches of a run: a function of (seed, iteration, shard), whatever process asks.

An iteration's batch is worked off in equal shards. One process takes all of them in turn, several
processes share them; the same shards add up to the same gradient.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from MambaSynthLib.errors import RequestError
from training.data.slices import draw_batch
from training.data.sources import TrainingData
from training.recipe import Recipe


class Shard(NamedTuple):
    """One part of an iteration's batch."""

    source: Tensor  # (B,1,h,w) in [-1,1]
    target: Tensor
    names: tuple[str, ...]
    seed: int  # of everything else that is random in this shard


def shard_count(recipe: Recipe, processes: int) -> int:
    """How many shards an iteration has: the recipe's number, or else one for each process.

    Raises
    ------
    RequestError: they cannot be spread evenly over the processes.
    """
    shards = recipe.shards if recipe.shards % processes == 0 else processes
    smallest = min(stage.batch for stage in recipe.stages)
    whole = all(stage.batch % (shards * recipe.run) == 0 for stage in recipe.stages)
    if recipe.shards not in (1, shards) or not whole:
        raise RequestError(
            f"{processes} processes cannot share batches of {smallest} slices in {recipe.shards} "
            f"shards evenly{_in_runs(recipe)}; use fewer processes or a recipe with larger batches."
        )
    return shards


def _in_runs(recipe: Recipe) -> str:
    return f", in runs of {recipe.run}" if recipe.run > 1 else ""


class Batches(Dataset[list[Shard]]):
    """Element k: the shards of iteration ``first`` + k that process ``rank`` works off."""

    def __init__(
        self, recipe: Recipe, data: TrainingData, first: int = 0, rank: int = 0, processes: int = 1
    ) -> None:
        self.recipe, self.data, self.first = recipe, data, first
        self.count = shard_count(recipe, processes)
        mine = self.count // processes
        self.shards = range(rank * mine, (rank + 1) * mine)

    def __len__(self) -> int:
        return self.recipe.iterations - self.first

    def __getitem__(self, k: int) -> list[Shard]:
        if k >= len(self):
            raise IndexError(k)
        return [self.shard(self.first + k, n) for n in self.shards]

    def shard(self, iteration: int, n: int) -> Shard:
        recipe, stage = self.recipe, self.recipe.stage_at(iteration)
        rng = np.random.default_rng([recipe.seed, iteration, n])
        source, target, names = draw_batch(
            self.data.groups, self.data.shares, stage.batch // self.count, stage.crop, rng,
            recipe.same_slice, recipe.run,
        )  # fmt: skip
        return Shard(source, target, names, int(rng.integers(2**62)))
