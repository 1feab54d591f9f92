"""The formats of volumes in one table. A file is opened once, by ``files``, and read by its row.

To add a format: a module with these functions, a row here and in the tests ``test_files_*``.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import NDArray

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.volume import Affine
from MambaSynthLib.io import mgh, mha, nifti, nifti_writing, nrrd
from MambaSynthLib.io.decoded import Asked, Decoded, Frame, Words
from MambaSynthLib.io.payload import GZIP, shown
from MambaSynthLib.io.pictures import picture_words
from MambaSynthLib.provenance import Provenance

Encode = Callable[[NDArray[Any], Affine, Provenance | None], bytes]


@dataclass(frozen=True)
class Format:
    """How files of one suffix are read and written. All functions raise FileError.

    decode: the whole image from the start of its open file, whose path names a detached data file.
    words: the header alone, from the start of the open file; the name is for messages. None where
        the first bytes tell better than the name.
    encode: the bytes of a float32 image on an affine in ``frame``; None where none is written.
    cines: whether a file may hold frames.
    """

    decode: Callable[[BinaryIO, Path, Asked], Decoded]
    words: Callable[[BinaryIO, str], Words] | None = None
    encode: Encode | None = None
    frame: Frame = "LPS"
    cines: bool = False


def _nifti(compressed: bool) -> Format:
    decode, words, encode = (
        partial(function, compressed=compressed)
        for function in (nifti.decode, nifti.words, nifti_writing.encode)
    )
    return Format(decode, words, encode, "RAS", cines=True)  # type: ignore[arg-type]


FORMATS = {
    ".nii.gz": _nifti(compressed=True),
    ".nii": _nifti(compressed=False),
    ".nrrd": Format(nrrd.decode, nrrd.words, nrrd.encode, cines=True),
    ".nhdr": Format(nrrd.decode, nrrd.words),
    ".mha": Format(mha.decode, mha.words, mha.encode),
    ".mhd": Format(mha.decode, mha.words),
    ".mgz": Format(mgh.decode),
    ".mgh": Format(mgh.decode),
}
START = 256  # bytes that tell the format of a file
PICTURES = {".png": picture_words, ".gif": picture_words}  # reports, which keep a mark, too
READABLE = tuple(FORMATS)
WRITABLE = tuple(suffix for suffix, row in FORMATS.items() if row.encode)
CINES = tuple(suffix for suffix, row in FORMATS.items() if row.cines)


def suffix_of(path: Path) -> str:
    """The lower-case image suffix of ``path`` (``.nii.gz`` is one), or ''."""
    name = path.name.lower()
    return next((suffix for suffix in FORMATS if name.endswith(suffix)), "")


def format_of(path: Path) -> Format:
    """Raises FileError for a suffix that is not in the table."""
    suffix = suffix_of(path)
    if not suffix:
        raise FileError(
            f"{shown(path)}: is of no readable format; save it as one of {', '.join(READABLE)}."
        )
    return FORMATS[suffix]


def words_of(stream: BinaryIO, path: Path) -> Words:
    """What the header of an open image or picture says; where its name does not tell which format
    it is, its first bytes do. Raises FileError for other files.
    """
    row = FORMATS.get(suffix_of(path))
    by_name = row.words if row else PICTURES.get(path.suffix.lower())
    words = by_name or _words_by_content(stream)
    if words is None:
        known = ", ".join((*READABLE, *PICTURES, ".json"))
        raise FileError(f"{shown(path)}: is not a format I read; use one of {known}, or DICOM.")
    return words(stream, shown(path))


def _words_by_content(stream: BinaryIO) -> Callable[[BinaryIO, str], Words] | None:
    start = stream.read(START)
    stream.seek(0)
    compressed = start[:2] == GZIP
    if compressed:
        start = gzip.GzipFile(fileobj=stream).read(START)
        stream.seek(0)
    if nifti.is_nifti(start):
        return partial(nifti.words, compressed=compressed)
    if start.startswith((b"\x89PNG", b"GIF8")):
        return picture_words
    if mgh.is_mgh(start):
        return mgh.words
    if start.startswith(b"NRRD000"):
        return nrrd.words
    return mha.words if mha.is_metaimage(start) else None
