"""Where training slices come from: a prepared data set, or single volumes widened by phantoms."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from MambaSynthLib.card import GridSpec, IntensitySpec
from MambaSynthLib.errors import RequestError
from MambaSynthLib.io.files import read_volume
from training.data.phantom_slices import phantom_slices
from training.data.prepared import (
    DATASET,
    SPLITS_FILE,
    PreparedData,
    PreparedSubject,
    open_prepared,
)
from training.data.slices import SlicePairs, StoredSlices, following, slices_of
from training.recipe import Recipe


@dataclass(frozen=True)
class TrainingData:
    """Groups of slices, the share of the batches that each one has, and what they were made of."""

    groups: list[SlicePairs]
    shares: list[float]
    grid: GridSpec
    intensity: IntensitySpec
    contrasts: tuple[str, str] = ("T1w", "T2w")
    validation: SlicePairs = field(default_factory=lambda: SlicePairs([], []))
    sha256: dict[str, str] = field(default_factory=dict)  # of files, by their names

    def __post_init__(self) -> None:
        if not any(map(len, self.groups)):
            raise RequestError("the data hold no slice with tissue; name other data.")


def prepared_data(folder: Path) -> TrainingData:
    """The training and validation slices of a prepared data set, read when they are drawn."""
    data = open_prepared(folder)
    return TrainingData(
        [_stored(data, data.subjects("train"))],
        [1.0],
        data.grid,
        data.intensity,
        (data.contrasts[0], data.contrasts[1]),
        _stored(data, data.subjects("validation")),
        {name: _sha256(folder / name) for name in (DATASET, SPLITS_FILE)},
    )


def _stored(data: PreparedData, subjects: Sequence[PreparedSubject]) -> SlicePairs:
    source, target = data.contrasts[:2]
    names = [
        f"{subject.id}, slice {n}"
        for subject in subjects
        for n in range(subject.slices(source).shape[0])
    ]
    a, b = (
        StoredSlices([subject.slices(contrast) for subject in subjects])
        for contrast in (source, target)
    )
    return SlicePairs(a, b, names, _follows(subjects, source, target))


def _follows(subjects: Sequence[PreparedSubject], source: str, target: str) -> list[bool]:
    """Which slices lie directly beside the one before, in the source and in the target."""

    def of(subject: PreparedSubject, contrast: str) -> list[bool]:
        places = subject.attributes.get("slices", {}).get(contrast)
        unknown = [False] * subject.slices(contrast).shape[0]
        return unknown if places is None else following(places)

    a, b = ([x for s in subjects for x in of(s, contrast)] for contrast in (source, target))
    b += [False] * (len(a) - len(b))  # unpaired subjects may have fewer of the target
    return [x and y for x, y in zip(a, b, strict=False)]


def volume_data(
    recipe: Recipe, pairs: Sequence[Sequence[Path]], labels: Path | None, cache: Path
) -> TrainingData:
    """Registered volumes of (source, target), and the phantoms that the recipe asks for.

    Raises
    ------
    RequestError: the recipe says neither grid nor intensity.
    """
    if recipe.grid is None or recipe.intensity is None:
        raise RequestError("the recipe has no grid or no intensity; give prepared data instead.")
    acquired = SlicePairs([], [])
    for source, target in pairs:
        acquired += slices_of(
            read_volume(source), read_volume(target), recipe.grid, recipe.intensity
        )
    groups, shares = [acquired], [1.0]
    if labels is not None and recipe.phantoms is not None and recipe.phantoms.subjects:
        groups.append(phantom_slices(labels, recipe.phantoms, recipe.grid, recipe.intensity, cache))
        shares = [1 - recipe.phantoms.share, recipe.phantoms.share]
    hashes = {path.name: _sha256(path) for pair in pairs for path in pair}
    return TrainingData(groups, shares, recipe.grid, recipe.intensity, sha256=hashes)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
