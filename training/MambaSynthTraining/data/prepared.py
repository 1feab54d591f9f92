"""A prepared data set: a folder that training reads and the library's Engine can score.

    dataset.json                     name, contrasts, grid, intensity rule, all options of `prepare`
    splits.json                      {"train": [{"subject", "sha256"}], "validation", "test"}
    subjects/ID.zarr                 one (N,H,W) float32 array in [-1,1] per contrast; attributes
    volumes/ID_CONTRAST.nii.gz       the volumes that the slices were cut from
    volumes/ID_labels.nii.gz         their tissues, where there is a label map
    sheets/ID.png                    what a person looks at before trusting the rest

A chunk is one slice, a shard one subject (zarr v3): any slice is one read, on a disk or an object
store. The slices of a paired subject correspond; ``attributes["paired"]`` says whether they do.
Subjects of a named group have the share of the training slices that ``shares`` in ``dataset.json``
states; a subject's ``group`` is left out where it has none.
Nothing here is a pickle, and every file gets its name only when it is complete.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import read_volume
from MambaSynthLib.model.card import GridSpec, IntensitySpec
from MambaSynthTraining.data.dataset_files import (
    DATASET,
    SPLITS,
    SPLITS_FILE,
    check_split,
    read_json,
    read_splits,
)
from MambaSynthTraining.data.label_map import LABELS, LabelMap

if TYPE_CHECKING:
    import zarr

FORMAT = 1
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class PreparedSubject:
    """One person of a prepared data set. Nothing is read before it is asked for."""

    folder: Path
    id: str
    sha256: str  # of the numbers in the slices, see ``hash_of``
    group: str = ""  # whose slices have a share of their own in training

    @property
    def attributes(self) -> dict[str, Any]:
        """What ``prepare`` noted: spacing, affine, slices, sources, transform, site, notes."""
        return dict(self._group().attrs)

    @property
    def contrasts(self) -> tuple[str, ...]:
        """What there is of this subject; an unpaired one may have a single contrast."""
        return tuple(self.attributes["contrasts"])

    def slices(self, contrast: str) -> zarr.Array[Any]:
        """(N,H,W) float32 in [-1,1], read slice by slice. Raises FileError where there is none."""
        import zarr

        slices = self._group().get(contrast)
        if not isinstance(slices, zarr.Array):
            raise FileError(
                f"{self.id}: has no {contrast} among its slices; choose one of "
                f"{', '.join(self.contrasts)}."
            )
        return slices

    def volume(self, contrast: str) -> Volume:
        """The volume from which the slices were cut. Raises FileError where it is missing."""
        return read_volume(volume_path(self.folder, self.id, contrast))

    def labels(self) -> LabelMap | None:
        """Which tissue each voxel of the volumes shows; None where nobody knows."""
        names = self.attributes.get(LABELS)
        if names is None:
            return None
        return LabelMap(self.volume(LABELS), {int(n): name for n, name in names.items()})

    def check(self) -> None:
        """Raises FileError when the slices are not those that ``splits.json`` vouches for."""
        if hash_of({c: np.asarray(self.slices(c)[:]) for c in self.contrasts}) != self.sha256:
            raise FileError(
                f"{self.id}: its slices are not those that {SPLITS_FILE} was written for; prepare "
                "the data set again."
            )

    def _group(self) -> zarr.Group:
        import zarr

        path = slices_path(self.folder, self.id)
        try:
            return zarr.open_group(path, mode="r")
        except (OSError, ValueError) as error:
            raise FileError(
                f"{path.name}: the slices of {self.id} cannot be read; prepare the data set again."
            ) from error


@dataclass(frozen=True)
class PreparedData:
    """A parsed prepared data set."""

    folder: Path
    name: str
    contrasts: tuple[str, ...]  # the source contrast first
    grid: GridSpec
    intensity: IntensitySpec
    options: dict[str, Any]
    splits: dict[str, tuple[PreparedSubject, ...]]
    shares: dict[str, float]  # of the training slices, for each group

    def subjects(self, split: str) -> list[PreparedSubject]:
        """The subjects of 'train', 'validation' or 'test'. Raises RequestError for others."""
        check_split(split)
        return list(self.splits[split])

    def training_groups(self) -> list[tuple[float, list[PreparedSubject]]]:
        """Shares of the training slices, and whose they are; who is in no group has the rest."""
        groups: dict[str, list[PreparedSubject]] = {}
        for subject in self.subjects("train"):
            groups.setdefault(subject.group, []).append(subject)
        rest = 1 - sum(self.shares[name] for name in groups if name)
        return [(self.shares[name] if name else rest, found) for name, found in groups.items()]

    def toward(self, source: str, target: str) -> PreparedData:
        """The same people with these two contrasts first. Raises RequestError where one lacks."""
        for contrast in (source, target):
            if contrast not in self.contrasts:
                raise RequestError(
                    f"{self.folder}: has no {contrast}; choose among {', '.join(self.contrasts)}."
                )
        others = [c for c in self.contrasts if c not in (source, target)]
        return replace(self, contrasts=(source, target, *others))


def open_prepared(folder: str | Path) -> PreparedData:
    """The prepared data set in ``folder``; reads two small files.

    Raises
    ------
    FileError: it is none, or not complete, or one subject (by name or by content) is in two splits.
    """
    folder = Path(folder)
    data, splits = read_json(folder / DATASET), read_splits(folder)
    if data.get("format") != FORMAT:
        raise FileError(
            f"{DATASET}: has the format {data.get('format')!r}, not {FORMAT}; prepare it again "
            "with this version."
        )
    try:
        grid, intensity = data["grid"], data["intensity"]
        parsed = PreparedData(
            folder,
            data["name"],
            tuple(data["contrasts"]),
            GridSpec(grid["axis_codes"], grid["in_plane_spacing_mm"], tuple(grid["size"])),
            IntensitySpec(
                intensity["rule"], intensity["upper_percentile"], tuple(intensity["target_range"])
            ),
            data["options"],
            {
                split: tuple(
                    PreparedSubject(folder, one["subject"], one["sha256"], one.get("group", ""))
                    for one in splits[split]
                )
                for split in SPLITS
            },
            data.get("shares", {}),
        )
        _ = parsed.training_groups()  # every group has a share
    except (KeyError, TypeError) as error:
        raise FileError(
            f"{folder}: {DATASET} or {SPLITS_FILE} lacks {error}; prepare the data set again."
        ) from error
    check_separate(parsed.splits)
    return parsed


def check_separate(splits: Mapping[str, Sequence[PreparedSubject]]) -> None:
    """Raises FileError when two splits share a subject, by its name or by its slices."""
    seen: dict[str, tuple[str, str]] = {}
    for split, subjects in splits.items():
        for subject in subjects:
            for key in (subject.id, subject.sha256):
                other, where = seen.setdefault(key, (subject.id, split))
                if where != split:
                    raise FileError(
                        f"{subject.id}: is in the splits {where} (as {other}) and {split}; a "
                        "person may be in one only, remove the copy."
                    )


def slices_path(folder: Path, subject: str) -> Path:
    return folder / "subjects" / f"{subject}.zarr"


def volume_path(folder: Path, subject: str, contrast: str) -> Path:
    return folder / "volumes" / f"{subject}_{contrast}.nii.gz"


def sheet_path(folder: Path, subject: str) -> Path:
    return folder / "sheets" / f"{subject}.png"


def hash_of(stacks: Mapping[str, Floats]) -> str:
    """sha256 over the names, shapes and values of the stacks, whatever their compression."""
    digest = hashlib.sha256()
    for contrast, stack in sorted(stacks.items()):
        digest.update(f"{contrast} {stack.shape}".encode())
        digest.update(np.ascontiguousarray(stack, dtype="<f4").data)
    return digest.hexdigest()
