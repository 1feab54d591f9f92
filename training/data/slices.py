"""Registered pairs of volumes become pairs of training slices, by the library's own preparation.

| symbol | code      | shape   | meaning                                                      |
|--------|-----------|---------|--------------------------------------------------------------|
| x_0    | ``a[n]``  | (H,W)   | source contrast in [-1,1]; sizes differ between subjects     |
| y_0    | ``b[n]``  | (H,W)   | target contrast of the same slice                            |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from MambaSynthLib.card import GridSpec, IntensitySpec
from MambaSynthLib.preparation import EMPTY, prepare
from MambaSynthLib.volume import Volume
from training.data.augmentation import augment

if TYPE_CHECKING:
    from training.recipe import Recipe, Stage

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
        return SliceBatch(*augment(*self, recipe.augmentation_of(stage), generator))


@dataclass(frozen=True)
class SlicePairs:
    """The usable slices of one group of subjects; ``names`` tells people which each one is."""

    a: Sequence[Image]
    b: Sequence[Image]
    names: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.a)

    def __add__(self, other: SlicePairs) -> SlicePairs:
        names = [self.name(n) for n in range(len(self))]
        names += [other.name(n) for n in range(len(other))]
        return SlicePairs([*self.a, *other.a], [*self.b, *other.b], names)

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
    return SlicePairs([a[n] for n in usable], [b[n] for n in usable], names)


def draw_batch(
    groups: Sequence[SlicePairs],
    shares: Sequence[float],
    size: int,
    crop: tuple[int, int],
    rng: np.random.Generator,
    same_slice: bool = True,
) -> tuple[SliceBatch, tuple[str, ...]]:
    """Source and target of ``size`` slices, each from a group drawn by ``shares``, and their
    names.

    Half of the pairs are flipped left to right; the position of the ``crop`` is random. More
    differences are made by ``augmentation.augment``. Without ``same_slice`` the target is a slice
    of its own draw, so that nothing can be learned from pairs.
    """
    probabilities = np.asarray(shares) / np.sum(shares)
    images, names = [], []
    for _ in range(size):
        pair, name = _draw_pair(groups, probabilities, crop, rng)
        if not same_slice:
            other, other_name = _draw_pair(groups, probabilities, crop, rng)
            pair, name = np.stack([pair[0], other[1]]), f"{name} with {other_name}"
        images.append(pair)
        names.append(name)
    batch = torch.from_numpy(np.asarray(images, dtype=np.float32))  # (B,2,h,w)
    return SliceBatch(batch[:, :1], batch[:, 1:]), tuple(names)


def _draw_pair(
    groups: Sequence[SlicePairs],
    probabilities: NDArray[np.float64],
    crop: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[Image, str]:
    """(2,h,w) and its name."""
    group = groups[rng.choice(len(groups), p=probabilities)]
    n = int(rng.integers(len(group)))
    pair = _random_crop(np.stack([group.a[n], group.b[n]]), crop, rng)
    return (pair[:, :, ::-1] if rng.random() < 0.5 else pair), group.name(n)


def _random_crop(pair: Image, crop: tuple[int, int], rng: np.random.Generator) -> Image:
    """(2,H,W) -> (2,*crop), padded with background where the image is smaller.

    A crop without tissue is drawn again, a few times.
    """
    short = [max(0, c - n) for c, n in zip(crop, pair.shape[1:], strict=True)]
    pair = np.pad(pair, ((0, 0), (0, short[0]), (0, short[1])), constant_values=EMPTY)
    for _ in range(5):
        row, column = (
            int(rng.integers(n - c + 1)) for n, c in zip(pair.shape[1:], crop, strict=True)
        )
        part = pair[:, row : row + crop[0], column : column + crop[1]]
        if (part[0] > EMPTY + 0.1).mean() > SMALLEST_TISSUE_SHARE:
            break
    return part
