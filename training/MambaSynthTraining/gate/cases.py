"""What the gate is scored on: volumes that fit, and the same spoiled in every way it should see.

Each case is a volume, the contrast it is given as, and the name of its kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MambaSynthLib.image.volume import Volume, axis_codes
from MambaSynthTraining.gate import strangers
from MambaSynthTraining.gate.draws import stretched, turned
from MambaSynthTraining.gate.examples import phantoms_of
from MambaSynthTraining.gate.listed import Row, file_of, volumes_of

OTHER = "other anatomy, or another kind of image"
AGENT = "T1w with contrast agent"
TURNS = {"upside down": ("IA", "IP"), "front is back": ("SP",),
         "axes swapped": ("AS", "AI", "RS", "SR", "PS")}  # fmt: skip
STRANGERS = 10  # of each kind
WINDOW = (40.0, 400.0)  # center and width in Hounsfield units, shown as 0 to 255
EMPTY_SLICES = 3


@dataclass(frozen=True)
class Case:
    """``volume``, given to a model of ``contrast``; ``fits``: the gate should let it pass."""

    kind: str
    contrast: str
    volume: Volume
    fits: bool = False


def cases_of(rows: Sequence[Row], folders: Sequence[Path], seed: int) -> Iterator[Case]:
    """All cases of some lines of a list."""
    rng = np.random.default_rng(seed)
    for row in rows:
        if row.anatomy == "labels":
            yield from _of_labels(row, folders, rng)
            continue
        for volume in volumes_of(row, folders):
            if row.anatomy in ("head", "brain"):
                yield from _of_head(row, volume, rng)
            else:
                kind = "heart" if row.anatomy == "heart" else OTHER
                yield Case(kind, "T1w", volume)


def strangers_of(seed: int) -> Iterator[Case]:
    """Noise and shapes, which are no anatomy."""
    rng = np.random.default_rng(seed)
    for kind, make in (("noise", strangers.noise), ("phantom", strangers.shape)):
        for _ in range(STRANGERS):
            yield Case(kind, "T1w", make(rng))


def _of_head(row: Row, volume: Volume, rng: np.random.Generator) -> Iterator[Case]:
    """As it is for its own contrast, as another for T1w, and, of T1w, spoiled in every way."""
    if row.contrast == AGENT:
        yield Case(f"{AGENT}, given as T1w", "T1w", volume)
        return
    computed = "phantom, " if row.anatomy == "labels" else ""
    yield Case(f"fits: {computed}{row.contrast} {row.anatomy}", row.contrast, volume, fits=True)
    if row.contrast != "T1w":
        yield Case(f"{row.contrast}, given as T1w", "T1w", volume)
        return
    yield Case("T1w, given as T2w", "T2w", volume)
    for kind, spoil in SPOILING.items():
        yield Case(kind, "T1w", spoil(volume, rng))


def _of_labels(row: Row, folders: Sequence[Path], rng: np.random.Generator) -> Iterator[Case]:
    """Phantoms that fit, PDw, CT in two scales, and the label map itself."""
    seed = int(rng.integers(2**31))
    labels = next(volumes_of(row, folders))
    yield Case("mask or label map", "T1w", labels)
    for volume, truth in phantoms_of(file_of(row, folders), seed, people=1):
        if truth["kind"] == "CT":
            center, width = WINDOW
            shown = np.clip((volume.array - center) / width + 0.5, 0, 1) * 255
            yield Case("CT, not in Hounsfield units", "T1w", volume.with_array(np.rint(shown)))
            shifted = volume.with_array(volume.array + 1024)
            yield Case("CT, not in Hounsfield units", "T1w", shifted)
            yield Case("CT in Hounsfield units", "T1w", volume)
        elif truth["contrast"] == "PDw":
            yield Case("PDw, given as T1w", "T1w", volume)
        else:
            contrast, anatomy = truth["contrast"], truth["anatomy"]
            yield Case(f"fits: phantom, {contrast} {anatomy}", contrast, volume, fits=True)


def _with_affine(volume: Volume, affine: np.ndarray) -> Volume:
    return Volume(volume.array, affine, volume.name, volume.notes)


def _turn(orientations: tuple[str, ...]) -> Callable[[Volume, np.random.Generator], Volume]:
    def spoil(volume: Volume, rng: np.random.Generator) -> Volume:
        return _with_affine(volume, turned(volume.affine, str(rng.choice(orientations))))

    return spoil


def _scale(factor: float) -> Callable[[Volume, np.random.Generator], Volume]:
    def spoil(volume: Volume, rng: np.random.Generator) -> Volume:
        return _with_affine(volume, np.diag([factor] * 3 + [1.0]) @ volume.affine)

    return spoil


def _stretch(volume: Volume, rng: np.random.Generator) -> Volume:
    factor = float(rng.choice([0.4, 0.5, 2.0, 2.5]))
    return _with_affine(volume, stretched(volume.affine, int(rng.integers(3)), factor))


def _invert(volume: Volume, rng: np.random.Generator) -> Volume:
    return volume.with_array(volume.array.max() - volume.array)


def _mask(volume: Volume, rng: np.random.Generator) -> Volume:
    low, high = np.percentile(volume.array, [1, 99])
    return volume.with_array((volume.array > low + 0.15 * (high - low)).astype(np.float32))


def _empty(volume: Volume, rng: np.random.Generator) -> Volume:
    codes = axis_codes(volume.affine)
    axis = next(n for n, code in enumerate(codes) if code in "SI")
    array = np.moveaxis(np.array(volume.array), axis, 0)
    first = int(len(array) * rng.uniform(0.4, 0.6))
    array[first : first + EMPTY_SLICES] = 0
    return volume.with_array(np.moveaxis(array, 0, axis))


SPOILING: dict[str, Callable[[Volume, np.random.Generator], Volume]] = {
    **{f"orientation: {kind}": _turn(turns) for kind, turns in TURNS.items()},
    "voxel size 0.1 times": _scale(0.1),
    "voxel size 10 times": _scale(10.0),
    "one voxel edge 0.4 to 2.5 times": _stretch,
    "inverted T1w": _invert,
    "mask or label map": _mask,
    "empty slices": _empty,
}
