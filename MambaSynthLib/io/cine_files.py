"""Cines from files: 4-D NIfTI, Slicer sequences (.seq.nrrd), folders of frames or DICOM.

As strict as for volumes, see the package. Writing is in ``cine_writing``.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.cine import Cine, of_frames
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.cine_acdc import phases_beside
from MambaSynthLib.io.decoded import Asked, Prefer
from MambaSynthLib.io.dicom_files import holds_dicom
from MambaSynthLib.io.dicom_series import open_series
from MambaSynthLib.io.files import as_float32, open_image, read_volume, synthetic_note
from MambaSynthLib.io.formats import CINES, suffix_of
from MambaSynthLib.io.payload import opened, shown

TABLE = "frames.tsv"  # in a folder of frames: file, time_ms, acquired


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
    if (os.path.isdir(path) or not suffix_of(path)) and holds_dicom(path):
        return open_series(path, allow_synthetic=allow_synthetic).cine()
    if os.path.isdir(path):  # as Path.is_dir, but an impossible name is no error
        return _read_folder(path, prefer, nan_as_zero, allow_synthetic)
    name = shown(path)
    if suffix_of(path) not in CINES:
        with opened(path):  # which says better what is wrong with a missing file
            raise FileError(
                f"{name}: is no readable cine; give a 4-D {', '.join(CINES)}, or a folder."
            )
    image = open_image(path, Asked(prefer, frames=True))
    notes, mark = image.notes, image.mark
    stored: tuple[float, ...] = ()
    if mark is not None:
        if mark.certain and not allow_synthetic:
            raise FileError(
                f"{name}: holds synthetic frames already ({mark.where}); use an acquired cine, or "
                "allow it with --allow-synthetic-input."
            )
        notes += (synthetic_note(mark),)
        stored = mark.provenance.times_ms if mark.provenance else ()
    frames = []
    for array in np.moveaxis(image.values, -1, 0):
        values, value_notes = as_float32(array, name, nan_as_zero)
        frames.append(Volume(values, image.affine, name, notes + value_notes))
    times = stored if len(stored) == len(frames) else image.times_ms
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
    if not table:
        _check_numbers(files, name)
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
    parts = re.split(r"([0-9]+)", path.name)
    return [int(part) if part.isdecimal() else part for part in parts]


def _check_numbers(files: Sequence[Path], name: str) -> None:
    """Raises FileError where the names differ in one number, and that does not grow evenly: frames
    without a table of times are taken as evenly spaced.
    """
    rows = [_natural(path) for path in files]
    if len({len(row) for row in rows}) != 1:
        return
    varying = [column for column in zip(*rows, strict=True) if len(set(column)) > 1]
    if len(varying) != 1 or not all(isinstance(number, int) for number in varying[0]):
        return
    pairs = list(pairwise(varying[0]))
    least = min(after - before for before, after in pairs)
    for before, after in pairs:
        if after - before != least or not least:
            raise FileError(
                f"{name}: has a frame {before} and then {after}, but others are {least} apart; add "
                f"the frame that is missing, or state the times in {TABLE}."
            )


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
