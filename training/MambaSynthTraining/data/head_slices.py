"""One head in memory, cut in a plane, and the crops drawn from it.

Of volumes with thin slices, k of them are averaged to one thicker slice, whose neighbors are k
away, so that a network meets slices of 1 to 5 mm whatever its data are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.grid import Reorientation, interpolation_matrix
from MambaSynthLib.image.intensity import EMPTY
from MambaSynthLib.image.neighbors import offsets, own_and_neighbors
from MambaSynthLib.image.planes import PLANES, THIN_MM
from MambaSynthLib.image.tone import Toned
from MambaSynthLib.image.volume import Volume
from MambaSynthTraining.data.heads_set import Entry

Half = NDArray[np.float16]
THICKEST_MM = 5.0
THIN_SHARE = 0.5  # of the draws that take the slices as they are
MARGIN = 16  # pixels that a crop may reach beyond the head
TISSUE = 0.01  # of a slice, from which on it is drawn
STORED = np.diag([-1.0, -1.0, 1.0, 1.0])[:, [2, 1, 0, 3]]  # axes of a stored stack: S, P, L
AXIAL = "axial"


@dataclass(frozen=True)
class HeadSlices:
    """One volume pair in memory: float16 (N,H,W) in [-1,1], weight in percent.

    Pixels of the stored, axial slices are squares of 1 mm.
    """

    entry: Entry
    source: Half
    target: Half
    weight: NDArray[np.uint16]
    slice_mm: float
    plane: str = AXIAL
    rows: NDArray[np.float32] | None = None  # (h,H) that makes the pixels of a cut slice square

    @cached_property
    def drawn(self) -> NDArray[np.intp]:
        """The slices that show something that counts."""
        shown = self.source > EMPTY
        counted = (shown & (self.weight > 0)).any(axis=(1, 2))
        return np.flatnonzero(counted & (shown.mean(axis=(1, 2)) > TISSUE))

    @cached_property
    def chances(self) -> NDArray[np.float64]:
        """Of each of ``drawn``: slices of each kind, told by the pixel that counts most there, are
        drawn as often. Eyes and the canal are in few, above all across.
        """
        _, kind, count = np.unique(
            self.weight[self.drawn].max(axis=(1, 2)), return_inverse=True, return_counts=True
        )
        chances: NDArray[np.float64] = 1 / (len(count) * count[kind])
        return chances

    @classmethod
    def read(cls, folder: Path, entry: Entry, contrasts: Sequence[str]) -> HeadSlices:
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
        return cls(entry, source, target, weight, slice_mm)

    def toned(self, white_over_gray: float) -> HeadSlices:
        """With the source as the engine gives it to a network that asks for that ratio."""
        volume = Volume(self.source.astype(np.float32), STORED, self.entry.id)
        bent = np.clip(Toned.of(volume, white_over_gray).apply(volume.array), -1, 1)
        bent[self.source <= EMPTY] = EMPTY
        return replace(self, source=bent.astype(np.float16))

    def in_all_planes(self) -> list[HeadSlices]:
        """The head as it is, and where its slices are thin cut in the other planes."""
        thin = self.slice_mm <= THIN_MM
        return [self, *(self._cut(plane) for plane in PLANES if thin and plane != AXIAL)]

    def _cut(self, plane: str) -> HeadSlices:
        """Axial slices cut in another plane, without a copy."""
        turn = Reorientation.between(STORED, PLANES[plane]).view
        n = len(self.source)
        height = round(n * self.slice_mm)
        rows = interpolation_matrix(n, height) if height != n else None
        images = turn(self.source), turn(self.target), turn(self.weight)
        return HeadSlices(self.entry, *images, 1.0, plane, rows)

    def crop(
        self, r: int, o: int, size: tuple[int, int], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], str]:
        """(1+2r+2(1+2o),h,w): source with neighbors, targets, weights; and the slice's name.

        Every other one is mirrored, left and right: sagittal slices by their order.
        """
        mirrored, sagittal = rng.random() < 0.5, self.plane == "sagittal"
        n = int(rng.choice(self.drawn, p=self.chances))
        most = max(1, int(THICKEST_MM / self.slice_mm))
        k = 1 if rng.random() < THIN_SHARE else int(rng.integers(1, most + 1))
        window = self._window(n, size, rng)
        step = -k if mirrored and sagittal else k
        last = n + (len(self.source) - 1 - n) // k * k  # of the thick slices, as n % k is the first
        places = np.clip(n + step * offsets(r), n % k, last).tolist()
        layers = [self._slab(self.source, place, k, window, EMPTY) for place in places]
        places = [places[m] for m in own_and_neighbors(r, o)]
        layers += [self._slab(self.target, place, k, window, EMPTY) for place in places]
        weights = [self._slab(self.weight, place, k, window, 100) for place in places]
        layers += [weight / np.float32(100) for weight in weights]
        images = np.stack(layers)[..., :: -1 if mirrored and not sagittal else 1]
        return images, f"{self.entry.id}, {self.plane} slice {n} of {k * self.slice_mm:g} mm"

    def _slab(
        self, stack: NDArray[Any], n: int, k: int, window: NDArray[np.intp], empty: float
    ) -> NDArray[np.float32]:
        """The mean of k slices around n, cut out; beyond the volume its border slice."""
        (top, left), (height, width) = window
        inside = slice(max(top, 0), top + height), slice(max(left, 0), left + width)
        chosen = np.clip(np.arange(n - (k - 1) // 2, n + k // 2 + 1), 0, len(stack) - 1)
        if self.rows is None:
            part = stack[chosen, inside[0], inside[1]].mean(axis=0, dtype=np.float32)
        else:
            part = stack[chosen, :, inside[1]].mean(axis=0, dtype=np.float32)
            part = self.rows[inside[0]] @ part
        found = np.full((height, width), empty, np.float32)
        r, c = max(-top, 0), max(-left, 0)
        found[r : r + part.shape[0], c : c + part.shape[1]] = part
        return found

    def _window(self, n: int, size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.intp]:
        """[[top, left], [height, width]] of a random crop that reaches little beyond what counts
        of the head.
        """
        holds = (self.source[n] > EMPTY) & (self.weight[n] > 0)
        if self.rows is not None:
            holds = self.rows @ holds > 0
        corner = []
        for axis, length in zip((1, 0), size, strict=True):
            where = np.flatnonzero(holds.any(axis=axis))
            low, high = int(where[0]) - MARGIN, int(where[-1]) + MARGIN + 1 - length
            corner.append(int(rng.integers(min(low, high), max(low, high) + 1)))
        return np.array([corner, size])
