"""What a layout finds: subjects whose images can be read, and those that cannot be used.

A layout (ixi.py, brats2018.py, globbed.py, slice_folders.py, phantom_subjects.py) looks at names
only. Reading happens in the worker that prepares the subject.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.image.intensity import background
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import read_volume
from MambaSynthTraining.data.label_map import LabelMap


@dataclass(frozen=True)
class Reading:
    """How files are read; see ``MambaSynthLib.io.files.read_volume``."""

    prefer: Literal["sform", "qform"] | None = None
    nan_as_zero: bool = False


class Found(Protocol):
    """One subject of a layout. Small, so that it can be sent to another process."""

    @property
    def id(self) -> str: ...  # names its files in the prepared folder

    @property
    def patient(self) -> str: ...  # all subjects of one patient go to one split

    @property
    def site(self) -> str: ...  # '' where unknown

    @property
    def split(self) -> str | None: ...  # where the layout itself says so

    @property
    def contrasts(self) -> tuple[str, ...]: ...

    def sources(self) -> list[Path]: ...  # every file that is read; their hashes are recorded

    def settings(self) -> dict[str, Any]: ...  # what else its volumes depend on

    def read(self, reading: Reading) -> dict[str, Volume]: ...  # contrast -> volume

    def read_mask(self, reading: Reading) -> Volume | None: ...  # on the grid of the first contrast

    def read_labels(self, reading: Reading) -> LabelMap | None: ...  # the same


@dataclass(frozen=True)
class Layout:
    """The subjects of a data set, and (name, reason) of what was skipped already.

    ``groups`` names the group of subjects whose slices have a share of their own in training.
    """

    subjects: Sequence[Found]
    skipped: Sequence[tuple[str, str]] = field(default=())
    groups: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class VolumeFiles:
    """A subject with one image file (or DICOM folder) per contrast, perhaps a brain mask and a map
    of labels with the names of those that count.

    Mask and labels lie on the grid of the first contrast. ``stripped`` demands an empty background.
    """

    id: str
    files: Mapping[str, Path]
    patient: str
    site: str = ""
    split: str | None = None
    mask: Path | None = None
    stripped: bool = False
    labels: Path | None = None
    names: Mapping[int, str] = field(default_factory=dict)

    @property
    def contrasts(self) -> tuple[str, ...]:
        return tuple(self.files)

    def sources(self) -> list[Path]:
        named = [*self.files.values(), *([self.mask] if self.mask else [])]
        return [file for path in named for file in _files_of(path)]

    def settings(self) -> dict[str, Any]:
        """The labels count here and not as a source: those of two people may be equal, all 0."""
        labels = {} if self.labels is None else {"labels": hash_of_file(self.labels)}
        return {"mask": self.mask is not None, **labels}

    def read(self, reading: Reading) -> dict[str, Volume]:
        """Raises FileError or VolumeError for an image that cannot be used."""
        volumes = {contrast: _read(path, reading) for contrast, path in self.files.items()}
        for volume in volumes.values() if self.stripped else ():
            if not background(volume.array).any():
                raise VolumeError(
                    f"{volume.name}: has no empty background, so it is not skull-stripped as this "
                    "data set should be; use 'dataset paired' for it."
                )
        return volumes

    def read_mask(self, reading: Reading) -> Volume | None:
        return None if self.mask is None else _read(self.mask, reading)

    def read_labels(self, reading: Reading) -> LabelMap | None:
        return None if self.labels is None else LabelMap(_read(self.labels, reading), self.names)


def hash_of_file(path: Path) -> str:
    """sha256 of its bytes; '' for a file that cannot be read: reading it will say why."""
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""


def _files_of(path: Path) -> list[Path]:
    return sorted(one for one in path.iterdir() if one.is_file()) if path.is_dir() else [path]


def _read(path: Path, reading: Reading) -> Volume:
    return read_volume(
        path, prefer=reading.prefer, nan_as_zero=reading.nan_as_zero, allow_synthetic=False
    )
