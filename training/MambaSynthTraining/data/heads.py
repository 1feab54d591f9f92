"""Heads as training data: 2.5-D crops drawn from volumes in memory.

| symbol | code      | shape        | meaning                                                     |
|--------|-----------|--------------|-------------------------------------------------------------|
| x_0    | ``source``| (B,1+2r,h,w) | source slice, then the r before and the r after it          |
| y_0    | ``target``| (B,1+2o,h,w) | target slice of the same place, then o before and o after   |
| w      | ``weight``| (B,1+2o,h,w) | how much a pixel counts, 0 to 5                             |

Of volumes with thin slices, k of them are averaged to one thicker slice, whose neighbors are k
away, so that a network meets slices of 1 to 5 mm whatever its data are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.image.intensity import EMPTY
from MambaSynthLib.image.neighbors import neighbors_of, own_and_neighbors
from MambaSynthTraining.data.batches import NO_VALIDATION, Shard, Validation
from MambaSynthTraining.data.head_augmentation import augment
from MambaSynthTraining.data.heads_set import LIST, Entry, read_list_of

if TYPE_CHECKING:
    from MambaSynthTraining.method import TrainingMethod
    from MambaSynthTraining.recipe import Recipe, Stage

Half = NDArray[np.float16]
SMALLEST_CROP, CROP_MULTIPLE = 64, 8
THICKEST_MM = 5.0
THIN_SHARE = 0.5  # of the draws that take the slices as they are
MARGIN = 16  # pixels that a crop may reach beyond the head
TISSUE = 0.01  # of a slice, from which on it is drawn
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
class Head:
    """One volume pair in memory: float16 (N,H,W) in [-1,1], weight in percent."""

    entry: Entry
    source: Half
    target: Half
    weight: NDArray[np.uint16]
    slice_mm: float
    drawn: NDArray[np.intp]  # slices that show something that counts

    @classmethod
    def read(cls, folder: Path, entry: Entry, contrasts: Sequence[str]) -> Head:
        """Raises FileError where the file is missing or damaged."""
        path = folder / f"{entry.id}.npz"
        stored = {"T1w": "source", "T2w": "target"}
        try:
            with np.load(path, allow_pickle=False) as arrays:
                source, target = (arrays[stored[c]] for c in contrasts)
                weight, slice_mm = arrays["weight"], float(arrays["spacing"][0])
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise FileError(
                f"{path}: cannot be read; remove it and run 'mambasynth heads' again."
            ) from error
        shown = (source > EMPTY).mean(axis=(1, 2)) > TISSUE
        drawn = np.flatnonzero(shown & weight.any(axis=(1, 2)))
        return cls(entry, source, target, weight, slice_mm, drawn)

    def crop(
        self, r: int, o: int, size: tuple[int, int], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], str]:
        """(1+2r+2(1+2o),h,w): source with neighbors, targets, weights; and the slice's name."""
        n = int(rng.choice(self.drawn))
        most = max(1, int(THICKEST_MM / self.slice_mm))
        k = 1 if rng.random() < THIN_SHARE else int(rng.integers(1, most + 1))
        window = self._window(n, size, rng)
        places = [n, *neighbors_of(np.array([n]), r, 0, (len(self.source) - 1) // k * k)[0]]
        places = [n + (place - n) * k for place in places]
        layers = [self._slab(self.source, place, k, window, EMPTY) for place in places]
        places = [places[m] for m in own_and_neighbors(r, o)]
        layers += [self._slab(self.target, place, k, window, EMPTY) for place in places]
        weights = [self._slab(self.weight, place, k, window, 100) for place in places]
        layers += [weight / np.float32(100) for weight in weights]
        return np.stack(layers), f"{self.entry.id}, slice {n} of {k * self.slice_mm:g} mm"

    def _slab(
        self, stack: NDArray[Any], n: int, k: int, window: NDArray[np.intp], empty: float
    ) -> NDArray[np.float32]:
        """The mean of k slices around n, cut out; beyond the volume its border slice."""
        (top, left), (height, width) = window
        inside = slice(max(top, 0), top + height), slice(max(left, 0), left + width)
        chosen = np.clip(np.arange(n - (k - 1) // 2, n + k // 2 + 1), 0, len(stack) - 1)
        part = stack[chosen, inside[0], inside[1]].mean(axis=0, dtype=np.float32)
        found = np.full((height, width), empty, np.float32)
        r, c = max(-top, 0), max(-left, 0)
        found[r : r + part.shape[0], c : c + part.shape[1]] = part
        return found

    def _window(self, n: int, size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.intp]:
        """[[top, left], [height, width]] of a random crop that reaches little beyond the head."""
        holds = self.source[n] > EMPTY
        corner = []
        for axis, length in zip((1, 0), size, strict=True):
            where = np.flatnonzero(holds.any(axis=axis))
            low, high = int(where[0]) - MARGIN, int(where[-1]) + MARGIN + 1 - length
            corner.append(int(rng.integers(min(low, high), max(low, high) + 1)))
        return np.array([corner, size])


@dataclass(frozen=True)
class HeadData:
    """The heads that are learned from, and those that were left out to look at."""

    kind: ClassVar[str] = "heads"
    heads: list[Head]
    left_out: list[Head]
    neighbors: int
    overlap: int
    contrasts: tuple[str, str]
    record: dict[str, Any]  # heads.json
    sha256: dict[str, str]

    def draw(self, recipe: Recipe, iteration: int, n: int, count: int) -> Shard:
        stage = recipe.stage_at(iteration)
        rng = np.random.default_rng([recipe.seed, iteration, n])
        shares = np.array([head.entry.share for head in self.heads])
        chosen = rng.choice(len(self.heads), stage.batch // count, p=shares / shares.sum())
        size = (stage.crop[0], stage.crop[1])
        drawn = [self.heads[m].crop(self.neighbors, self.overlap, size, rng) for m in chosen]
        images = [image[..., ::-1] if rng.random() < 0.5 else image for image, _ in drawn]
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
        return {"grid": self.record["grid"], "intensity": self.record["intensity"]}

    def unused(self, recipe: Recipe) -> list[str]:
        return [] if self.left_out else [NO_VALIDATION]

    def about(self) -> dict[str, Any]:
        return {
            "source_contrast": self.contrasts[0],
            "target_contrast": self.contrasts[1],
            "heads": [head.entry.id for head in self.heads],
            "left_out": [head.entry.id for head in self.left_out],
            "sha256": self.sha256,
        }


def _whole(head: Head, n: int, r: int) -> Tensor:
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
    given = [entry for entry in entries if source == "T1w" or not entry.neck]
    heads = [Head.read(folder, entry, contrasts) for entry in given]
    learned = [head for head in heads if head.entry.person not in record["left_out"]]
    if not learned:
        raise RequestError(f"{folder}: all its heads are left out; keep some to learn from.")
    left_out = [head for head in heads if head.entry.person in record["left_out"]]
    digest = hashlib.sha256((folder / LIST).read_bytes()).hexdigest()
    seen, estimated = (int(recipe.network.get(name, 0)) for name in ("neighbors", "overlap"))
    return HeadData(learned, left_out, seen, estimated, contrasts, record, {LIST: digest})
