"""MetaImage: .mha with the data inside, .mhd with the data in a file beside it.

Read and written like NRRD, in one pass. World axes are LPS, as ITK has it; ``TransformMatrix``
lists the direction of each array axis in turn. Source: the MetaIO documentation (Kitware).
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.volume import Affine, spacing
from MambaSynthLib.io.decoded import Asked, Decoded, Words
from MambaSynthLib.io.geometry import NO_PATIENT_GEOMETRY
from MambaSynthLib.io.payload import (
    check_room,
    check_size,
    inflate_image,
    looks_like,
    read_image,
    shown,
)
from MambaSynthLib.io.rawdata import image_data, in_steps, numbers, text_lines, whole_numbers
from MambaSynthLib.provenance import Provenance

TYPES = {
    "MET_CHAR": "int8",
    "MET_UCHAR": "uint8",
    "MET_SHORT": "int16",
    "MET_USHORT": "uint16",
    "MET_INT": "int32",
    "MET_UINT": "uint32",
    "MET_LONG_LONG": "int64",
    "MET_ULONG_LONG": "uint64",
    "MET_FLOAT": "float32",
    "MET_DOUBLE": "float64",
}
OTHER_NAMES = {
    "Position": "Offset",
    "Origin": "Offset",
    "Rotation": "TransformMatrix",
    "Orientation": "TransformMatrix",
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
}
PLACE = "MetaImage key/values"  # of marks
FIRST_KEYS = ("ObjectType", "NDims", "Comment", "ObjectSubType")


def decode(stream: BinaryIO, path: Path, asked: Asked) -> Decoded:
    """The image in LPS, never a cine. Raises FileError for what the package docstring says."""
    name = shown(path)
    fields = read_header(stream, name)
    shape = _shape(fields, name)
    affine, notes = _affine(fields, name)
    dtype = _stored_type(fields, name)
    data_file = fields["ElementDataFile"]
    detached = None if data_file.upper() == "LOCAL" else data_file
    with image_data(path, stream, detached) as (source, held, where):
        data, data_notes = _payload(source, held, fields, shape, dtype, where)
    values: np.ndarray[Any, Any] = np.ndarray(shape, dtype, data, order="F")
    return Decoded(values, affine, "LPS", Words(tags=fields, where=PLACE), notes + data_notes)


def words(stream: BinaryIO, name: str) -> Words:
    """The key/values of the header. Raises FileError."""
    return Words(tags=read_header(stream, name), where=PLACE)


def is_metaimage(start: bytes) -> bool:
    """Whether a file that begins so may be MetaImage."""
    return start.lstrip().startswith(tuple(key.encode() for key in FIRST_KEYS))


def read_header(stream: BinaryIO, name: str) -> dict[str, str]:
    """All ``Key = Value`` lines; ElementDataFile is the last one."""
    start = stream.read(256)
    if not is_metaimage(start):
        raise FileError(
            f"{name}: is not a MetaImage (it holds {looks_like(start)}); check what the file is, "
            "or save the image again."
        )
    stream.seek(0)
    fields: dict[str, str] = {}
    for line in text_lines(stream, name):
        key, separator, value = (part.strip() for part in line.partition("="))
        key = OTHER_NAMES.get(key, key)
        if not separator or key in fields:
            raise FileError(
                f"{name}: has the unreadable or repeated header line {line[:40]!r}; save it again."
            )
        fields[key] = value
        if key == "ElementDataFile":
            return fields
    raise FileError(f"{name}: its header does not say where the data are; save it again.")


def encode(
    values: np.ndarray[Any, Any], affine_lps: Affine, provenance: Provenance | None
) -> bytes:
    """A compressed MetaImage of float32 values, with key/values if it is synthetic."""
    sizes = spacing(affine_lps)
    directions = (affine_lps[:3, :3] / sizes).T  # row i: direction of array axis i
    machine = zlib.compressobj(level=6)
    steps = map(machine.compress, in_steps(values.astype("<f4").tobytes(order="F")))
    data = b"".join((*steps, machine.flush()))
    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "CompressedDataSize": str(len(data)),
        "TransformMatrix": " ".join(map(repr, directions.ravel().tolist())),
        "Offset": " ".join(map(repr, affine_lps[:3, 3].tolist())),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": " ".join(map(repr, sizes.tolist())),
        "DimSize": " ".join(map(str, values.shape)),
        **(provenance.to_tags() if provenance else {}),
        "ElementType": "MET_FLOAT",
        "ElementDataFile": "LOCAL",
    }
    header = "".join(f"{key} = {value}\n" for key, value in fields.items())
    return header.encode("ascii") + data


def _shape(fields: dict[str, str], name: str) -> tuple[int, int, int]:
    sizes = whole_numbers(fields.get("DimSize", ""), name, "DimSize")
    channels = fields.get("ElementNumberOfChannels", "1")
    check_size(sizes, name)
    if fields.get("NDims") != str(len(sizes)):
        raise FileError(
            f"{name}: states {fields.get('NDims')} dimensions but the size {sizes}; the header is "
            "damaged, save the image again."
        )
    if channels != "1" or len(sizes) < 3 or any(size != 1 for size in sizes[3:]):
        raise FileError(
            f"{name}: has {len(sizes)} dimensions {sizes} and {channels} channels, but one 3-D "
            "scalar volume is needed; extract a single volume or component first."
        )
    return sizes[0], sizes[1], sizes[2]


def _affine(fields: dict[str, str], name: str) -> tuple[Affine, tuple[str, ...]]:
    """Index -> LPS mm, and named warnings."""
    dimensions = int(fields["NDims"])
    sizes = _numbers(fields, "ElementSpacing", "ElementSize", dimensions, name)
    if not all(1e-6 < size < 1e6 for size in sizes[:3]):
        raise FileError(
            f"{name}: states the impossible voxel size {tuple(sizes)}; correct the header first."
        )
    stated = {"TransformMatrix", "Offset"} <= fields.keys()
    affine = np.eye(4)
    if "TransformMatrix" in fields:
        matrix = _numbers(fields, "TransformMatrix", "", dimensions**2, name)
        affine[:3, :3] = np.reshape(matrix, (dimensions, dimensions))[:3, :3].T
    if "Offset" in fields:
        affine[:3, 3] = _numbers(fields, "Offset", "", dimensions, name)[:3]
    affine[:3, :3] *= sizes[:3]
    return affine, () if stated else (NO_PATIENT_GEOMETRY,)


def _numbers(fields: dict[str, str], field: str, other: str, count: int, name: str) -> list[float]:
    """Exactly ``count`` numbers from ``field``, or from the ``other`` where it is missing."""
    text = fields.get(field, fields.get(other, ""))
    found = numbers(text, name, field)
    if len(found) != count:
        raise FileError(
            f"{name}: states {field} {text[:60]!r}, but {count} numbers are needed; correct the "
            "header first."
        )
    return found


def _stored_type(fields: dict[str, str], name: str) -> np.dtype[Any]:
    stated = fields.get("ElementType", "unknown")
    if stated not in TYPES:
        raise FileError(
            f"{name}: holds {stated} values, but real numbers are needed; convert it to a scalar "
            "image first."
        )
    big = _is_true(fields, "BinaryDataByteOrderMSB")
    return np.dtype(TYPES[stated]).newbyteorder(">" if big else "<")


def _payload(
    stream: BinaryIO,
    held: int,
    fields: dict[str, str],
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    name: str,
) -> tuple[bytearray, tuple[str, ...]]:
    """The bytes of the image, and named warnings."""
    if fields.get("HeaderSize", "0") != "0" or not _is_true(fields, "BinaryData"):
        raise FileError(
            f"{name}: holds text data or a header to skip; save it with BinaryData = True and no "
            "HeaderSize."
        )
    count = math.prod(shape) * dtype.itemsize
    compressed = _is_true(fields, "CompressedData")
    check_room(count, held, name, compressed=compressed)
    read = inflate_image if compressed else read_image
    return read(stream, count, count // shape[2], name)


def _is_true(fields: dict[str, str], field: str) -> bool:
    return fields.get(field, "False")[:1] in "Tt1"
