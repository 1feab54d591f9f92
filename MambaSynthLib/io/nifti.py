"""NIfTI-1 and NIfTI-2 in one file, plain or gzip-compressed, read; ``nifti_writing`` writes them.

nibabel knows the fields; the checks come first, on the header alone, because a header that lies
makes any reader allocate, zero-fill or misplace. Source: the NIfTI-1.1 header, nifti1.h.
"""

from __future__ import annotations

import gzip
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.decoded import Asked, Decoded, Words
from MambaSynthLib.io.nifti_geometry import Header, patient_affine
from MambaSynthLib.io.payload import (
    GZIP,
    check_room,
    check_size,
    looks_like,
    read_exactly,
    read_image,
    shown,
    size_of,
)

MAGIC = {348: (344, b"n+1\0", 352), 540: (4, b"n+2\0\r\n\x1a\n", 544)}  # place, magic, min offset
PAIRS = (b"ni1\0", b"ni2\0", bytes(4))  # magic of an .hdr file, the last one of Analyze
REAL_TYPES = {2, 4, 8, 16, 64, 256, 512, 768, 1024, 1280}  # NIfTI datatype codes
OTHER_TYPES = {1: "binary", 32: "complex", 128: "RGB", 1536: "float128", 1792: "complex",
               2048: "complex", 2304: "RGBA"}  # fmt: skip
TIME_UNITS = {8: 1e3, 16: 1.0, 24: 1e-3}  # xyzt_units & 0x38 -> ms
TEXTS = {
    348: {"descrip": (148, 80), "aux_file": (228, 24)},
    540: {"descrip": (240, 80), "aux_file": (320, 24)},
}  # fmt: skip (place and length)
OFFSETS = {348: ("f", 108), 540: ("q", 168)}  # type and place of vox_offset
COMMENT = 6  # extension code of plain text
MOST_EXTENSIONS = 2**24  # bytes


def decode(file: BinaryIO, path: Path, asked: Asked, *, compressed: bool) -> Decoded:
    """The image in RAS. Raises FileError for what the package docstring says."""
    name = shown(path)
    stream = _uncompressed(file, name) if compressed else file
    header, start = read_header(stream, name)
    shape, dtype = _layout(header, name, asked.frames)
    block = header.binaryblock
    offset = voxel_offset(block, header.endianness, name)
    count = math.prod(shape) * dtype.itemsize
    check_room(offset + count, size_of(file), name, compressed=compressed)
    between = read_exactly(stream, offset - start, name)
    data, data_notes = read_image(stream, count, count // math.prod(shape[2:]), name)
    stored: np.ndarray[Any, Any] = np.ndarray(shape, dtype, data, order="F")
    values, notes = _rescaled(stored, header)
    i, j, k = shape[:3]
    affine, geometry_notes = patient_affine(header, (i, j, k), asked.prefer, name)
    times = frame_times(header, shape[3]) if asked.frames else None
    all_notes = geometry_notes + notes + data_notes
    said = _words(block, header.endianness, bytes(between))
    return Decoded(values, affine, "RAS", said, all_notes, times)


def is_nifti(start: bytes) -> bool:
    """Whether a file that begins so may be NIfTI, one file or a pair, or its ancestor Analyze."""
    return any(start[:4] == struct.pack(order + "i", length) for order in "<>" for length in MAGIC)


def read_header(stream: BinaryIO, name: str) -> tuple[Header, int]:
    """The header at the start of ``stream``, unchecked but recognized, and its length."""
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    block, order = header_block(stream, name)
    kind: Any = Nifti1Header if len(block) == 348 else Nifti2Header
    return kind(block, endianness=order, check=False), len(block)


def header_block(stream: BinaryIO, name: str, *, pairs: bool = False) -> tuple[bytes, str]:
    """The bytes of the header at the start of ``stream``, and their order, < or >.

    ``pairs`` allows that of an .img/.hdr pair, whose image lies elsewhere.
    """
    block = stream.read(348)
    for order in "<>":
        length = struct.unpack(order + "i", block[:4])[0] if len(block) == 348 else 0
        if length not in MAGIC:
            continue
        block += stream.read(length - 348)
        place, magic, _ = MAGIC[length]
        if block[place : place + 4] in PAIRS[: 3 if pairs else 2]:
            if not pairs:
                raise FileError(
                    f"{name}: is the header of a .hdr/.img pair; save it as one .nii file first."
                )
            magic = b""
        if len(block) == length and block[place : place + len(magic)] == magic:
            return block, order
    raise FileError(
        f"{name}: is not a NIfTI image (it holds {looks_like(block)}); check what the file is, "
        "or save the image again."
    )


def _uncompressed(file: BinaryIO, name: str) -> BinaryIO:
    if file.peek(2)[:2] != GZIP:  # type: ignore[attr-defined]
        start = file.read(348)
        remedy = "rename it to .nii" if start[344:347] == b"n+1" else "check what the file is"
        raise FileError(f"{name}: is not gzip-compressed (it holds {looks_like(start)}); {remedy}.")
    return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]


def frame_times(header: Header, count: int) -> tuple[float, ...] | None:
    """Times in ms of ``count`` frames by pixdim[4], toffset and the unit; None if not stated."""
    factor = TIME_UNITS.get(int(header["xyzt_units"]) & 0x38)
    step, start = float(header["pixdim"][4]), float(header["toffset"])
    if factor is None or not (math.isfinite(step) and step > 0):
        return None
    start = start if math.isfinite(start) else 0.0
    return tuple((start + step * number) * factor for number in range(count))


def _layout(header: Header, name: str, frames: bool) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape (I,J,K) or, with ``frames``, (I,J,K,F) and stored type of what the header promises."""
    sizes = [int(size) for size in header["dim"]]
    dimensions = sizes[0]
    if not 2 <= dimensions <= 7:
        raise FileError(
            f"{name}: states {dimensions} dimensions, but a 3-D image is needed; save it again."
        )
    shape = tuple(sizes[1 : dimensions + 1])
    check_size(shape, name)
    kept = 4 if frames else 3
    if any(size != 1 for size in shape[kept:]):
        needed = "a cine of scalar frames" if frames else "one 3-D volume"
        raise FileError(
            f"{name}: has {dimensions} dimensions {shape}, but {needed} is needed; extract a "
            f"single {'component' if frames else 'volume'} first."
        )
    return (*shape, 1, 1)[:kept], _stored_type(header, name)


def _stored_type(header: Header, name: str) -> np.dtype[Any]:
    code = int(header["datatype"])
    if code not in REAL_TYPES:
        raise FileError(
            f"{name}: holds {OTHER_TYPES.get(code, 'unknown')} values (NIfTI datatype {code}), "
            "but real numbers are needed; convert it to a scalar image first."
        )
    dtype: np.dtype[Any] = header.get_data_dtype()
    if int(header["bitpix"]) != 8 * dtype.itemsize:
        raise FileError(
            f"{name}: states {int(header['bitpix'])} bits a voxel but its type {dtype.name} has "
            f"{8 * dtype.itemsize}; the header is damaged, save the image again."
        )
    return dtype


def voxel_offset(block: bytes, order: str, name: str) -> int:
    """Where the image begins, by the header ``block``. Raises FileError where that cannot be."""
    kind, place = OFFSETS[len(block)]
    offset = float(struct.unpack_from(order + kind, block, place)[0])
    least = MAGIC[len(block)][2]
    if not (math.isfinite(offset) and offset >= least and offset == int(offset)):
        raise FileError(
            f"{name}: states that the image begins at byte {offset:g}, but it must be a whole "
            f"number from {least} on; the header is damaged, save the image again."
        )
    return int(offset)


def _rescaled(
    stored: np.ndarray[Any, Any], header: Header
) -> tuple[np.ndarray[Any, Any], tuple[str, ...]]:
    """slope * stored + intercept; slope 0 means "not scaled" by the standard."""
    from nibabel.volumeutils import apply_read_scaling

    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0:
        return stored, ()
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        return stored, (
            f"not rescaled: scl_slope {slope:g} and scl_inter {intercept:g} are no numbers to "
            "scale with, so the stored values were taken",
        )
    if (slope, intercept) == (1, 0):
        return stored, ()
    return np.asarray(apply_read_scaling(stored, slope, intercept)), ()


def words(file: BinaryIO, name: str, *, compressed: bool) -> Words:
    """What the header says, also that of an .img/.hdr pair; nibabel is not needed for that.

    Raises FileError.
    """
    stream = _uncompressed(file, name) if compressed else file
    block, order = header_block(stream, name, pairs=True)
    one_file = block[MAGIC[len(block)][0] :][:2] == b"n+"
    length = voxel_offset(block, order, name) - len(block) if one_file else MOST_EXTENSIONS
    return _words(block, order, stream.read(min(length, MOST_EXTENSIONS)))


def _words(block: bytes, order: str, between: bytes) -> Words:
    """The texts of a header and of the bytes between it and the image."""
    found = {
        f"NIfTI {field}": block[place : place + length].rstrip(b"\0").decode("latin-1")
        for field, (place, length) in TEXTS[len(block)].items()
    }
    comments = [
        one[8:].rstrip(b"\0") for code, one in extensions(between, order) if code == COMMENT
    ]
    for number, comment in enumerate(comments, start=1):
        found[f"NIfTI header extension {number}"] = comment.decode("utf-8", "replace")
    return Words(found)


def extensions(between: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Code and bytes, from its size on, of each extension between the header and the image."""
    place = 4 if between[:1] == b"\1" else len(between)
    while place + 8 <= len(between):
        size, code = struct.unpack_from(order + "ii", between, place)
        if size < 8:
            return  # damaged; what follows cannot be found
        yield code, between[place : place + size]
        place += size
