"""Marks for an image file that another program has written; its voxels stay as they are.

| format    | its own mark                                                                    |
|-----------|---------------------------------------------------------------------------------|
| NIfTI     | descrip, aux_file, a comment extension with the record                          |
| NRRD      | key/values                                                                      |
| MetaImage | key/values                                                                      |
| all       | besides it the sidecar ``<stem>.json``, unless that belongs to another image    |

The same marks as those of ``files.write_volume``, but put into what is there: 3D Slicer writes its
volumes itself.
"""

from __future__ import annotations

import gzip
import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from MambaSynthLib.io import nifti
from MambaSynthLib.io.atomic import write_json, write_whole
from MambaSynthLib.io.formats import FORMATS, suffix_of
from MambaSynthLib.io.marks import parsed, read_record, sidecar_of
from MambaSynthLib.io.nifti_writing import AUX_FILE
from MambaSynthLib.io.nrrd_header import tag_lines
from MambaSynthLib.io.payload import opened, shown
from MambaSynthLib.provenance import MARK, TAG_PREFIX, UNCERTAINTY, Provenance

FAST = 1  # compression level: somebody is waiting
LONGEST_LINE = 2**20


@dataclass(frozen=True)
class Marks:
    """What to write: key/values, and the record of a sidecar."""

    tags: dict[str, str]
    record: dict[str, Any]
    description: str

    @classmethod
    def of(cls, provenance: Provenance | None) -> Marks:
        """None: somebody else marked the image, so there is no more than that to say."""
        if provenance is None:
            return cls({TAG_PREFIX + "mark": MARK}, {"Synthetic": True, "Warning": MARK}, MARK)
        words = f"{MARK}, {UNCERTAINTY}" if provenance.quantity else MARK
        return cls(provenance.to_tags(), provenance.to_bids(), words)


Rewrite = Callable[[BinaryIO, BinaryIO, Marks, str], None]


def mark_file(path: str | Path, provenance: Provenance | None) -> None:
    """Mark the image at ``path`` in every way its format allows, replacing former marks of ours.

    Raises FileError for a file that cannot be read as what its name says, or not be written; it is
    left as it was then.
    """
    path, marks = Path(path), Marks.of(provenance)
    rewrite = REWRITES.get(suffix_of(path))
    if rewrite is not None:

        def write(target: BinaryIO) -> None:
            with opened(path) as source:
                rewrite(source, target, marks, shown(path))

        write_whole(path, write)
    sidecar = sidecar_of(path)
    if not _belongs_to_another(sidecar, path):
        write_json(sidecar, marks.record)


def _belongs_to_another(sidecar: Path, path: Path) -> bool:
    """A sidecar that is there and says nothing of synthesis, or an image of the same stem."""
    if sidecar.exists():
        return read_record(sidecar).get("Synthetic") is not True
    stem = sidecar.name.removesuffix(".json")
    others = set(FORMATS) - {suffix_of(path)}
    return any((path.parent / (stem + suffix)).exists() for suffix in others)


# ------------------------------------------------------------------------------- text headers


def _nrrd(source: BinaryIO, target: BinaryIO, marks: Marks, name: str) -> None:
    """The key/values go to the end of the header, which an empty line ends."""
    _copy_header(source, target, lambda line: not line.strip())
    target.write("\n".join([*tag_lines(marks.tags), "", ""]).encode("ascii"))
    shutil.copyfileobj(source, target)


def _metaimage(source: BinaryIO, target: BinaryIO, marks: Marks, name: str) -> None:
    """The key/values go before the last line of the header, which says where the data are."""
    if last := _copy_header(source, target, lambda line: line.startswith(b"ElementDataFile")):
        target.write("".join(f"{k} = {v}\n" for k, v in marks.tags.items()).encode("ascii") + last)
    shutil.copyfileobj(source, target)


def _copy_header(source: BinaryIO, target: BinaryIO, ends: Callable[[bytes], bool]) -> bytes:
    """All lines but former marks of ours, up to the one that ends the header; that one is returned,
    and nothing where the file ends before it.
    """
    while (line := source.readline(LONGEST_LINE)) and not ends(line):
        if not line.startswith(TAG_PREFIX.encode()):
            target.write(line)
    return line


# -------------------------------------------------------------------------------------- NIfTI


def _nifti(source: BinaryIO, target: BinaryIO, marks: Marks, name: str) -> None:
    """The extension goes right behind the header, so the image begins later."""
    block, order = nifti.header_block(source, name)
    old = nifti.voxel_offset(block, order, name) - len(block)
    extensions = nifti.extensions(source.read(old), order)
    text = json.dumps(marks.record).encode("ascii")
    size = -(-(8 + len(text)) // 16) * 16  # a multiple of 16, which the standard asks for
    own = struct.pack(order + "ii", size, nifti.COMMENT) + text.ljust(size - 8, b"\0")
    others = b"".join(one for _, one in extensions if not _is_ours(one))
    header = bytearray(block)
    kind, place = nifti.OFFSETS[len(block)]
    struct.pack_into(order + kind, header, place, len(block) + 4 + len(own) + len(others))
    texts = {"descrip": marks.description.encode("ascii"), "aux_file": AUX_FILE}
    for field, (start, length) in nifti.TEXTS[len(block)].items():
        header[start : start + length] = texts[field][:length].ljust(length, b"\0")
    target.write(bytes(header) + b"\1\0\0\0" + own + others)
    shutil.copyfileobj(source, target)


def _is_ours(extension: bytes) -> bool:
    """Whether it is the record of a synthesis."""
    return parsed(extension[8:].rstrip(b"\0")).get("Synthetic") is True


def _compressed_nifti(source: BinaryIO, target: BinaryIO, marks: Marks, name: str) -> None:
    with (
        gzip.GzipFile(fileobj=source) as unpacked,
        gzip.GzipFile("", "wb", FAST, fileobj=target, mtime=0) as packed,
    ):
        _nifti(unpacked, packed, marks, name)  # type: ignore[arg-type]


REWRITES: dict[str, Rewrite] = {
    ".nii": _nifti,
    ".nii.gz": _compressed_nifti,
    ".nrrd": _nrrd,
    ".nhdr": _nrrd,
    ".mha": _metaimage,
    ".mhd": _metaimage,
}
