"""Folders of slices that others have prepared: images (CRAViM's loader) or arrays (Reg-GAN's).

    trainA/ trainB/ [valA/ valB/] testA/ testB/      PNG, TIFF, JPEG; the first channel counts
    train2D/A/ train2D/B/ [val2D/...] test2D/A/ ...  npy in [-1,1]

A holds the source, B the target. The split is the folders'. Slices named SUBJECT_NUMBER become
one subject each, all others of a folder one subject named after it. Slices correspond where both
folders hold the same names; elsewhere the subject is unpaired. Such slices have no geometry: their
pixels are taken for 1 mm, and their volume is the stack in order of names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import FileError, RequestError, VolumeError
from MambaSynthLib.image.volume import Volume
from MambaSynthTraining.data.found import Layout, Reading
from MambaSynthTraining.data.label_map import LabelMap

Kind = Literal["images", "arrays"]
FOLDERS = {"train": "train", "validation": "val", "test": "test"}
ENDINGS = {"images": (".png", ".tif", ".tiff", ".jpg", ".jpeg"), "arrays": (".npy",)}
NAME = re.compile(r"(?P<subject>.+)_(?:slice|z)?(?P<number>\d+)")
LPS_1MM = np.diag([-1.0, -1.0, 1.0, 1.0])  # columns to the left, rows to the back


@dataclass(frozen=True)
class SliceFiles:
    """A subject whose contrasts are stacks of two-dimensional files."""

    id: str
    files: dict[str, tuple[Path, ...]]
    split: str
    kind: Kind
    site: str = ""

    @property
    def patient(self) -> str:
        return self.id

    @property
    def contrasts(self) -> tuple[str, ...]:
        return tuple(self.files)

    @property
    def paired(self) -> bool:
        names = {tuple(path.stem for path in paths) for paths in self.files.values()}
        return len(self.files) > 1 and len(names) == 1

    def sources(self) -> list[Path]:
        return [path for paths in self.files.values() for path in paths]

    def settings(self) -> dict[str, Any]:
        return {"paired": self.paired}

    def read(self, reading: Reading) -> dict[str, Volume]:
        """Raises FileError or VolumeError for a slice that cannot be used."""
        return {contrast: self._stack(contrast) for contrast in self.files}

    def read_mask(self, reading: Reading) -> Volume | None:
        return None

    def read_labels(self, reading: Reading) -> LabelMap | None:
        return None

    def _stack(self, contrast: str) -> Volume:
        read = _read_image if self.kind == "images" else _read_array
        slices = [read(path) for path in self.files[contrast]]
        sizes = {one.shape for one in slices}
        if len(sizes) > 1:
            raise VolumeError(
                f"{self.id}: its {contrast} slices have the sizes {sorted(sizes)[:3]}; bring them "
                "to one size."
            )
        stack = np.stack(slices)  # (N,H,W)
        note = "no geometry: slices were stacked in order of names, pixels taken for 1 mm"
        return Volume(stack.transpose(2, 1, 0), LPS_1MM, f"{self.id} {contrast}", (note,))


def find(folder: Path, contrasts: Sequence[str], kind: Kind) -> Layout:
    """The subjects in the folders of ``folder``; ``contrasts`` are what A and B show.

    Raises RequestError where there is no training folder, not two contrasts, or a subject in two
    splits.
    """
    if len(contrasts) != 2:
        raise RequestError("A and B are two contrasts; name both, as in --contrasts T1w T2w.")
    found: dict[str, SliceFiles] = {}
    skipped = []
    for split in FOLDERS:
        for id, files in _subjects(folder, split, contrasts, kind):
            subject = SliceFiles(id, files, split, kind)
            if id in found:
                raise RequestError(
                    f"{id}: has slices in the splits {found[id].split} and {split}; a person may "
                    "be in one only, move or rename them."
                )
            if split != "train" and not subject.paired:
                skipped.append(
                    (id, f"its slices in A and B do not correspond, useless for {split}")
                )
            else:
                found[id] = subject
    if not any(subject.split == "train" for subject in found.values()):
        wanted = "trainA and trainB" if kind == "images" else "train2D/A and train2D/B"
        raise RequestError(
            f"{folder}: holds no slices ({', '.join(ENDINGS[kind])}) in {wanted}; name the folder "
            "that holds these two."
        )
    return Layout(list(found.values()), skipped)


def _subjects(
    folder: Path, split: str, contrasts: Sequence[str], kind: Kind
) -> Iterator[tuple[str, dict[str, tuple[Path, ...]]]]:
    """(subject, its files per contrast) of one split, in order of names."""
    grouped: dict[str, dict[str, list[Path]]] = {}
    for letter, contrast in zip("AB", contrasts, strict=True):
        name = FOLDERS[split]
        place = folder / (f"{name}{letter}" if kind == "images" else f"{name}2D/{letter}")
        for path in sorted(place.rglob("*")):
            if path.suffix.lower() in ENDINGS[kind]:
                match = NAME.fullmatch(path.stem)
                subject = match["subject"] if match else split
                grouped.setdefault(subject, {}).setdefault(contrast, []).append(path)
    for subject, files in grouped.items():
        yield subject, {contrast: tuple(paths) for contrast, paths in files.items()}


def _read_image(path: Path) -> NDArray[np.float32]:
    """(H,W) values of the first channel, as stored. Raises FileError."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            array = np.asarray(image.convert("RGB") if image.mode == "P" else image)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise FileError(f"{path.name}: is no readable picture; copy it again.") from error
    array = array[..., 0] if array.ndim == 3 else array
    return array.astype(np.float32)


def _read_array(path: Path) -> NDArray[np.float32]:
    """(H,W) values in [-1,1]. Raises FileError."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise FileError(f"{path.name}: is no readable npy array; copy it again.") from error
    array = np.squeeze(array)
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise FileError(
            f"{path.name}: holds an array {array.shape} of {array.dtype}, but one slice of numbers "
            "is needed."
        )
    if not (np.isfinite(array).all() and np.abs(array).max() <= 1.001):
        raise FileError(
            f"{path.name}: holds values outside [-1,1], so it is not Reg-GAN's data; scale it."
        )
    return array.astype(np.float32)
