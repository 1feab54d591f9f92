"""Registered pairs of volumes become pairs of training slices, by the library's own preparation.

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

from MambaSynthLib.errors import RequestError
from MambaSynthLib.image.intensity import EMPTY
from MambaSynthLib.image.preparation import prepare
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.model.card import GridSpec, IntensitySpec
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


@dataclass(frozen=True)
class SlicePairs:
    """The usable slices of one group of subjects; ``names`` tells people which each one is.

    ``follows[n]`` says whether slice n lies directly beside slice n - 1 in one subject; where it
    is not known, none does.
    """

    a: Sequence[Image]
    b: Sequence[Image]
    names: Sequence[str] = ()
    follows: Sequence[bool] = ()

    def __len__(self) -> int:
        return len(self.a)

    def __add__(self, other: SlicePairs) -> SlicePairs:
        names = [self.name(n) for n in range(len(self))]
        names += [other.name(n) for n in range(len(other))]
        follows = [*self._follows, *other._follows]
        return SlicePairs([*self.a, *other.a], [*self.b, *other.b], names, follows)

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


class StoredSlices(Sequence[Image]):
    """The slices of several stacks (N,H,W), one after the other, read when they are asked for."""

    def __init__(self, stacks: Sequence[Any]) -> None:
        self.stacks = stacks
        self.ends = np.cumsum([stack.shape[0] for stack in stacks])

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def __getitem__(self, n: Any) -> Any:
        if not 0 <= n < len(self):
            raise IndexError(n)
        which = int(np.searchsorted(self.ends, n, side="right"))
        stack = self.stacks[which]
        return np.asarray(stack[n - int(self.ends[which]) + stack.shape[0]], dtype=np.float32)


def slices_of(
    source: Volume, target: Volume, grid: GridSpec, intensity: IntensitySpec
) -> SlicePairs:
    """The slices of one subject in which at least 3 % of the canvas is tissue.

    Raises VolumeError when the two volumes do not share one grid.
    """
    preparation = prepare(source, grid, intensity)
    a, b = preparation.stack(), preparation.stack_of(target)
    usable = np.flatnonzero((a > EMPTY + 0.1).mean(axis=(1, 2)) >= SMALLEST_TISSUE_SHARE)
    names = [f"{source.name}, slice {n}" for n in usable]
    return SlicePairs([a[n] for n in usable], [b[n] for n in usable], names, following(usable))


def following(indices: Sequence[int] | NDArray[np.intp]) -> list[bool]:
    """Of slices cut at these places of one volume: which lie directly beside the one before."""
    return [False, *(np.diff(indices) == 1).tolist()][: len(indices)]


def draw_batch(
    groups: Sequence[SlicePairs],
    shares: Sequence[float],
    size: int,
    crop: tuple[int, int],
    rng: np.random.Generator,
    same_slice: bool = True,
    run: int = 1,
) -> tuple[SliceBatch, tuple[str, ...]]:
    """Source and target of ``size`` slices, each from a group drawn by ``shares``, and their
    names. They are size / run runs, each of ``run`` consecutive slices of one subject.

    Half of the runs are flipped left to right; the position of the ``crop`` is random. More
    differences are made by ``augmentation.augment``. Without ``same_slice`` the target is a run
    of its own draw, so that nothing can be learned from pairs.

    Raises
    ------
    RequestError: a group has no such run.
    """
    probabilities = np.asarray(shares) / np.sum(shares)
    images: list[Image] = []
    names: list[str] = []
    for _ in range(size // run):
        pairs, drawn = _draw_run(groups, probabilities, crop, rng, run)
        if not same_slice:
            others, other_names = _draw_run(groups, probabilities, crop, rng, run)
            pairs = np.stack([pairs[0], others[1]])
            drawn = [f"{a} with {b}" for a, b in zip(drawn, other_names, strict=True)]
        images += [*pairs.swapaxes(0, 1)]
        names += drawn
    batch = torch.from_numpy(np.asarray(images, dtype=np.float32))  # (B,2,h,w)
    return SliceBatch(batch[:, :1], batch[:, 1:]), tuple(names)


def _draw_run(
    groups: Sequence[SlicePairs],
    probabilities: NDArray[np.float64],
    crop: tuple[int, int],
    rng: np.random.Generator,
    run: int,
) -> tuple[Image, list[str]]:
    """(2,run,h,w), and the name of each slice; flip and crop are the same for all of them."""
    group = groups[rng.choice(len(groups), p=probabilities)]
    starts = group.starts(run)
    if not len(starts):
        raise RequestError(
            f"the data hold no {run} consecutive slices of one subject ({group.name(0)} is alone, "
            "for example; those of phantoms are); use prepared data, or a recipe with run: 1."
        )
    first = int(starts[rng.integers(len(starts))])
    chosen = range(first, first + run)
    pairs = np.stack([[part[n] for n in chosen] for part in (group.a, group.b)])
    pairs = _random_crop(pairs, crop, rng)
    return (pairs[..., ::-1] if rng.random() < 0.5 else pairs), [group.name(n) for n in chosen]


def _random_crop(pairs: Image, crop: tuple[int, int], rng: np.random.Generator) -> Image:
    """(2,n,H,W) -> (2,n,*crop), padded with background where the image is smaller.

    A crop without tissue is drawn again, a few times.
    """
    short = [max(0, c - n) for c, n in zip(crop, pairs.shape[2:], strict=True)]
    pads = ((0, 0), (0, 0), (0, short[0]), (0, short[1]))
    pairs = np.pad(pairs, pads, constant_values=EMPTY)
    for _ in range(5):
        row, column = (
            int(rng.integers(n - c + 1)) for n, c in zip(pairs.shape[2:], crop, strict=True)
        )
        part = pairs[..., row : row + crop[0], column : column + crop[1]]
        if (part[0] > EMPTY + 0.1).mean() > SMALLEST_TISSUE_SHARE:
            break
    return part
