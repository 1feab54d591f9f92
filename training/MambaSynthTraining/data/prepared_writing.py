"""Writing the data set that ``prepared.py`` reads, subject by subject."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.atomic import telling
from MambaSynthLib.io.files import write_volume
from MambaSynthLib.model.card import GridSpec, IntensitySpec
from MambaSynthTraining.data.dataset_files import SPLITS, write_dataset_files
from MambaSynthTraining.data.prepared import (
    FORMAT,
    Floats,
    PreparedData,
    PreparedSubject,
    check_separate,
    hash_of,
    open_prepared,
    slices_path,
    volume_path,
)


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
    groups: Mapping[str, str] = MappingProxyType({}),
    shares: Mapping[str, float] = MappingProxyType({}),
) -> PreparedData:
    """Write ``splits.json`` and ``dataset.json`` for subjects already written; returns them opened.

    ``groups`` names the group of a subject, ``shares`` the share of a group.
    Raises FileError when two splits share a subject; then neither file is written.
    """
    subjects = {
        split: tuple(_written(folder, subject) for subject in splits.get(split, ()))
        for split in SPLITS
    }
    check_separate(subjects)
    listed = {
        split: [
            {"subject": one.id, "sha256": one.sha256}
            | ({"group": groups[one.id]} if one.id in groups else {})
            for one in found
        ]
        for split, found in subjects.items()
    }
    data = {
        "format": FORMAT,
        "name": name,
        "contrasts": list(contrasts),
        "grid": asdict(grid),
        "intensity": asdict(intensity),
        "options": dict(options),
        **({"shares": dict(shares)} if shares else {}),
    }
    write_dataset_files(folder, data, listed)
    return open_prepared(folder)


def _written(folder: Path, subject: str) -> PreparedSubject:
    bare = PreparedSubject(folder, subject, "")
    return PreparedSubject(folder, subject, bare.attributes["sha256"])
