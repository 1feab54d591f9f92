"""A small data set for a whole table on a laptop: phantoms, and two acquired patients.

Everything is averaged to 2 x 2 x 4 mm, so that a brain fits into 96 x 80 pixels and 35 slices.
People stay apart: each label map makes one phantom, and its map decides the split.

    train        phantoms of the first five label maps, the first acquired patient
    validation   the sixth
    test         the other phantoms, the second acquired patient
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import RequestError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import read_volume, write_volume
from MambaSynthLib.model.card import GridSpec, IntensitySpec
from MambaSynthTraining.data.found import Layout, Reading, VolumeFiles
from MambaSynthTraining.data.label_map import LABELS
from MambaSynthTraining.data.phantom import phantom_subject, read_label_map
from MambaSynthTraining.data.phantom_config import PhantomConfig
from MambaSynthTraining.data.phantom_tissues import NAMES, phantom_tissues
from MambaSynthTraining.data.set_making import Summary, make_set
from MambaSynthTraining.data.set_options import SetOptions
from MambaSynthTraining.data.stacks import SliceRule
from MambaSynthTraining.data.subject_making import Steps

CONTRASTS = ("T1w", "T2w")
FACTORS = (2, 2, 4)  # averaged voxels along right, anterior, superior
GRID = GridSpec("LPS", None, (96, 80))
INTENSITY = IntensitySpec("percentile", 99.5, (0.0, 1000.0))
TRAINING_MAPS, VALIDATION_MAPS = 5, 1  # the others are tested on
SEED = 11
NAME = "miniature"
PURE = 0.75  # of a block that one tissue fills

Progress = Callable[[int, int], None]


def average(volume: Volume, factors: tuple[int, int, int] = FACTORS) -> Volume:
    """Block means: (I,J,K) -> (I//f, J//g, K//h), along right, anterior and superior in turn."""
    axis_of = {"L": 0, "R": 0, "P": 1, "A": 1, "I": 2, "S": 2}
    blocks = [factors[axis_of[code]] for code in volume.axis_codes]
    shape = [n // f for n, f in zip(volume.shape, blocks, strict=True)]
    cut = volume.array[tuple(slice(n * f) for n, f in zip(shape, blocks, strict=True))]
    parts = [size for n, f in zip(shape, blocks, strict=True) for size in (n, f)]
    array = cut.reshape(parts).mean(axis=(1, 3, 5))
    scale: NDArray[np.float64] = np.diag([*blocks, 1.0])
    scale[:3, 3] = (np.array(blocks) - 1) / 2  # the first new voxel's center
    return Volume(array, volume.affine @ scale, volume.name)


def write_miniature(
    labels: Path,
    acquired: Sequence[Sequence[Path]],
    volumes: Path,
    out: Path,
    progress: Progress = lambda done, total: None,
) -> Summary:
    """Make the volumes in ``volumes`` and the prepared data set in ``out``; what is there stays.

    ``acquired`` are the T1w and T2w files of two registered patients; the first one trains, the
    second is tested on.

    Raises
    ------
    RequestError: there are too few label maps, or not two patients.
    FileError, VolumeError: a file cannot be read.
    """
    maps = sorted(labels.glob("*.nii*"))
    if len(maps) < TRAINING_MAPS + VALIDATION_MAPS + 2:
        raise RequestError(
            f"{labels}: holds {len(maps)} label maps, but {TRAINING_MAPS + VALIDATION_MAPS + 2} "
            "are needed to train, validate and test; name another folder."
        )
    if len(acquired) != 2:
        raise RequestError(f"{len(acquired)} acquired patients were named; two are needed.")
    volumes.mkdir(parents=True, exist_ok=True)
    subjects: list[VolumeFiles] = []
    total = len(maps) + len(acquired)
    for n, path in enumerate(maps):
        make = _phantom_of(path, n)
        subjects.append(_subject(volumes, f"phantom-{n + 1:02d}", _split_of_map(n), make, NAMES))
        progress(n + 1, total)
    for n, pair in enumerate(acquired):
        make = _acquired_of(pair)
        split = ("train", "test")[n]
        subjects.append(_subject(volumes, f"acquired-{n + 1}", split, make))
        progress(len(maps) + n + 1, total)
    return make_set(out, Layout(subjects), _set_options())


def average_labels(labels: Volume, numbers: Sequence[int]) -> Volume:
    """As ``average``: each block's number, 0 where none fills ``PURE`` of it."""
    shares = {n: average(labels.with_array(np.float32(labels.array == n))) for n in numbers}
    blocks = next(iter(shares.values()))
    found = sum(n * (share.array >= PURE) for n, share in shares.items())
    return blocks.with_array(np.asarray(found, np.float32))


def _split_of_map(n: int) -> str:
    if n < TRAINING_MAPS:
        return "train"
    return "validation" if n < TRAINING_MAPS + VALIDATION_MAPS else "test"


def _phantom_of(path: Path, n: int) -> Callable[[], dict[str, Volume]]:
    def make() -> dict[str, Volume]:
        labels, affine = read_label_map(path)
        config, seed = PhantomConfig(skull=False), (SEED, n)
        made = phantom_subject(labels, affine, np.random.default_rng(seed), CONTRASTS, config)
        small = {contrast: average(volume) for contrast, volume in made.items()}
        tissues = phantom_tissues(labels, affine, np.random.default_rng(seed), config)
        return small | {LABELS: average_labels(tissues.volume, [*NAMES])}

    return make


def _acquired_of(pair: Sequence[Path]) -> Callable[[], dict[str, Volume]]:
    def make() -> dict[str, Volume]:
        found = zip(CONTRASTS, pair, strict=True)
        return {contrast: average(read_volume(path)) for contrast, path in found}

    return make


def _subject(
    folder: Path,
    name: str,
    split: str,
    make: Callable[[], dict[str, Volume]],
    names: Mapping[int, str] = MappingProxyType({}),
) -> VolumeFiles:
    """Its small volumes as files, made unless they are there; with labels where they have
    ``names``.
    """
    wanted = [*CONTRASTS, *([LABELS] if names else [])]
    files = {what: folder / f"{name}_{what}.nii.gz" for what in wanted}
    if not all(path.exists() for path in files.values()):
        for what, volume in make().items():
            write_volume(volume, files[what], overwrite=True)
    labels = files.pop(LABELS, None)
    return VolumeFiles(name, files, patient=name, split=split, labels=labels, names=dict(names))


def _set_options() -> SetOptions:
    options: dict[str, Any] = {"factors": list(FACTORS), "seed": SEED}
    steps = Steps(
        grid=GRID, intensity=INTENSITY, rule=SliceRule(0.1, 0), reading=Reading(),
        register="none", transform="rigid", n4=False, pairs=True,
    )  # fmt: skip
    return SetOptions(
        name=NAME, contrasts=CONTRASTS, steps=steps, register="none", split="given", seed=0,
        by_site=False, limit=0, strict=True, options=options,
    )  # fmt: skip
