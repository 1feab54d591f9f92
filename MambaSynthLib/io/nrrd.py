"""NRRD images: .nrrd with the data inside, .nhdr with the data in a file beside it.

The header is a few lines of text and the data one block, so both are read here, once: the numbers
that were checked are the numbers that are used. Source: the NRRD 5 format definition (Teem).
"""

from __future__ import annotations

import gzip
import math
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.volume import Affine
from MambaSynthLib.io.decoded import Asked, Decoded, Frame, Words
from MambaSynthLib.io.geometry import NO_PATIENT_GEOMETRY, in_millimeters, unit_note
from MambaSynthLib.io.nrrd_header import Header, head, read_header
from MambaSynthLib.io.payload import check_room, check_size, read_image, shown
from MambaSynthLib.io.rawdata import image_data, numbers, packed, whole_numbers
from MambaSynthLib.provenance import Provenance

TYPES = {
    "int8": "signed char, int8, int8_t",
    "uint8": "uchar, unsigned char, uint8, uint8_t",
    "int16": "short, short int, signed short, signed short int, int16, int16_t",
    "uint16": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "int32": "int, signed int, int32, int32_t",
    "uint32": "uint, unsigned int, uint32, uint32_t",
    "int64": "longlong, long long, long long int, signed long long, signed long long int, int64, "
    "int64_t",
    "uint64": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "float32": "float",
    "float64": "double",
}
TYPE_OF = {alias: dtype for dtype, aliases in TYPES.items() for alias in aliases.split(", ")}
FRAMES: dict[str, Frame] = {
    "right-anterior-superior": "RAS",
    "ras": "RAS",
    "left-anterior-superior": "LAS",
    "las": "LAS",
    "left-posterior-superior": "LPS",
    "lps": "LPS",
}
PLACE = "NRRD key/values"  # of marks
ENCODINGS = {"raw": False, "gzip": True, "gz": True}
TIME_UNITS = {"ms": 1.0, "msec": 1.0, "s": 1e3, "sec": 1e3}
UNITS = {"m": ("meters", 1e3), "um": ("micrometers", 1e-3), "micron": ("micrometers", 1e-3)}
VECTOR = re.compile(r"\([^()]*\)|none", re.IGNORECASE)


def decode(stream: BinaryIO, path: Path, asked: Asked) -> Decoded:
    """The image in its own frame. Raises FileError for what the package docstring says.

    Where frames are asked for, one axis is not of space, the first in Slicer's sequences.
    """
    name = shown(path)
    header = read_header(stream, name)
    sizes = whole_numbers(header.fields.get("sizes", ""), name, "sizes")
    check_size(sizes, name)
    listed = _list_axis(header, sizes) if asked.frames else None
    shape, affine, frame, notes = _grid(header, sizes, name, listed)
    dtype = _stored_type(header, name)
    with image_data(path, stream, header.fields.get("data file")) as (source, held, where):
        data, data_notes = _payload(source, held, header, sizes, dtype, where)
    values: np.ndarray[Any, Any] = np.ndarray(sizes, dtype, data, order="F")
    times = None
    if not asked.frames:
        values = values.reshape(shape, order="F")
    else:
        values = values[..., None] if listed is None else np.moveaxis(values, listed, -1)
        times = _times(header, listed, values.shape[-1])
    return Decoded(
        values, affine, frame, Words(tags=header.tags, where=PLACE), notes + data_notes, times
    )


def words(stream: BinaryIO, name: str) -> Words:
    """The key/values of the header. Raises FileError."""
    return Words(tags=read_header(stream, name).tags, where=PLACE)


def encode(
    values: np.ndarray[Any, Any], affine_lps: Affine, provenance: Provenance | None
) -> bytes:
    """A gzip-encoded NRRD of float32 values, with key/values if it is synthetic."""
    data = values.astype("<f4").tobytes(order="F")
    tags = provenance.to_tags() if provenance else {}
    return head(values.shape, affine_lps, tags) + packed(data)


def _grid(
    header: Header, sizes: tuple[int, ...], name: str, listed: int | None = None
) -> tuple[tuple[int, int, int], Affine, Frame, tuple[str, ...]]:
    """Shape of the one volume, or of each on the ``listed`` axis, index -> mm map, frame, and
    named warnings.
    """
    if header.fields.get("dimension") != str(len(sizes)):
        raise FileError(
            f"{name}: states {header.fields.get('dimension')} dimensions but the sizes {sizes}; "
            "the header is damaged, save the image again."
        )
    columns = _axes(header, len(sizes), name)
    kept = [axis for axis, column in enumerate(columns) if column is not None]
    if "space directions" not in header.fields:
        kept = list(range(min(3, len(sizes))))  # a trailing axis of size 1 is no dimension
    others = [axis for axis in range(len(sizes)) if axis not in kept and axis != listed]
    if len(kept) != 3 or any(sizes[axis] != 1 for axis in others):
        raise FileError(
            f"{name}: has {len(sizes)} dimensions {sizes}, but one 3-D scalar volume is "
            "needed; extract a single volume or component first."
        )
    affine = np.eye(4)
    affine[:3, :3] = np.array([columns[axis] for axis in kept]).T
    frame = FRAMES.get(header.fields.get("space", "").lower())
    notes: tuple[str, ...] = ()
    if "space origin" in header.fields:
        affine[:3, 3] = _vectors(header, "space origin", 1, name)[0]
    if frame is None or not {"space origin", "space directions"} <= header.fields.keys():
        notes += (NO_PATIENT_GEOMETRY,)
    unit, factor = _unit(header)
    if factor != 1:
        affine, notes = in_millimeters(affine, factor), notes + unit_note(unit)
    i, j, k = (sizes[axis] for axis in kept)
    return (i, j, k), affine, frame or "LPS", notes


def _list_axis(header: Header, sizes: tuple[int, ...]) -> int | None:
    """The axis that holds frames: the one of kind list or time, else the one not of space."""
    kinds = header.fields.get("kinds", "").lower().split()
    for axis, kind in enumerate(kinds[: len(sizes)]):
        if kind in ("list", "time"):
            return axis
    vectors = VECTOR.findall(header.fields.get("space directions", ""))
    others = [axis for axis, vector in enumerate(vectors) if vector.lower() == "none"]
    colors = [axis for axis, kind in enumerate(kinds) if "color" in kind or "vector" in kind]
    return others[0] if len(sizes) == 4 and len(others) == 1 and others != colors else None


def _times(header: Header, axis: int | None, count: int) -> tuple[float, ...] | None:
    """The index values of a sequence as ms; None where they are no times."""
    values = header.tags.get(f"axis {axis} index values", "").split()
    label, unit = (_quoted(header, field, axis) for field in ("labels", "units"))
    factor = TIME_UNITS.get(unit.lower())
    if factor is None and not unit and ("time" in label.lower() or "trigger" in label.lower()):
        factor = 1.0  # Slicer's importer of cine series counts in ms
    try:
        times = tuple(float(value) * (factor or 1.0) for value in values)
    except ValueError:  # names, not numbers
        return None
    return times if factor is not None and len(times) == count else None


def _quoted(header: Header, field: str, axis: int | None) -> str:
    """The text of one axis in a field such as ``labels: "time" "" "" ""``."""
    texts = re.findall(r'"([^"]*)"', header.fields.get(field, ""))
    return texts[axis] if axis is not None and axis < len(texts) else ""


def _axes(header: Header, dimensions: int, name: str) -> list[list[float] | None]:
    """The edge vector of each array axis, None where it is no axis of space."""
    if "space directions" in header.fields:
        return _vectors(header, "space directions", dimensions, name)
    if "spacings" not in header.fields:
        raise FileError(
            f"{name}: states no voxel size (neither space directions nor spacings); add it first."
        )
    sizes = numbers(header.fields["spacings"], name, "spacings")
    if len(sizes) != dimensions or not all(size > 0 for size in sizes[:3]):
        raise FileError(
            f"{name}: states the impossible voxel size {header.fields['spacings']}; correct the "
            "header first."
        )
    diagonal = np.diag(sizes[:3])
    return [[float(edge) for edge in column] for column in diagonal] + [None] * (dimensions - 3)


def _vectors(header: Header, field: str, count: int, name: str) -> list[Any]:
    """``count`` vectors of three numbers, or None for ``none``."""
    found = VECTOR.findall(header.fields[field])
    vectors = [
        None if text.lower() == "none" else numbers(text.strip("()"), name, field) for text in found
    ]
    if len(vectors) != count or any(len(vector) != 3 for vector in vectors if vector is not None):
        raise FileError(
            f"{name}: states {field} {header.fields[field]}, but {count} vectors of 3 numbers are "
            "needed; correct the header first."
        )
    return vectors


def _unit(header: Header) -> tuple[str, float]:
    units = set(re.findall(r'"([^"]*)"', header.fields.get("space units", "")))
    return UNITS.get(units.pop(), ("mm", 1.0)) if len(units) == 1 else ("mm", 1.0)


def _stored_type(header: Header, name: str) -> np.dtype[Any]:
    stated = header.fields.get("type", "").lower()
    if stated not in TYPE_OF:
        raise FileError(
            f"{name}: holds {stated or 'unknown'} values, but real numbers are needed; convert it "
            "to a scalar image first."
        )
    dtype = np.dtype(TYPE_OF[stated])
    endian = header.fields.get("endian", "little" if dtype.itemsize == 1 else "").lower()
    if endian not in ("little", "big"):
        raise FileError(f"{name}: states no byte order (endian: little or big); save it again.")
    return dtype.newbyteorder("<" if endian == "little" else ">")


def _payload(
    stream: BinaryIO,
    held: int,
    header: Header,
    sizes: tuple[int, ...],
    dtype: np.dtype[Any],
    name: str,
) -> tuple[bytearray, tuple[str, ...]]:
    """The bytes of the image, and named warnings."""
    encoding = header.fields.get("encoding", "").lower()
    skips = {header.fields.get(field, "0") for field in ("line skip", "byte skip")}
    if encoding not in ENCODINGS or skips != {"0"}:
        raise FileError(
            f"{name}: is stored with encoding {encoding!r} and skips {sorted(skips)}; save it with "
            "encoding raw or gzip and no skips."
        )
    count = math.prod(sizes) * dtype.itemsize
    check_room(count, held, name, compressed=ENCODINGS[encoding])
    source: Any = gzip.GzipFile(fileobj=stream) if ENCODINGS[encoding] else stream
    return read_image(source, count, count // sizes[-1], name)
