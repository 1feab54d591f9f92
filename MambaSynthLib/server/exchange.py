"""Volumes between two processes of one user: NumPy archives that keep every bit of the grid.

Not a format for keeping images: no marks, no provenance. They live in a private folder for the
length of one run. Unlike NIfTI, the affine stays float64 and may be oblique in any way, and no
package besides NumPy is needed on either side.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.volume import Volume


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
        raise FileError(f"{path.name}: the exchanged volume is missing or damaged.") from error
