"""Cines to files: 4-D NIfTI, Slicer sequences (.seq.nrrd), folders of frames.

Frames are written as they come, so that a cine of any length needs the memory of a few; all of it
is written or nothing.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io import nifti_writing, nrrd_header
from MambaSynthLib.io.atomic import Outputs, telling, within
from MambaSynthLib.io.cine_files import TABLE
from MambaSynthLib.io.files import hash_of_frames, sha256_of, write_marked, write_volume
from MambaSynthLib.io.formats import CINES, suffix_of
from MambaSynthLib.io.geometry import flipped
from MambaSynthLib.io.output import check_new_folder, check_output, is_folder_name
from MambaSynthLib.io.payload import shown
from MambaSynthLib.provenance import Provenance

CHUNK = 2**20  # bytes handled at once


def check_cine_output(
    path: Path, *, overwrite: bool = False, inputs: Iterable[Path] = (), room: int = 2**20
) -> None:
    """Refuse, before any computing, an output that could not be written. Raises FileError."""
    files = [Path(other) for other in inputs if Path(other).is_file()]
    if is_folder_name(path):
        check_new_folder(path, room=room)
        return
    if suffix_of(path) not in CINES:
        raise FileError(
            f"{shown(path)}: cannot be written in this format; use .nii.gz, .nii, .seq.nrrd, or a "
            "name without a suffix for a folder of frames."
        )
    check_output(path, overwrite=overwrite, inputs=files, room=room)


def write_cine(
    frames: Iterable[Volume],
    path: str | Path,
    provenance: Provenance,
    *,
    overwrite: bool = False,
    into: Outputs | None = None,
) -> list[Path]:
    """Write frames as they come, with the times and marks of ``provenance``; all or nothing.

    Returns the files written, which get their names with others where they go ``into`` a set. In a
    folder, only the synthetic frames are marked as such; a 4-D file is marked as a whole, and says
    which of its frames are acquired.

    Raises
    ------
    FileError: the output cannot be written, or another number of frames came than was announced.
    """
    path = Path(path)
    check_cine_output(path, overwrite=overwrite)
    with within(into) as files:
        if is_folder_name(path):
            return _write_folder(frames, path, provenance, files)
        writer = _Writer(iter(frames), path, provenance)
        image = (writer.write, writer.check, writer.voxels)
        return write_marked(files, path, image, provenance, overwrite)


class _Writer:
    """Streams a cine into a file and checks what arrived there."""

    def __init__(self, frames: Iterator[Volume], path: Path, provenance: Provenance) -> None:
        self._frames, self._path, self._provenance = frames, path, provenance
        self._suffix, self._count = suffix_of(path), len(provenance.times_ms)
        self._digest = hashlib.sha256()
        self._hashes: list[str] = []

    def voxels(self) -> str:
        """The hash of the voxels that were written."""
        return hash_of_frames(self._hashes)

    def write(self, stream: BinaryIO) -> None:
        first = next(self._frames, None)
        if first is None:
            raise FileError(f"{shown(self._path)}: there are no frames to write.")
        if self._suffix == ".nrrd":
            self._write_sequence(first, stream)
        else:
            self._write_nifti(first, stream)

    def _write_nifti(self, first: Volume, stream: BinaryIO) -> None:
        head = nifti_writing.head(
            (*first.shape, self._count), first.affine, self._provenance, self._provenance.times_ms
        )
        with _packing(stream, self._suffix == ".nii.gz") as packed:
            packed.write(head)
            for frame in self._counted(first):
                data = frame.astype("<f4").tobytes(order="F")
                self._digest.update(data)
                packed.write(data)
        self._offset = len(head)

    def _write_sequence(self, first: Volume, stream: BinaryIO) -> None:
        """The frames of a voxel lie side by side, so they are gathered on the disk first."""
        tags, times = self._provenance.to_tags(), self._provenance.times_ms
        head = nrrd_header.head(first.shape, flipped(first.affine, "LPS"), tags, times)
        stream.write(head)
        with tempfile.TemporaryFile(dir=self._path.parent) as scratch:
            for frame in self._counted(first):
                scratch.write(frame.astype("<f4").transpose(2, 1, 0).tobytes())
            shape = (self._count, *first.shape[::-1])
            scratch.flush()
            gathered = np.memmap(scratch, "<f4", "r", shape=shape)  # (F,K,J,I)
            rows = max(1, CHUNK // (4 * self._count * shape[3]))
            with _packing(stream, True) as packed:
                for k, j in product(range(shape[1]), range(0, shape[2], rows)):
                    data = np.moveaxis(gathered[:, k, j : j + rows], 0, -1).tobytes()  # (J,I,F)
                    self._digest.update(data)
                    packed.write(data)
            del gathered
        self._offset = len(head)

    def _counted(self, first: Volume) -> Iterator[NDArray[np.float32]]:
        """The frames' arrays; refuses another number, grid, NaN and infinity."""
        name, number = shown(self._path), 0
        frame: Volume | None = first
        while frame is not None:
            number += 1
            if number > self._count or frame.shape != first.shape:
                raise FileError(f"{name}: frame {number} does not fit the cine to be written.")
            if not np.all(np.isfinite(frame.array)):
                raise FileError(f"{name}: frame {number} holds NaN or infinite values.")
            self._hashes.append(sha256_of(frame))
            yield frame.array
            frame = next(self._frames, None)
        if number != self._count:
            raise FileError(f"{name}: {number} frames came instead of {self._count}.")

    def check(self, written: Path) -> None:
        """Read the file back: the voxels must be those that were handed in."""
        digest = hashlib.sha256()
        with open(written, "rb") as file:
            stream: Any = file
            if self._suffix == ".nrrd":
                file.seek(self._offset)
            if self._suffix != ".nii":
                stream = gzip.GzipFile(fileobj=file)
            if self._suffix != ".nrrd":
                stream.read(self._offset)
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
        if digest.digest() != self._digest.digest():
            raise FileError(
                f"{shown(self._path)}: does not read back as it was written; nothing was written, "
                "check the disk."
            )


def _packing(stream: BinaryIO, compressed: bool) -> Any:
    """A file to write to, compressed without time and name, so that equal data give equal bytes.

    The level is low: noise hardly packs, and frames are many.
    """
    if compressed:
        return gzip.GzipFile(filename="", mode="wb", compresslevel=3, fileobj=stream, mtime=0)
    return _Open(stream)


class _Open:
    """A stream that a ``with`` block does not close."""

    def __init__(self, stream: BinaryIO) -> None:
        self.write = stream.write

    def __enter__(self) -> _Open:
        return self

    def __exit__(self, *_: object) -> None:
        """The stream belongs to another."""


def _write_folder(
    frames: Iterable[Volume], path: Path, provenance: Provenance, files: Outputs
) -> list[Path]:
    """One file a frame and a table of their times."""
    rows = io.StringIO()
    table = csv.writer(rows, delimiter="\t", lineterminator="\n")
    table.writerow(("file", "time_ms", "acquired"))
    number, count = 0, len(provenance.times_ms)
    with telling(path):
        staging = files.folder(path)
        for number, frame in enumerate(frames, start=1):
            if number > count:
                raise FileError(f"{shown(path)}: more than {count} frames came.")
            acquired = number in provenance.acquired
            time = provenance.times_ms[number - 1]
            file = staging / f"frame-{number:04}.nii.gz"
            of_frame = replace(provenance, times_ms=(time,), acquired=())
            write_volume(frame, file, provenance=None if acquired else of_frame)
            table.writerow((file.name, f"{time:.10g}", "yes" if acquired else "no"))
        if number != count:
            raise FileError(f"{shown(path)}: {number} frames came instead of {count}.")
        (staging / TABLE).write_text(rows.getvalue(), encoding="utf-8")
    return [path / file.name for file in sorted(staging.iterdir())]
