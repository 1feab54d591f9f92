"""May an image be written here? Asked before any compute, and again just before writing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.atomic import is_empty_folder
from MambaSynthLib.io.formats import WRITABLE, suffix_of
from MambaSynthLib.io.marks import read_record, sidecar_of
from MambaSynthLib.io.payload import shown


def check_output(
    path: str | Path,
    *,
    overwrite: bool = False,
    inputs: Sequence[str | Path] = (),
    marked: bool = True,
    room: int = 2**20,
) -> None:
    """Refuse an output that could not be written or would do harm.

    Parameters
    ----------
    path: the image to be written.
    overwrite: whether an existing image, and its sidecar if it is ours, may be replaced.
    inputs: files that must not be the output under another name (links, other letter case).
    marked: whether a sidecar will be written too, as for every synthetic image.
    room: bytes that must be free on the disk.

    Raises
    ------
    FileError: in one sentence, what is wrong and what to do.
    """
    path = Path(path)
    name = shown(path)
    if suffix_of(path) not in WRITABLE:
        raise FileError(
            f"{name}: cannot be written in this format; use one of {', '.join(WRITABLE)}."
        )
    try:
        _check_folder(path.parent, name, room)
        if any(_same_file(path, other) for other in inputs):
            raise FileError(f"{name}: is the input itself; choose another output name.")
        if marked and any(_share_sidecar(path, Path(other)) for other in inputs):
            raise FileError(
                f"{name}: would share its sidecar with an input, which would then count as "
                "synthetic; choose another output name."
            )
        _check_replaceable(path, overwrite)
        if marked:
            _check_sidecar(path, overwrite)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise FileError(f"{name}: cannot be written ({reason}); choose another name.") from error


def is_folder_name(path: Path) -> bool:
    """Whether an output is meant as a folder: its name has no image suffix."""
    return suffix_of(path) == "" and path.suffix == ""


def check_new_folder(path: Path, *, room: int = 2**20) -> None:
    """Refuse a folder that could not be made whole, or that is there and holds something.

    ``room`` bytes must be free on the disk. Raises FileError.
    """
    name = shown(path.absolute())
    try:
        _check_folder(path.parent, name, room)
        if _is_there(path) and not is_empty_folder(path):
            raise FileError(
                f"{name}: exists already; a folder is never replaced, choose another name."
            )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileError(f"{name}: cannot be written ({reason}); choose another name.") from error


def _same_file(path: Path, other: str | Path) -> bool:
    return os.path.exists(path) and os.path.exists(other) and os.path.samefile(path, other)


def _share_sidecar(path: Path, other: Path) -> bool:
    return sidecar_of(path).resolve() == sidecar_of(other).resolve()


def _is_there(path: Path) -> bool:
    """As os.path.lexists, which however takes an impossible name for a free one."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True


def _check_sidecar(path: Path, overwrite: bool) -> None:
    sidecar = sidecar_of(path)
    if _is_there(sidecar) and read_record(sidecar).get("Synthetic") is not True:
        raise FileError(
            f"{shown(path)}: would replace {shown(sidecar)}, which describes another image; choose "
            "another output name."
        )
    _check_replaceable(sidecar, overwrite)


def _check_folder(folder: Path, name: str, room: int) -> None:
    if not folder.exists():
        raise FileError(f"{name}: its folder does not exist; create the folder first.")
    if not folder.is_dir():
        raise FileError(f"{name}: its folder is a file; choose another folder.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise FileError(f"{name}: its folder is read-only; choose another folder.")
    free = shutil.disk_usage(folder).free
    if free < room:
        raise FileError(f"{name}: the disk has only {free} bytes left; free space first.")


def _check_replaceable(path: Path, overwrite: bool) -> None:
    if not _is_there(path):
        return
    if not path.is_symlink() and not path.is_file():
        raise FileError(f"{shown(path)}: exists and is no file; choose another output name.")
    if not overwrite:
        raise FileError(f"{shown(path)}: exists already; choose another name or use --overwrite.")
