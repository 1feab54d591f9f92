"""Slices to train on: those of one contrast, or pairs of registered ones.

| symbol | code      | shape   | meaning                                                      |
|--------|-----------|---------|--------------------------------------------------------------|
| x_0    | ``a[n]``  | (H,W)   | source contrast in [-1,1]; sizes differ between subjects     |
| y_0    | ``b[n]``  | (H,W)   | target contrast of the same slice                            |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from MambaSynthTraining.data.augmentation import augment

if TYPE_CHECKING:
    from MambaSynthTraining.recipe import Recipe, Stage

Image = NDArray[np.float32]
SMALLEST_TISSUE_SHARE = 0.03  # of the canvas; slices with less teach nothing
SIZE_MULTIPLE = 4  # generators halve twice


class SliceBatch(NamedTuple):
    """Slices (B,1,h,w) in [-1,1] of the source and the target contrast."""

    source: Tensor
    target: Tensor

    @property
    def extent(self) -> str:
        return f"{len(self.source)} slices of {tuple(self.source.shape[2:])}"

    def augmented(self, recipe: Recipe, stage: Stage, generator: torch.Generator) -> SliceBatch:
        return SliceBatch(*augment(*self, recipe.augmentation_of(stage), generator, recipe.run))


class SliceGroup:
    """Slices of some subjects in order; ``names`` tells people which each one is.

    ``follows[n]`` says whether slice n lies directly beside slice n - 1 in one subject; where it
    is not known, none does. ``parts`` are the contrasts that there are of each slice.
    """

    names: Sequence[str]
    follows: Sequence[bool]
    parts: tuple[Sequence[Image], ...]

    def __len__(self) -> int:
        return len(self.parts[0])

    @property
    def _follows(self) -> Sequence[bool]:
        return self.follows or [False] * len(self)

    @cached_property
    def _stretches(self) -> NDArray[np.intp]:
        """(N,) a number for each slice, the same for those that follow one another."""
        return np.cumsum(~np.asarray(self._follows, dtype=bool))

    def starts(self, run: int) -> NDArray[np.intp]:
        """Where ``run`` consecutive slices of one subject begin."""
        first, last = np.arange(len(self)), np.arange(len(self)) + run - 1
        fits = first[last < len(self)]
        return fits[self._stretches[fits] == self._stretches[fits + run - 1]]

    def around(self, n: int, r: int) -> tuple[int, int]:
        """First and one past last of the slices up to ``r`` away from slice n in its subject."""
        near = np.arange(max(0, n - r), min(len(self), n + r + 1))
        near = near[self._stretches[near] == self._stretches[n]]
        return int(near[0]), int(near[-1]) + 1

    def name(self, n: int) -> str:
        return self.names[n] if self.names else f"slice {n}"


@dataclass(frozen=True)
class Slices(SliceGroup):
    """The usable slices of one contrast, whether or not there is another of the same place."""

    images: Sequence[Image]
    names: Sequence[str] = ()
    follows: Sequence[bool] = ()

    @property
    def parts(self) -> tuple[Sequence[Image], ...]:  # type: ignore[override]
        return (self.images,)


@dataclass(frozen=True)
class SlicePairs(SliceGroup):
    """The usable slices of two contrasts that correspond: ``a[n]`` and ``b[n]`` are one place."""

    a: Sequence[Image]
    b: Sequence[Image]
    names: Sequence[str] = ()
    follows: Sequence[bool] = ()

    @property
    def parts(self) -> tuple[Sequence[Image], ...]:  # type: ignore[override]
        return self.a, self.b


class StoredSlices(Sequence[Image]):
    """Slices of several stacks (N,H,W), one after the other, read when they are asked for.

    ``kept`` are the places in each stack that count; without it all do.
    """

    def __init__(self, stacks: Sequence[Any], kept: Sequence[Sequence[int]] | None = None) -> None:
        self.stacks = stacks
        self.kept = [range(stack.shape[0]) for stack in stacks] if kept is None else kept
        self.ends = np.cumsum([len(places) for places in self.kept])

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def __getitem__(self, n: Any) -> Any:
        if not 0 <= n < len(self):
            raise IndexError(n)
        which = int(np.searchsorted(self.ends, n, side="right"))
        places = self.kept[which]
        place = places[n - int(self.ends[which]) + len(places)]
        return np.asarray(self.stacks[which][place], dtype=np.float32)


def following(indices: Sequence[int] | NDArray[np.intp]) -> list[bool]:
    """Of slices cut at these places of one volume: which lie directly beside the one before."""
    return [False, *(np.diff(indices) == 1).tolist()][: len(indices)]
