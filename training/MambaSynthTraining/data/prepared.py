"""A prepared data set: a folder that training reads and the library's Engine can score.

    dataset.json                     name, contrasts, grid, intensity rule, all options of `prepare`
    splits.json                      {"train": [{"subject", "sha256"}], "validation", "test"}
    subjects/ID.zarr                 one (N,H,W) float32 array in [-1,1] per contrast; attributes
    volumes/ID_CONTRAST.nii.gz       the volumes that the slices were cut from
    sheets/ID.png                    what a person looks at before trusting the rest

A chunk is one slice, a shard one subject (zarr v3): any slice is one read, on a disk or an object
store. The slices of a paired subject correspond; ``attributes["paired"]`` says whether they do.
Nothing here is a pickle, and every file gets its name only when it is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.atomic import telling, write_whole
from MambaSynthLib.io.files import read_volume, write_volume
from MambaSynthLib.model.card import GridSpec, IntensitySpec

if TYPE_CHECKING:
    import zarr

FORMAT = 1
SPLITS = ("train", "validation", "test")
DATASET, SPLITS_FILE = "dataset.json", "splits.json"
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class PreparedSubject:
    """One person of a prepared data set. Nothing is read before it is asked for."""

    folder: Path
    id: str
    sha256: str  # of the numbers in the slices, see ``hash_of``

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

    def subjects(self, split: str) -> list[PreparedSubject]:
        """The subjects of 'train', 'validation' or 'test'. Raises RequestError for others."""
        if split not in SPLITS:
            raise RequestError(f"{split}: is no split; choose one of {', '.join(SPLITS)}.")
        return list(self.splits[split])

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
    data, splits = (read_json(folder / name) for name in (DATASET, SPLITS_FILE))
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
                    PreparedSubject(folder, one["subject"], one["sha256"]) for one in splits[split]
                )
                for split in SPLITS
            },
        )
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


def write_subject(
    folder: Path,
    subject: str,
    stacks: Mapping[str, Floats],
    volumes: Mapping[str, Volume],
    attributes: Mapping[str, Any],
) -> str:
    """Write one subject: the volumes, then the slices, which mark it as complete.

    ``stacks`` hold (N,H,W) in [-1,1] per contrast. Returns ``hash_of`` them, which is also the
    attribute ``sha256``. Raises FileError when the disk does not take it.
    """
    for kind in ("volumes", "subjects", "sheets"):
        with telling(folder / kind):
            (folder / kind).mkdir(parents=True, exist_ok=True)
    for contrast, volume in volumes.items():
        write_volume(volume, volume_path(folder, subject, contrast), overwrite=True)
    sha256 = hash_of(stacks)
    path = slices_path(folder, subject)
    temporary = path.with_name(f".{subject}.part.zarr")
    with telling(path):
        shutil.rmtree(temporary, ignore_errors=True)
        _write_zarr(temporary, stacks, {**attributes, "contrasts": [*stacks], "sha256": sha256})
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    return sha256


def _write_zarr(path: Path, stacks: Mapping[str, Floats], attributes: Mapping[str, Any]) -> None:
    import zarr

    group = zarr.create_group(path, zarr_format=3, attributes=dict(attributes))
    for contrast, stack in stacks.items():
        array = group.create_array(
            contrast, shape=stack.shape, dtype="float32", chunks=(1, *stack.shape[1:]),
            shards=stack.shape, dimension_names=("slice", "row", "column"),
        )  # fmt: skip
        array[:] = stack


def write_dataset(
    folder: Path,
    name: str,
    contrasts: Sequence[str],
    grid: GridSpec,
    intensity: IntensitySpec,
    options: Mapping[str, Any],
    splits: Mapping[str, Sequence[str]],
) -> PreparedData:
    """Write ``splits.json`` and ``dataset.json`` for subjects already written; returns them opened.

    Raises FileError when two splits share a subject; then neither file is written.
    """
    subjects = {
        split: tuple(_written(folder, subject) for subject in splits.get(split, ()))
        for split in SPLITS
    }
    check_separate(subjects)
    listed = {
        split: [{"subject": one.id, "sha256": one.sha256} for one in found]
        for split, found in subjects.items()
    }
    data = {
        "format": FORMAT,
        "name": name,
        "contrasts": list(contrasts),
        "grid": asdict(grid),
        "intensity": asdict(intensity),
        "options": dict(options),
    }
    for file, record in ((SPLITS_FILE, listed), (DATASET, data)):
        text = json.dumps(record, indent=1) + "\n"
        write_whole(folder / file, text.encode("utf-8"))
    return open_prepared(folder)


def _written(folder: Path, subject: str) -> PreparedSubject:
    bare = PreparedSubject(folder, subject, "")
    return PreparedSubject(folder, subject, bare.attributes["sha256"])


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a prepared data set. Raises FileError where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(
            f"{path}: is missing or no JSON, so the folder is no prepared data set; make one with "
            "'mambasynth prepare'."
        ) from error
    if not isinstance(found, dict):
        raise FileError(f"{path}: holds no JSON object; prepare the data set again.")
    return found
