"""Which files of a folder are DICOM, and which should have been.

A slice whose file arrived empty, cut or without its preamble is named and not overlooked: at the
end of a stack nobody would miss it. Source: DICOM PS3.10 7.1 (preamble and prefix).
"""

from __future__ import annotations

import io
import os
import re
import zlib
from pathlib import Path
from typing import Any

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.payload import looks_like, shown

MOST_FILES = 20_000
MOST_INFLATED = 2**26  # bytes of a file that is deflated as a whole, which few programs write
START = 132  # bytes: a preamble of 128 and the magic word
GROUP_LENGTH_END = START + 12  # from where the length of the first group counts
USUAL = {".dcm", ".dic", ".dicom", ".ima"}  # suffixes of slices
BYSTANDERS = ("DICOMDIR", "THUMBS.DB", "DESKTOP.INI")
BARE = re.compile(rb"[\x02\x08]\x00..(?:[A-Z]{2}|..\x00\x00)", re.DOTALL)  # a first element


def data_set_of(path: Path, tags: list[Any] | None = None, *, pixels: bool = True) -> Any:
    """The data set of a DICOM file, all of it or some ``tags``.

    Raises FileError where it would unpack to gigabytes, and whatever pydicom raises.
    """
    import pydicom

    meta = pydicom.filereader.read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != pydicom.uid.DeflatedExplicitVRLittleEndian:
        return pydicom.dcmread(path, specific_tags=tags, stop_before_pixels=not pixels)
    with open(path, "rb") as stream:
        stream.seek(GROUP_LENGTH_END + meta.FileMetaInformationGroupLength)
        inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream.read(), MOST_INFLATED)
    if len(inflated) == MOST_INFLATED:
        raise FileError(
            f"{shown(path)}: unpacks to {MOST_INFLATED} bytes or more; export it without deflation."
        )
    found = pydicom.filereader.read_dataset(io.BytesIO(inflated), False, True, specific_tags=tags)
    return pydicom.FileDataset(path, found, file_meta=meta)


def is_dicom(path: Path) -> bool:
    """By the magic word; a DICOMDIR is none."""
    try:
        return _start(path)[128:] == b"DICM" and path.name.upper() != "DICOMDIR"
    except OSError:
        return False


def holds_dicom(path: Path) -> bool:
    """Whether ``path`` is a DICOM file, or a folder of which one of the first files is."""
    if os.path.isdir(path):  # as Path.is_dir, but an impossible name is no error
        return any(is_dicom(file) for file in files_in(path)[:20])
    return os.path.isfile(path) and is_dicom(path)


def files_in(folder: Path) -> list[Path]:
    """Raises FileError for a folder that cannot be read or holds too many."""
    return [path for path in _entries(folder) if path.is_file()]


def slice_files(folder: Path) -> list[Path]:
    """The DICOM files of ``folder``.

    Raises FileError for another file that has a slice's name or a slice's first bytes; pictures,
    tables and the like may lie beside a series.
    """
    entries = _entries(folder)
    found = [path for path in entries if path.is_file() and is_dicom(path)]
    suffixes = USUAL | {_suffix(path) for path in found}
    for path in sorted(set(entries) - set(found)):
        problem = _problem(path, suffixes)
        if problem:
            raise FileError(
                f"{shown(path)}: {problem}; copy it again, or remove it from the folder if it is "
                "no slice."
            )
    return found


def _entries(folder: Path) -> list[Path]:
    """Everything but folders, sorted: a link that leads nowhere may have been a slice."""
    try:
        found = sorted(path for path in folder.iterdir() if not path.is_dir())
    except OSError as error:
        raise FileError(
            f"{shown(folder)}: cannot be read ({error.strerror}); check the folder."
        ) from error
    if len(found) > MOST_FILES:
        raise FileError(
            f"{shown(folder)}: holds {len(found)} files, more than {MOST_FILES}; name a folder "
            "with one series."
        )
    return found


def _start(path: Path) -> bytes:
    with open(path, "rb") as stream:
        return stream.read(START)


def _suffix(path: Path) -> str:
    """In lower case; '' also for the last number of a UID or a counter, as in ``1.2.840.17``."""
    return "" if path.suffix[1:].isdecimal() else path.suffix.lower()


def _problem(path: Path, suffixes: set[str]) -> str:
    """Why a file that is no DICOM cannot be left aside; '' where it can."""
    if path.name.startswith(".") or path.name.upper() in BYSTANDERS:
        return ""
    suffix = _suffix(path)
    numbered = any(char.isdecimal() for char in path.name)  # unlike README or LICENSE
    named = suffix in suffixes and (suffix != "" or numbered)
    if not path.is_file():
        return "is no file that can be read (a link that leads nowhere, or a pipe)" if named else ""
    try:
        start = _start(path)
    except OSError as error:
        return f"cannot be read ({error.strerror})" if named else ""
    if BARE.match(start):
        return "lacks the preamble of a DICOM file"
    if not named:
        return ""
    if not start:
        return "is empty (0 bytes)"
    if len(start) < START:
        return f"ends after {len(start)} bytes, within the preamble of a DICOM file"
    return f"is no DICOM file (it holds {looks_like(start)})"
