"""Which slices a batch is made of: drawn at random or in epochs, as pairs or each on its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from MambaSynthLib.errors import RequestError
from MambaSynthLib.image.intensity import EMPTY
from MambaSynthTraining.data.slices import SMALLEST_TISSUE_SHARE, Image, SliceBatch, SliceGroup

SOURCE, TARGET = 0, 1
ORDER = 20_260  # keeps the orders of the epochs apart from all other draws of a seed


@dataclass(frozen=True)
class Epochs:
    """Every run of a group once, in an order of its own, before any of them comes again.

    The order is a function of seed, side and epoch, so any batch can be drawn without those before
    it. ``first`` counts the runs that were used before. An incomplete batch at the end of an epoch
    is filled from the next one.
    """

    seed: int
    first: int

    def place(self, count: int, k: int, side: int) -> int:
        """The place, below ``count``, of run ``first`` + k."""
        epoch, place = divmod(self.first + k, count)
        rng = np.random.default_rng([self.seed, ORDER, side, epoch])
        return int(rng.permutation(count)[place])


@dataclass(frozen=True)
class Draws:
    """How the runs of a batch are drawn.

    ``crop`` are rows and columns, ``run`` is the number of consecutive slices of one subject,
    ``flip`` the share of the runs that are mirrored. Without ``epochs`` any run may come again.
    """

    crop: tuple[int, int]
    run: int = 1
    flip: float = 0.0
    epochs: Epochs | None = None


def draw_pairs(
    groups: Sequence[SliceGroup],
    shares: Sequence[float],
    size: int,
    draws: Draws,
    rng: np.random.Generator,
) -> tuple[SliceBatch, tuple[str, ...]]:
    """Source and target of ``size`` places, each from a group of pairs drawn by ``shares``.

    They are size / run runs, each flipped and cut alike; the position of the crop is random. More
    differences are made by ``augmentation.augment``. The names are those of the slices.

    Raises
    ------
    RequestError: a group has no such run.
    """
    runs = [_draw_run(groups, shares, draws, rng, k, SOURCE) for k in range(size // draws.run)]
    names = tuple(name for _, found in runs for name in found)
    return _batch([run[SOURCE] for run, _ in runs], [run[TARGET] for run, _ in runs]), names


def draw_apart(
    sources: Sequence[SliceGroup],
    targets: Sequence[SliceGroup],
    shares: Sequence[float],
    size: int,
    draws: Draws,
    rng: np.random.Generator,
) -> tuple[SliceBatch, tuple[str, ...]]:
    """As ``draw_pairs``, but source and target are runs of independent draws, each from all the
    slices of its side, so that nothing can be learned from pairs.

    ``sources`` and ``targets`` may be the same groups of pairs; then one half of each is used.
    """
    a, b, names = [], [], []
    for k in range(size // draws.run):
        source, source_names = _draw_run(sources, shares, draws, rng, k, SOURCE)
        target, target_names = _draw_run(targets, shares, draws, rng, k, TARGET)
        a.append(source[SOURCE])
        b.append(target[-1])
        names += [f"{x} with {y}" for x, y in zip(source_names, target_names, strict=True)]
    return _batch(a, b), tuple(names)


def _batch(a: list[Image], b: list[Image]) -> SliceBatch:
    """Runs (run,h,w) -> (B,1,h,w) of both contrasts."""
    source, target = (torch.from_numpy(np.concatenate(runs).astype(np.float32)) for runs in (a, b))
    return SliceBatch(source[:, None], target[:, None])


def _draw_run(
    groups: Sequence[SliceGroup],
    shares: Sequence[float],
    draws: Draws,
    rng: np.random.Generator,
    k: int,
    side: int,
) -> tuple[Image, list[str]]:
    """(parts,run,h,w), and the name of each slice; flip and crop are the same for all of them.

    ``k`` and ``side`` say which run of the batch it is, and of which contrast, for the epochs.
    """
    group = groups[rng.choice(len(groups), p=_probabilities(shares))]
    starts = _starts(group, draws.run)
    place = int(rng.integers(len(starts)))
    if draws.epochs is not None:
        place = draws.epochs.place(len(starts), k, side)
    first = int(starts[place])
    chosen = range(first, first + draws.run)
    images = np.stack([[part[n] for n in chosen] for part in group.parts])
    images = _random_crop(images, draws.crop, rng)
    flipped = rng.random() < draws.flip
    return (images[..., ::-1] if flipped else images), [group.name(n) for n in chosen]


def _probabilities(shares: Sequence[float]) -> NDArray[np.float64]:
    return np.asarray(shares) / np.sum(shares)


def _starts(group: SliceGroup, run: int) -> NDArray[np.intp]:
    starts = group.starts(run)
    if not len(starts):
        raise RequestError(
            f"the data hold no {run} consecutive slices of one subject ({group.name(0)} is alone, "
            "for example); use other data, or a recipe with run: 1."
        )
    return starts


def _random_crop(images: Image, crop: tuple[int, int], rng: np.random.Generator) -> Image:
    """(parts,n,H,W) -> (parts,n,*crop), padded with background where the image is smaller.

    A crop without tissue is drawn again, a few times.
    """
    short = [max(0, c - n) for c, n in zip(crop, images.shape[2:], strict=True)]
    pads = ((0, 0), (0, 0), (0, short[0]), (0, short[1]))
    images = np.pad(images, pads, constant_values=EMPTY)
    for _ in range(5):
        row, column = (
            int(rng.integers(n - c + 1)) for n, c in zip(images.shape[2:], crop, strict=True)
        )
        part = images[..., row : row + crop[0], column : column + crop[1]]
        if (part[0] > EMPTY + 0.1).mean() > SMALLEST_TISSUE_SHARE:
            break
    return part
