"""Volumes between two processes: in a folder of one user's, or in memory.

In the folder lie NumPy archives that keep every bit of the grid. They are no format for keeping
images (no marks, no provenance) and stay for the length of one run. Unlike NIfTI, the affine stays
float64 and may be oblique in any way, and no package besides NumPy is needed on either side.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.payload import shown
from MambaSynthLib.server.parcels import result_head, source_of, voxels_of


class Exchange(Protocol):
    """How the volumes of a run come in and go out."""

    attached: list[memoryview]  # what is to be sent with the event that ends the run

    def load(self, given: Any) -> Volume:
        """A source, by what the request says of it."""

    def save(self, volume: Volume, name: str) -> Any:
        """Put a result where the other side finds it; what the event says of it."""


class InFolder:
    """Files in the private folder of the run; see ``save_volume``."""

    def __init__(self, folder: Path):
        self.attached: list[memoryview] = []
        self._folder = folder

    def load(self, given: Any) -> Volume:
        return load_volume(given)

    def save(self, volume: Volume, name: str) -> str:
        return str(save_volume(volume, self._folder / f"{name}.npz"))


class InMemory:
    """Attachments of the messages; nothing is written anywhere."""

    def __init__(self, given: Sequence[bytes | bytearray]):
        self.attached: list[memoryview] = []
        self._given = given

    def load(self, given: Any) -> Volume:
        return source_of(given, self._given)

    def save(self, volume: Volume, name: str) -> dict[str, Any]:
        self.attached.append(voxels_of(volume))
        return result_head(volume, len(self.attached) - 1)


def save_volume(volume: Volume, path: str | Path) -> Path:
    """Write array, affine and name to ``path`` (``.npz``). Raises FileError when it cannot."""
    path = Path(path)
    try:
        with open(path, "wb") as file:
            np.savez(
                file,
                array=volume.array,
                affine=volume.affine,
                name=np.array(volume.name),
                notes=np.array(volume.notes, dtype=np.str_),
            )
    except OSError as error:
        raise FileError(
            f"{path.name}: the temporary folder {path.parent} cannot be written "
            f"({error.strerror}); free some space or choose another temporary folder."
        ) from error
    return path


def load_volume(path: str | Path) -> Volume:
    """Undo :func:`save_volume`. Raises FileError where the file is missing or damaged."""
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            return Volume(
                archive["array"],
                archive["affine"],
                str(archive["name"]),
                tuple(str(note) for note in archive["notes"]),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise FileError(f"{shown(path)}: the exchanged volume is missing or damaged.") from error
