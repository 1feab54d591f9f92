"""Cines to and from files: 4-D NIfTI, Slicer sequences (.seq.nrrd), folders of frames or DICOM.

Reading is as strict as for volumes (see the package); writing streams, so that a cine of any
length needs the memory of a few frames, and leaves all of it or nothing.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.cine import Cine, of_frames
from MambaSynthLib.errors import FileError
from MambaSynthLib.io import nifti, nrrd
from MambaSynthLib.io.acdc import phases_beside
from MambaSynthLib.io.atomic import commit_pair, staged, staged_from, telling
from MambaSynthLib.io.dicom_series import holds_dicom, read_series
from MambaSynthLib.io.files import as_float32, flipped, read_marks, read_volume, write_volume
from MambaSynthLib.io.geometry import check_affine
from MambaSynthLib.io.marks import sidecar_of, suffix_of
from MambaSynthLib.io.nifti_geometry import Prefer
from MambaSynthLib.io.output import check_output
from MambaSynthLib.io.payload import check_file, printable, shown
from MambaSynthLib.provenance import Provenance
from MambaSynthLib.volume import Volume

READABLE = (".nii", ".nii.gz", ".nrrd")
TABLE = "frames.tsv"  # in a folder of frames: file, time_ms, acquired
CHUNK = 2**20  # bytes handled at once


def read_cine(
    path: str | Path,
    *,
    prefer: Prefer = None,
    nan_as_zero: bool = False,
    allow_synthetic: bool = True,
) -> Cine:
    """The cine in a 4-D file, a folder of 3-D files, or a folder with a DICOM series.

    Options as for ``read_volume``. ED and ES are taken from an ACDC ``Info.cfg`` beside the file.

    Raises
    ------
    FileError: for all that cannot be read without guessing.
    VolumeError: fewer than two frames, on one grid, at growing times.
    """
    path = Path(path)
    if os.path.isdir(path):  # as Path.is_dir, but an impossible name is no error
        if holds_dicom(path):
            return read_series(path, allow_synthetic=allow_synthetic)
        return _read_folder(path, prefer, nan_as_zero, allow_synthetic)
    name, suffix = shown(path), suffix_of(path)
    check_file(path)
    if suffix not in READABLE:
        raise FileError(
            f"{name}: is no readable cine; give a 4-D {', '.join(READABLE)}, or a folder."
        )
    with np.errstate(over="ignore", invalid="ignore"):  # headers hold any number; all are checked
        if suffix == ".nrrd":
            decoded = nrrd.decode(path, frames=True)
        else:
            compressed = suffix == ".nii.gz"
            decoded = nifti.decode(path, compressed=compressed, prefer=prefer, frames=True)
        affine = flipped(decoded.affine, decoded.frame)
        notes = decoded.notes + check_affine(affine, name)
    mark = read_marks(path)
    stored: tuple[float, ...] = ()
    if mark is not None:
        if mark.certain and not allow_synthetic:
            raise FileError(
                f"{name}: holds synthetic frames already ({mark.where}); use an acquired cine, or "
                "allow it with --allow-synthetic-input."
            )
        notes += (f"synthetic source: {mark.where}: {mark.text}",)
        stored = mark.provenance.times_ms if mark.provenance else ()
    arrays = np.moveaxis(decoded.values, -1, 0)
    frames = []
    for array in arrays:
        values, value_notes = as_float32(array, name, nan_as_zero)
        frames.append(Volume(values, affine, name, notes + value_notes))
    times = stored if len(stored) == len(frames) else decoded.times_ms
    return _with_phases(of_frames(frames, times, name), path)


def _with_phases(cine: Cine, path: Path) -> Cine:
    phases, notes = phases_beside(path, len(cine.frames))
    if phases is None and not notes and len(cine.frames) > 2:
        return cine
    known = phases or cine.phases
    return Cine(cine.frames, cine.times_ms, cine.name, cine.notes + notes, known)


def _read_folder(folder: Path, prefer: Prefer, nan_as_zero: bool, allow_synthetic: bool) -> Cine:
    """Frames in the order of ``frames.tsv``, else of the numbers in their names."""
    name = shown(folder.resolve())
    table = _read_table(folder)
    files = [folder / file for file, _ in table] or sorted(
        (path for path in folder.iterdir() if suffix_of(path)), key=_natural
    )
    if not files:
        raise FileError(
            f"{name}: holds neither DICOM nor image files; name a folder with one file a frame."
        )
    frames = [
        read_volume(file, prefer=prefer, nan_as_zero=nan_as_zero, allow_synthetic=allow_synthetic)
        for file in files
    ]
    return of_frames(frames, [time for _, time in table] or None, name)


def _natural(path: Path) -> list[Any]:
    """Orders frame-2 before frame-10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)]


def _read_table(folder: Path) -> list[tuple[str, float]]:
    path = folder / TABLE
    if not path.is_file():
        return []
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t"))
        return [(Path(row["file"]).name, float(row["time_ms"])) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise FileError(
            f"{TABLE}: is no table with the columns file and time_ms ({error}); correct or remove "
            "it."
        ) from error


# --- writing --------------------------------------------------------------------------------------


def is_folder_name(path: Path) -> bool:
    """Whether an output is meant as a folder of frames: its name has no image suffix."""
    return suffix_of(path) == "" and path.suffix == ""


def check_cine_output(
    path: Path, *, overwrite: bool = False, inputs: Iterable[Path] = (), room: int = 2**20
) -> None:
    """Refuse, before any computing, an output that could not be written. Raises FileError."""
    files = [Path(other) for other in inputs if Path(other).is_file()]
    if is_folder_name(path):
        check_output(path.with_name(path.name + ".nii.gz"), marked=False, room=room)
        if path.exists() or path.is_symlink():
            raise FileError(
                f"{shown(path)}: exists already; a folder is never replaced, choose another name."
            )
        return
    if suffix_of(path) not in READABLE:
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
) -> list[Path]:
    """Write frames as they come, with the times and marks of ``provenance``; all or nothing.

    Returns the files written. In a folder, only the synthetic frames are marked as such; a 4-D
    file is marked as a whole, and says which of its frames are acquired.

    Raises
    ------
    FileError: the output cannot be written, or another number of frames came than was announced.
    """
    path = Path(path)
    check_cine_output(path, overwrite=overwrite)
    if is_folder_name(path):
        return _write_folder(frames, path, provenance)
    record = json.dumps(provenance.to_bids(), indent=2) + "\n"
    sidecar = sidecar_of(path)
    writer = _Writer(iter(frames), path, provenance)
    with staged_from(path, writer.write, writer.check) as image_file:
        with staged(sidecar, record.encode("ascii")) as sidecar_file:
            commit_pair(image_file, path, sidecar_file, sidecar)
    return [path, sidecar]


class _Writer:
    """Streams a cine into a file and checks what arrived there."""

    def __init__(self, frames: Iterator[Volume], path: Path, provenance: Provenance) -> None:
        self._frames, self._path, self._provenance = frames, path, provenance
        self._suffix, self._count = suffix_of(path), len(provenance.times_ms)
        self._digest = hashlib.sha256()

    def write(self, stream: BinaryIO) -> None:
        first = next(self._frames, None)
        if first is None:
            raise FileError(f"{shown(self._path)}: there are no frames to write.")
        if self._suffix == ".nrrd":
            self._write_sequence(first, stream)
        else:
            self._write_nifti(first, stream)

    def _write_nifti(self, first: Volume, stream: BinaryIO) -> None:
        head = nifti.head(
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
        head = nrrd.head(first.shape, flipped(first.affine, "LPS"), tags, times)
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


def _write_folder(frames: Iterable[Volume], path: Path, provenance: Provenance) -> list[Path]:
    """One file a frame and a table of their times, renamed into place at the end."""
    with telling(path):
        staging = Path(tempfile.mkdtemp(prefix=f".{printable(path.name)}-", dir=path.parent))
    try:
        rows = io.StringIO()
        table = csv.writer(rows, delimiter="\t", lineterminator="\n")
        table.writerow(("file", "time_ms", "acquired"))
        number, count = 0, len(provenance.times_ms)
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
        with telling(path):
            (staging / TABLE).write_text(rows.getvalue(), encoding="utf-8")
            staging.chmod(0o755)
            staging.rename(path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return sorted(path.iterdir())
