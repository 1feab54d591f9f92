"""Bytes from a file that may be anything: nothing is allocated before it can be there.

A header is a promise. It is compared with what the file can hold, then the bytes are read in
small steps; a file that ends early, fails a checksum or goes on for another slice is refused.
"""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from MambaSynthLib.errors import FileError

LARGEST = 2**29  # voxels: 2 GiB as float32; a head at 0.3 mm has 3e8
CHUNK = 2**22
LONGEST_NAME = 255  # letters; no file system here has longer ones
DEFLATE_RATIO = 1032  # deflate cannot pack more bytes than this into one
GZIP = b"\x1f\x8b"  # a gzip-compressed file begins so
DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)


def printable(text: str) -> str:
    """``text`` on one line and free of control characters."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def shown(path: Path) -> str:
    """The base name of ``path`` for messages; folders are left out, they may name a person."""
    name = path.name or str(path)  # "." and "/" have no name
    return printable(name if len(name) <= LONGEST_NAME else f"{name[:80]}...")


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular, non-empty file for reading bytes.

    Raises
    ------
    FileError: missing, a folder, a pipe or device, a symlink loop, empty, not permitted; or
        damaged compression and errors of the disk while the caller reads.
    """
    name = shown(path)
    try:
        _check_regular(path, name)
        with open(path, "rb") as stream:
            yield stream
    except FileNotFoundError as error:
        raise FileError(f"{name}: does not exist; check the name and the folder.") from error
    except DAMAGED as error:
        raise FileError(
            f"{name}: the compressed data are damaged ({error}); copy or download it again."
        ) from error
    except OSError as error:
        raise FileError(
            f"{name}: cannot be read ({error.strerror or error}); check the file."
        ) from error


def size_of(file: BinaryIO) -> int:
    """The bytes of an open file, however many of them were read."""
    return os.fstat(file.fileno()).st_size


def _check_regular(path: Path, name: str) -> None:
    """Look before opening: open() would wait forever on a pipe."""
    try:
        status = os.stat(path)
    except ValueError as error:  # a NUL or a lone surrogate
        raise FileError(f"{name}: is no possible file name; check the name.") from error
    if stat.S_ISDIR(status.st_mode):
        raise FileError(f"{name}: is a folder; name one image file in it.")
    if not stat.S_ISREG(status.st_mode):
        raise FileError(f"{name}: is a pipe or a device; save it to a file first.")
    if status.st_size == 0:
        raise FileError(f"{name}: is empty (0 bytes); copy or download it again.")


def looks_like(start: bytes) -> str:
    """What a file that is no image seems to hold, in words."""
    text = start.lstrip()[:256].lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, perhaps the error message of a failed download"
    if start.startswith(GZIP):
        return "gzip-compressed data, so that its name should end in .gz"
    if text and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in text):
        return "text"
    return "other data"


def check_size(shape: tuple[int, ...], name: str) -> int:
    """How many voxels ``shape`` has; refuses sizes below 1 and volumes beyond ``LARGEST``."""
    voxels = 1
    for size in shape:
        if size < 1:
            raise FileError(f"{name}: the header states the impossible size {shape}; restore it.")
        voxels *= size
    if voxels > LARGEST:
        raise FileError(
            f"{name}: states {' x '.join(map(str, shape))} voxels, more than the {LARGEST} that "
            "can be handled; crop or resample it first."
        )
    return voxels


def check_room(promised: int, held: int, name: str, *, compressed: bool) -> None:
    """Refuse a header that promises more bytes than ``held`` bytes of file can give."""
    most = held * DEFLATE_RATIO + CHUNK if compressed else held
    if promised > most:
        raise FileError(
            f"{name}: the header promises {promised} bytes of image but the file holds only "
            f"{held}{' compressed' if compressed else ''}; it is truncated or its header is "
            "damaged, copy it again."
        )


def read_exactly(stream: BinaryIO, count: int, name: str) -> bytearray:
    """The next ``count`` bytes; the memory grows with what is really there."""
    data = bytearray()
    while len(data) < count:
        chunk = stream.read(min(CHUNK, count - len(data)))
        if not chunk:
            raise _ends_early(len(data), count, name)
        data += chunk
    return data


def read_image(
    stream: BinaryIO, count: int, slice_bytes: int, name: str
) -> tuple[bytearray, tuple[str, ...]]:
    """The ``count`` bytes of an image up to the end of the file, and named warnings.

    Some programs pad files, but another whole slice means that the header is wrong. Reading to
    the end also has the checksums of gzip checked.
    """
    data = read_exactly(stream, count, name)
    extra = 0
    while chunk := stream.read(CHUNK):
        extra += len(chunk)
        if extra >= slice_bytes:
            raise _goes_on(name)
    return data, _padding_note(extra)


def inflate_image(
    stream: BinaryIO, count: int, slice_bytes: int, name: str
) -> tuple[bytearray, tuple[str, ...]]:
    """As :func:`read_image`, from a zlib stream (MetaImage) with its Adler checksum."""
    machine = zlib.decompressobj(wbits=47)  # 32 + 15: a zlib or a gzip header
    data = bytearray(machine.decompress(stream.read(), count + slice_bytes))
    extra = len(data) - count
    if extra >= slice_bytes:
        raise _goes_on(name)
    if extra < 0 or not machine.eof:
        raise _ends_early(len(data), count, name)
    del data[count:]
    return data, _padding_note(extra)


def _ends_early(found: int, count: int, name: str) -> FileError:
    return FileError(
        f"{name}: ends after {found} of {count} bytes of image; it is truncated, copy it again."
    )


def _goes_on(name: str) -> FileError:
    return FileError(
        f"{name}: holds at least one slice more than its header states; the header is wrong, "
        "export the image again."
    )


def _padding_note(extra: int) -> tuple[str, ...]:
    return (f"trailing bytes: {extra} bytes after the image were ignored",) if extra else ()
