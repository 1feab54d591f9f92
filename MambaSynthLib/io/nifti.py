"""NIfTI-1 and NIfTI-2 in one file, plain or gzip-compressed.

nibabel knows the fields; the checks come first, on the header alone, because a header that lies
makes any reader allocate, zero-fill or misplace. Source: the NIfTI-1.1 header, nifti1.h.
"""

from __future__ import annotations

import gzip
import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.decoded import Decoded
from MambaSynthLib.io.geometry import SAME_PLACE, Affine, displacement
from MambaSynthLib.io.nifti_geometry import Header, Prefer, patient_affine
from MambaSynthLib.io.payload import (
    check_room,
    check_size,
    looks_like,
    opened,
    read_exactly,
    read_image,
    shown,
)
from MambaSynthLib.provenance import MARK, Provenance

MAGIC = {348: (344, b"n+1\0", 352), 540: (4, b"n+2\0\r\n\x1a\n", 544)}  # place, magic, min offset
REAL_TYPES = {2, 4, 8, 16, 64, 256, 512, 768, 1024, 1280}  # NIfTI datatype codes
OTHER_TYPES = {1: "binary", 32: "complex", 128: "RGB", 1536: "float128", 1792: "complex",
               2048: "complex", 2304: "RGBA"}  # fmt: skip
COMMENT = 6  # extension code of plain text
AUX_FILE = b"SYNTHETIC MambaSynth"  # at most 24 bytes
MOST_EXTENSIONS = 2**24  # bytes
MOST_ALONG_AXIS = 2**15 - 1


def decode(path: Path, *, compressed: bool, prefer: Prefer = None) -> Decoded:
    """Read ``path`` in RAS. Raises FileError for what the package docstring says."""
    name = shown(path)
    with opened(path) as file:
        held = path.stat().st_size
        stream = _uncompressed(file, name) if compressed else file
        header, start = read_header(stream, name)
        shape, dtype = _layout(header, name)
        offset = _voxel_offset(header, name)
        count = math.prod(shape) * dtype.itemsize
        check_room(offset + count, held, name, compressed=compressed)
        read_exactly(stream, offset - start, name)  # header extensions
        data, data_notes = read_image(stream, count, count // shape[2], name)
    stored: np.ndarray[Any, Any] = np.ndarray(shape, dtype, data, order="F")
    values, notes = _rescaled(stored, header)
    affine, geometry_notes = patient_affine(header, shape, prefer, name)
    return Decoded(values, affine, "RAS", geometry_notes + notes + data_notes)


def read_header(stream: BinaryIO, name: str) -> tuple[Header, int]:
    """The header at the start of ``stream``, unchecked but recognized, and its length."""
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    block = stream.read(348)
    for order in "<>":
        length = struct.unpack(order + "i", block[:4])[0] if len(block) == 348 else 0
        if length not in MAGIC:
            continue
        block += stream.read(length - 348)
        place, magic, _ = MAGIC[length]
        if block[place : place + 4] in (b"ni1\0", b"ni2\0"):
            raise FileError(
                f"{name}: is the header of a .hdr/.img pair; save it as one .nii file first."
            )
        if len(block) == length and block[place : place + len(magic)] == magic:
            kind: Any = Nifti1Header if length == 348 else Nifti2Header
            return kind(block, endianness=order, check=False), length
    raise FileError(
        f"{name}: is not a NIfTI image (it holds {looks_like(block)}); check what the file is, "
        "or save the image again."
    )


def _uncompressed(file: BinaryIO, name: str) -> BinaryIO:
    if file.peek(2)[:2] != b"\x1f\x8b":  # type: ignore[attr-defined]
        start = file.read(348)
        remedy = "rename it to .nii" if start[344:347] == b"n+1" else "check what the file is"
        raise FileError(f"{name}: is not gzip-compressed (it holds {looks_like(start)}); {remedy}.")
    return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]


def _layout(header: Header, name: str) -> tuple[tuple[int, int, int], np.dtype[Any]]:
    """Shape and stored type of the one volume that the header promises."""
    sizes = [int(size) for size in header["dim"]]
    dimensions = sizes[0]
    if not 2 <= dimensions <= 7:
        raise FileError(f"{name}: states {dimensions} dimensions; a 3-D image is needed.")
    shape = tuple(sizes[1 : dimensions + 1])
    check_size(shape, name)
    if any(size != 1 for size in shape[3:]):
        raise FileError(
            f"{name}: has {dimensions} dimensions {shape}, but one 3-D volume is needed; extract "
            "a single volume first."
        )
    i, j, k = (*shape, 1)[:3]
    return (i, j, k), _stored_type(header, name)


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


def _voxel_offset(header: Header, name: str) -> int:
    offset = float(header["vox_offset"])
    least = MAGIC[int(header["sizeof_hdr"])][2]
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


def encode(values: np.ndarray[Any, Any], affine: Affine, provenance: Provenance | None) -> bytes:
    """An uncompressed NIfTI-1 image of float32 values on a RAS ``affine``, marked if synthetic.

    Both sform and qform are set (code 1, scanner), but the qform is left out where its float32
    quaternion cannot say the same as the sform to 1e-3 mm.
    """
    import nibabel

    if max(values.shape) > MOST_ALONG_AXIS:
        raise FileError(
            f"An image of {values.shape} voxels does not fit NIfTI-1, which has at most "
            f"{MOST_ALONG_AXIS} along an axis; write it as .nrrd."
        )
    image: Any = nibabel.Nifti1Image(values, affine)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    if displacement(image.get_qform(), image.get_sform(), values.shape) > SAME_PLACE:
        image.header["qform_code"] = 0
    if provenance is not None:
        record = json.dumps(provenance.to_bids()).encode("ascii")
        image.header["descrip"] = MARK.encode("ascii")
        image.header["aux_file"] = AUX_FILE
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(COMMENT, record))
    return bytes(image.to_bytes())


def texts(path: Path, *, compressed: bool) -> dict[str, str]:
    """The texts of a header that may hold a mark: where -> what. Raises FileError."""
    name = shown(path)
    with opened(path) as file:
        stream = _uncompressed(file, name) if compressed else file
        header, start = read_header(stream, name)
        block = stream.read(min(_voxel_offset(header, name) - start, MOST_EXTENSIONS))
    found = {
        f"NIfTI {field}": bytes(header[field].tobytes()).rstrip(b"\0").decode("latin-1")
        for field in ("descrip", "aux_file")
    }
    for number, comment in enumerate(_comments(block, header.endianness), start=1):
        found[f"NIfTI header extension {number}"] = comment
    return found


def _comments(block: bytes, order: str) -> Iterator[str]:
    """The comment extensions (code 6) in the bytes between the header and the image."""
    if block[:1] != b"\1":
        return
    place = 4
    while place + 8 <= len(block):
        size, code = struct.unpack_from(order + "ii", block, place)
        if size < 8:
            return  # damaged; what follows cannot be found
        if code == COMMENT:
            yield block[place + 8 : place + size].rstrip(b"\0").decode("utf-8", "replace")
        place += size
