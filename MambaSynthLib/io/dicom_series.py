"""One DICOM series of parallel slices, each acquired once or at several times.

What is no single series, or not readable, is refused with the reason; ``dicom_slice`` reads each
slice and ``dicom_stack`` puts them in place. Source: DICOM PS3.3 C.8.3.1 (MR Image).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.cine import Cine, of_frames
from MambaSynthLib.image.volume import Affine, Volume
from MambaSynthLib.io.dicom_files import is_dicom, slice_files
from MambaSynthLib.io.dicom_marks import image_type, mark_in_dataset
from MambaSynthLib.io.dicom_slice import AGREED, Slice, read_slices
from MambaSynthLib.io.dicom_stack import SAME_TIME_MS, affine_of, by_place, by_time, thickness_note
from MambaSynthLib.io.dicom_values import values_of
from MambaSynthLib.io.modality import check_modality
from MambaSynthLib.io.payload import opened, shown

MEASURED = ("PixelSpacing", "ImageOrientationPatient", "EchoTime")  # and rounded by some writers
SAME_DIRECTION = 1e-4  # between direction cosines


@dataclass(frozen=True)
class Series:
    """The slices of a series, put in place.

    stacks: for each position along the normal its slices, in the order of their times; as many
    everywhere. affine: (4,4) column, row, slice index -> RAS mm. notes: named warnings.
    in_files: whether there are images to refer to; see ``dicom_bare`` for a series without.
    """

    name: str
    stacks: list[list[Slice]]
    affine: Affine
    notes: tuple[str, ...]
    in_files: bool = True

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, slices."""
        first = self.stacks[0][0].dataset
        return int(first.Columns), int(first.Rows), len(self.stacks)

    def volume(self) -> Volume:
        """Of slices that are there once. Raises FileError for a cine, and for damaged pixels."""
        if len(self.stacks[0]) != 1:
            raise FileError(
                f"{self.name}: holds {len(self.stacks[0])} times of each slice; use it with "
                "'mambasynth cine', or keep one time."
            )
        return self._frame(0)

    def cine(self) -> Cine:
        """Raises VolumeError for one time only, which is a volume, FileError for damaged pixels."""
        frames, times = [], []
        for n in range(len(self.stacks[0])):
            frames.append(self._frame(n))
            of_frame = [stack[n].time for stack in self.stacks]
            times.append(np.array([time for time in of_frame if time is not None]))
        if any(len(of_frame) != len(self.stacks) for of_frame in times):
            return of_frames(frames, None, self.name)
        spread = max(float(np.ptp(of_frame)) for of_frame in times)
        medians = [float(np.median(of_frame)) for of_frame in times]
        cine = of_frames(frames, medians, self.name)
        if spread <= SAME_TIME_MS:
            return cine
        note = f"trigger times differ by up to {spread:g} ms between slices; their median was taken"
        return Cine(cine.frames, cine.times_ms, self.name, (*cine.notes, note), cine.phases)

    def images(self) -> tuple[Volume, ...]:
        """The frames of a cine, or the one volume. Raises as these do."""
        return self.cine().frames if len(self.stacks[0]) > 1 else (self.volume(),)

    def frame_like(self, image: Volume, time_ms: float) -> int | None:
        """Which frame is exactly ``image``, by number from 0; of several, that nearest in time."""
        apart = [abs((one.time or 0.0) - time_ms) for one in self.stacks[0]]
        for n in map(int, np.argsort(apart, kind="stable")):
            slices = zip(self.stacks, np.moveaxis(image.array, -1, 0), strict=True)
            if all(np.array_equal(values_of(stack[n]).T, array) for stack, array in slices):
                return n
        return None

    def _frame(self, n: int) -> Volume:
        """(I,J,K): columns, rows, slices."""
        slices = [values_of(stack[n]).T for stack in self.stacks]
        return Volume(np.stack(slices, axis=-1), self.affine, self.name, self.notes)


def open_series(path: Path, *, allow_synthetic: bool = True) -> Series:
    """The series in a folder, or in one multi-frame file; pixels are decoded when asked for.

    Raises
    ------
    FileError: no DICOM, several series, patients or frames of reference, damaged files among the
        slices, missing or doubled slices, other geometry in one of them, unequal numbers of times,
        gantry tilt, synthetic files where they are not allowed.
    """
    name = shown(path.resolve())
    files = slice_files(path) if path.is_dir() else [_multi_frame_file(path)]
    slices = _slices_in(files, name)
    if path.is_file() and slices[0].frame is None:
        raise FileError(f"{name}: is one slice of a series; name the folder that holds them all.")
    return _assembled(slices, name, allow_synthetic)


def series_of(files: Sequence[Path], name: str, *, allow_synthetic: bool = True) -> Series:
    """The series in ``files``, wherever they lie; ``name`` is for messages. Raises as above."""
    return _assembled(_slices_in(files, name), name, allow_synthetic)


def _slices_in(files: Sequence[Path], name: str) -> list[Slice]:
    slices = [one for file in files for one in read_slices(file)]
    if not slices:
        raise FileError(f"{name}: holds no DICOM files; name a folder with one series.")
    return slices


def _assembled(slices: list[Slice], name: str, allow_synthetic: bool) -> Series:
    _check_one_series(slices, name)
    notes = _notes(slices, name, allow_synthetic)
    stacks = by_place(slices)
    counts = sorted({len(stack) for stack in stacks})
    if len(counts) > 1:
        worst = next(n for n, stack in enumerate(stacks) if len(stack) != len(stacks[0]))
        raise FileError(
            f"{name}: slice {worst + 1} has {len(stacks[worst])} times but slice 1 has "
            f"{len(stacks[0])}; complete the series, or remove what is too much."
        )
    stacks = [by_time(stack, name) for stack in stacks]
    notes += thickness_note(stacks)
    return Series(name, stacks, affine_of(slices, stacks, name), notes)


def _multi_frame_file(path: Path) -> Path:
    with opened(path):
        if not is_dicom(path):
            raise FileError(
                f"{shown(path)}: is no DICOM; name a folder with one series, or a file of Enhanced "
                "MR."
            )
    return path


def _check_one_series(slices: list[Slice], name: str) -> None:
    first = slices[0]
    series = {str(one.dataset.get("SeriesInstanceUID", "")) for one in slices}
    if len(series) > 1:
        raise FileError(
            f"{name}: holds {len(series)} DICOM series; put one of them into a folder of its own."
        )
    for one in slices:
        for keyword, what in AGREED.items():
            if not _equal(one.dataset.get(keyword), first.dataset.get(keyword), keyword):
                raise FileError(
                    f"{name}: {one.name} and {first.name} have different {what}; put slices of "
                    "one kind into a folder of their own."
                )
    parts = {one.path: one.image.get("InConcatenationTotalNumber") for one in slices}
    stated = max((int(total or 0) for total in parts.values()), default=0)
    if stated > len(parts):
        raise FileError(
            f"{name}: holds {len(parts)} of the {stated} files that its frames were divided into; "
            "export the whole series."
        )


def _equal(one: Any, other: Any, keyword: str) -> bool:
    if keyword in MEASURED and None not in (one, other) and "" not in (one, other):
        return np.allclose(np.array(one, float), np.array(other, float), atol=SAME_DIRECTION)
    return bool(one == other)


def _notes(slices: list[Slice], name: str, allow_synthetic: bool) -> tuple[str, ...]:
    first = slices[0].dataset
    notes: tuple[str, ...] = ()
    marks = [mark for one in slices if (mark := mark_in_dataset(one.image))]
    if marks:
        if not allow_synthetic:
            raise FileError(
                f"{name}: is synthetic already ({marks[0]}); use an acquired series, or allow it "
                "with --allow-synthetic-input."
            )
        notes += (f"synthetic source: {marks[0]}",)
    for modality in sorted({str(one.image.get("Modality", "")) for one in slices}):
        notes += check_modality(modality or "unknown", name)
    kinds = {word for one in slices for word in image_type(one.image)}
    if "MOSAIC" in kinds:
        raise FileError(
            f"{name}: shows all slices side by side in each picture (a mosaic); convert it to "
            "NIfTI with dcm2niix, or export it as one file a slice."
        )
    if "LOCALIZER" in kinds:
        notes += ("localizer: the series is a scout (DICOM Image Type), not made for reading",)
    if str(getattr(first, "PhotometricInterpretation", "")) == "MONOCHROME1":
        notes += ("inverted: the series is stored with white as zero (MONOCHROME1)",)
    return notes
