"""Batches for the training of cine methods: ED, ES, and a frame somewhere between them.

| symbol | code            | shape       | meaning                                             |
|--------|-----------------|-------------|-----------------------------------------------------|
| S, T   | ``ed``, ``es``  | (B,1,D,H,W) | acquired images in [0,1]                            |
| I      | ``frame``       | (B,1,D,H,W) | the acquired frame at gamma                         |
| gamma  | ``gamma``       | (B,)        | its time between ED (0) and ES (1)                  |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from MambaSynthLib.errors import RequestError
from MambaSynthLib.methods.mstg.config import SIZE_MULTIPLE
from MambaSynthTraining.data.heart_cine import HeartCine

if TYPE_CHECKING:
    from MambaSynthTraining.recipe import Recipe, Stage

Size = tuple[int, ...]


class BeatBatch(NamedTuple):
    """What a cine method is given."""

    ed: Tensor
    es: Tensor
    frame: Tensor
    gamma: Tensor

    @property
    def extent(self) -> str:
        return f"{len(self.ed)} beats of {tuple(self.ed.shape[2:])}"

    def augmented(self, recipe: Recipe, stage: Stage, generator: torch.Generator) -> BeatBatch:
        return self  # it was when it was drawn

    def part(self, n: int, count: int) -> BeatBatch:
        """The n-th of ``count`` equal parts."""
        return BeatBatch(*(tensor.chunk(count)[n] for tensor in self))


class Beats:
    """All frames from ED to ES of all subjects."""

    def __init__(self, cines: Sequence[HeartCine], targets: str) -> None:
        """``targets`` says which frames are shown: "ends", ES alone, or "all" after ED.

        Raises RequestError: there are no subjects, or of sizes that do not fit.
        """
        self.names = [cine.name for cine in cines]
        self._frames: list[Tensor] = []  # (F,D,H,W), ED first, ES last
        self._gammas: list[list[float]] = []
        for cine in cines:
            _check_size(cine)
            order = [cine.ed, *(cine.between if targets == "all" else []), cine.es]
            frames = np.ascontiguousarray(cine.frames[order], dtype=np.float32)
            self._frames.append(torch.from_numpy(frames))
            self._gammas.append([cine.fraction(index) for index in order])
        if not self._frames:
            raise RequestError("the training data have no subjects; prepare the data set again.")
        sizes = {tuple(frames.shape[1:]) for frames in self._frames}
        if len(sizes) > 1:
            raise RequestError(
                f"the training data have the sizes {sorted(sizes)}; prepare them on one grid."
            )

    def __len__(self) -> int:
        return len(self._frames)

    def draw(
        self,
        size: int,
        gamma_spread: float,
        rng: np.random.Generator,
        crop: Size = (),
    ) -> tuple[BeatBatch, list[str]]:
        """A batch of random subjects and frames, augmented, and the subjects' names; a function
        of ``rng``'s state.

        Mirrored along H and W and transposed, each with probability 1/2 and ED, ES and frame
        alike; brightness is raised to a random power up to exp(+-``gamma_spread``). ``crop``
        cuts a box of that size at a random place, the same for the whole batch.
        """
        subjects = rng.integers(len(self._frames), size=size).tolist()
        chosen = [int(rng.integers(1, len(self._gammas[n]))) for n in subjects]
        picked = zip(subjects, chosen, strict=True)
        images = torch.stack([self._frames[n][[0, -1, index]] for n, index in picked])
        gammas = [self._gammas[n][index] for n, index in zip(subjects, chosen, strict=True)]
        if crop:
            images = _cut(images, crop, rng)
        images = _mirrored(images, rng.random(3) < 0.5)
        if gamma_spread:
            images = images ** float(np.exp(rng.uniform(-gamma_spread, gamma_spread)))
        ed, es, frame = images.split(1, dim=1)  # (B,1,D,H,W) each
        gamma = torch.tensor(gammas, dtype=torch.float32)
        return BeatBatch(ed, es, frame, gamma), [self.names[n] for n in subjects]


def _cut(images: Tensor, crop: Size, rng: np.random.Generator) -> Tensor:
    """(B,3,D,H,W) -> the same of the size of ``crop``, or of the images where they are smaller."""
    for axis, size in zip((2, 3, 4), crop, strict=True):
        spare = max(images.shape[axis] - size, 0)
        start = int(rng.integers(spare + 1))
        images = images.narrow(axis, start, images.shape[axis] - spare)
    return images


def _mirrored(images: Tensor, coins: NDArray[np.bool_]) -> Tensor:
    """(B,3,D,H,W) flipped along H, along W, and transposed where H = W."""
    axes = [axis for axis, heads in zip((-2, -1), coins[:2], strict=True) if heads]
    images = images.flip(axes) if axes else images
    square = images.shape[-1] == images.shape[-2]
    return images.transpose(-1, -2).contiguous() if coins[2] and square else images


def _check_size(cine: HeartCine) -> None:
    if any(n % SIZE_MULTIPLE for n in cine.frames.shape[1:]):
        raise RequestError(
            f"{cine.name}: its frames are {cine.frames.shape[1:]}, but training needs multiples "
            f"of {SIZE_MULTIPLE}; prepare the data on such a grid."
        )
