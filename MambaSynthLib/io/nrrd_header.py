"""The header of an NRRD file: lines of text, read and written. ``nrrd`` knows what they mean.

Source: the NRRD 5 format definition (Teem).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.volume import Affine
from MambaSynthLib.io.payload import looks_like
from MambaSynthLib.io.rawdata import text_lines

OTHER_NAMES = {"datafile": "data file", "lineskip": "line skip", "byteskip": "byte skip"}


@dataclass(frozen=True)
class Header:
    """The fields (``name: value``) and the key/values (``name:=value``) of a header."""

    fields: dict[str, str]
    tags: dict[str, str]


def read_header(stream: BinaryIO, name: str) -> Header:
    """Everything up to the empty line; leaves the stream at the first byte after it."""
    start = stream.read(8)
    if not re.fullmatch(rb"NRRD000[1-5]\r?\n?.?", start, re.DOTALL):
        raise FileError(
            f"{name}: is not an NRRD image (it holds {looks_like(start + stream.read(248))}); "
            "check what the file is, or save the image again."
        )
    stream.seek(0)
    fields: dict[str, str] = {}
    tags: dict[str, str] = {}
    for line in text_lines(stream, name):
        if not line:
            break
        if line.startswith(("#", "NRRD000")):
            continue
        if ":=" in line and (": " not in line or line.index(":=") < line.index(": ")):
            key, _, value = line.partition(":=")
            tags[_unescaped(key)] = _unescaped(value)
            continue
        key, separator, value = line.partition(":")
        key = OTHER_NAMES.get(key.strip().lower(), key.strip().lower())
        if not separator or key in fields:
            raise FileError(
                f"{name}: has the unreadable or repeated header line {line[:40]!r}; save it again."
            )
        fields[key] = value.strip()
    return Header(fields, tags)


def head(
    shape: tuple[int, ...],
    affine_lps: Affine,
    tags: dict[str, str],
    times_ms: tuple[float, ...] = (),
) -> bytes:
    """Everything before the gzip-compressed voxels, x first, of a volume (I,J,K).

    With ``times_ms`` it is a sequence as 3D Slicer writes one: the frames are the first axis, all
    values of a voxel side by side. Source: Slicer's manual, "Sequence of volumes file format".
    """
    vectors = ["(" + ",".join(map(repr, affine_lps[:3, axis].tolist())) + ")" for axis in range(4)]
    many = bool(times_ms)
    lines = [
        "NRRD0005",
        "type: float",
        f"dimension: {4 if many else 3}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, (len(times_ms), *shape) if many else shape))}",
        f"space directions: {'none ' * many}{' '.join(vectors[:3])}",
        f"kinds: {'list ' * many}domain domain domain",
        *(['labels: "time" "" "" ""', 'units: "ms" "" "" ""'] if many else []),
        "endian: little",
        "encoding: gzip",
        f"space origin: {vectors[3]}",
    ]
    if many:
        sequence = {
            "DataNodeClassName": "vtkMRMLScalarVolumeNode",
            "axis 0 index type": "numeric",
            "axis 0 index values": " ".join(f"{time:.10g}" for time in times_ms),
        }
        tags = {**sequence, **tags}
    return "\n".join([*lines, *tag_lines(tags), "", ""]).encode("ascii")


def tag_lines(tags: Mapping[str, str]) -> list[str]:
    """Key/values as lines of a header."""
    return [f"{_escaped(key)}:={_escaped(value)}" for key, value in tags.items()]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], text)
