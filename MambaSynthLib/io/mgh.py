"""FreeSurfer's MGH: .mgz, compressed by gzip, and .mgh, plain; read, never written.

All numbers are big-endian; the image begins at byte 284 and ends before a footer of no fixed
length, which holds scan parameters and the commands that made the file. Source: the FreeSurfer
wiki, FsTutorial/MghFormat. Its fields are read here: nibabel takes a file without directions for
another orientation than FreeSurfer does, which says coronal (mriio.cpp, setDirectionCosine).
"""

from __future__ import annotations

import gzip
import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.volume import Affine
from MambaSynthLib.io.decoded import Asked, Decoded, Words
from MambaSynthLib.io.geometry import NO_PATIENT_GEOMETRY
from MambaSynthLib.io.payload import (
    GZIP,
    check_room,
    check_size,
    looks_like,
    read_image,
    shown,
    size_of,
)

# version, 4 sizes, type, degrees of freedom; whether valid are: voxel size, directions, middle
FIELDS = struct.Struct(">7ih15f")
IMAGE = 284  # byte at which the image begins
VERSION = 1  # the only one there is
TYPES = {0: "u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}
CORONAL = (-1, 0, 0, 0, 0, -1, 0, 1, 0)  # where the array's axes lead, in RAS
LONGEST_FOOTER = 2**24  # bytes; more is another slice


def decode(file: BinaryIO, path: Path, asked: Asked) -> Decoded:
    """The image in RAS, never a cine. Raises FileError for what the package docstring says."""
    name = shown(path)
    compressed = file.peek(2)[:2] == GZIP  # type: ignore[attr-defined]
    stream: Any = gzip.GzipFile(fileobj=file) if compressed else file
    start = stream.read(IMAGE)
    if len(start) < IMAGE or FIELDS.unpack_from(start)[0] != VERSION:
        raise FileError(
            f"{name}: is not a FreeSurfer image (it holds {looks_like(start)}); check what the "
            "file is, or save the image again."
        )
    _, *sizes, code, _, oriented = FIELDS.unpack_from(start)[:8]
    shape, dtype = _layout(sizes, code, name)
    count = math.prod(shape) * dtype.itemsize
    check_room(IMAGE + count, size_of(file), name, compressed=compressed)
    data, _ = read_image(stream, count, LONGEST_FOOTER, name)
    values: np.ndarray[Any, Any] = np.ndarray(shape, dtype, data, order="F")
    where = FIELDS.unpack_from(start)[8:] if oriented > 0 else (1, 1, 1, *CORONAL, 0, 0, 0)
    notes = () if oriented > 0 else (NO_PATIENT_GEOMETRY,)
    return Decoded(values, _affine(where, shape), "RAS", Words(), notes)


def words(stream: BinaryIO, name: str) -> Words:
    """None: the format has no place for them. Such a file is told by its sidecar."""
    return Words()


def is_mgh(start: bytes) -> bool:
    """Whether a file that begins so, unpacked, may be one."""
    if len(start) < FIELDS.size:
        return False
    version, *sizes = FIELDS.unpack_from(start)[:5]
    return bool(version == VERSION and min(sizes) > 0)


def _layout(
    sizes: Sequence[int], code: int, name: str
) -> tuple[tuple[int, int, int], np.dtype[Any]]:
    """Shape and stored type of what the header promises."""
    i, j, k, frames = sizes
    check_size((i, j, k), name)
    if frames != 1:
        raise FileError(
            f"{name}: holds {frames} frames, but one 3-D volume is needed; extract a single one "
            "first."
        )
    if code not in TYPES:
        raise FileError(
            f"{name}: holds values of the unknown type {code}; convert it with FreeSurfer's "
            "mri_convert first."
        )
    return (i, j, k), np.dtype(TYPES[code])


def _affine(where: Sequence[float], shape: tuple[int, int, int]) -> Affine:
    """Of the voxel's size, the directions of the three axes, and the middle of the image."""
    spacing, directions, middle = np.split(np.array(where, np.float64), [3, 12])
    affine = np.eye(4)
    affine[:3, :3] = directions.reshape(3, 3).T * spacing
    affine[:3, 3] = middle - affine[:3, :3] @ np.array(shape) / 2
    return affine
