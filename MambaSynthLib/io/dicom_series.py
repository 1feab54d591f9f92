"""A folder with one DICOM series of parallel slices, each acquired once or at several times.

What is no single series, or not readable, is refused with the reason; ``dicom_slice`` reads each
slice and ``dicom_stack`` puts them in place. Source: DICOM PS3.3 C.8.3.1 (MR Image).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.cine import Cine, of_frames
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.dicom_files import slice_files
from MambaSynthLib.io.dicom_marks import image_type, mark_in_dataset
from MambaSynthLib.io.dicom_slice import AGREED, Slice, read_slice, values_of
from MambaSynthLib.io.dicom_stack import SAME_TIME_MS, affine_of, by_place, by_time
from MambaSynthLib.io.modality import check_modality
from MambaSynthLib.io.payload import shown

MEASURED = ("PixelSpacing", "ImageOrientationPatient", "EchoTime")  # and rounded by some writers
SAME_DIRECTION = 1e-4  # between direction cosines


def read_series(folder: Path, *, allow_synthetic: bool = True) -> Cine:
    """The cine in ``folder``: at each slice position as many times.

    Raises
    ------
    FileError: no DICOM, several series, patients or frames of reference, damaged files among the
        slices, missing or doubled slices, other geometry in one of them, unequal numbers of times,
        gantry tilt, no decoder, truncated or synthetic files.
    VolumeError: one time only, which is a volume and no cine.
    """
    slices, stacks, notes = _sorted_series(folder, allow_synthetic)
    name = shown(folder.resolve())
    affine = affine_of(slices, stacks, name)
    frames, times = [], []
    for n in range(len(stacks[0])):
        stack = [slices_here[n] for slices_here in stacks]
        frames.append(Volume(_pixels(stack), affine, name, notes))
        times.append(np.array([one.time for one in stack if one.time is not None]))
    if any(len(of_frame) != len(stacks) for of_frame in times):
        return of_frames(frames, None, name)
    spread = max(float(np.ptp(of_frame)) for of_frame in times)
    medians = [float(np.median(of_frame)) for of_frame in times]
    cine = of_frames(frames, medians, name)
    if spread <= SAME_TIME_MS:
        return cine
    note = f"trigger times differ by up to {spread:g} ms between slices; their median was taken"
    return Cine(cine.frames, cine.times_ms, name, (*cine.notes, note), cine.phases)


def read_dicom_volume(folder: Path, *, allow_synthetic: bool = True) -> Volume:
    """The volume in ``folder``, each slice once. Raises FileError as ``read_series``."""
    slices, stacks, notes = _sorted_series(folder, allow_synthetic)
    name = shown(folder.resolve())
    if len(stacks[0]) != 1:
        raise FileError(
            f"{name}: holds {len(stacks[0])} times of each slice; use it with 'mambasynth cine', "
            "or keep one time."
        )
    affine = affine_of(slices, stacks, name)
    return Volume(_pixels([one for (one,) in stacks]), affine, name, notes)


def _sorted_series(
    folder: Path, allow_synthetic: bool
) -> tuple[list[Slice], list[list[Slice]], tuple[str, ...]]:
    """All slices, the same by position and then time, and named warnings."""
    name = shown(folder.resolve())
    slices = [read_slice(path) for path in slice_files(folder)]
    if not slices:
        raise FileError(f"{name}: holds no DICOM files; name a folder with one series.")
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
    return slices, [by_time(stack, name) for stack in stacks], notes


def _check_one_series(slices: list[Slice], name: str) -> None:
    series = {str(getattr(one.dataset, "SeriesInstanceUID", "")) for one in slices}
    if len(series) > 1:
        raise FileError(
            f"{name}: holds {len(series)} DICOM series; put one of them into a folder of its own."
        )
    first = slices[0]
    for one in slices:
        for keyword, what in AGREED.items():
            if not _equal(one.dataset.get(keyword), first.dataset.get(keyword), keyword):
                raise FileError(
                    f"{name}: {one.name} and {first.name} have different {what}; put slices of "
                    "one kind into a folder of their own."
                )


def _equal(one: Any, other: Any, keyword: str) -> bool:
    if keyword in MEASURED and None not in (one, other) and "" not in (one, other):
        return np.allclose(np.array(one, float), np.array(other, float), atol=SAME_DIRECTION)
    return bool(one == other)


def _notes(slices: list[Slice], name: str, allow_synthetic: bool) -> tuple[str, ...]:
    first = slices[0].dataset
    notes: tuple[str, ...] = ()
    marks = [mark for one in slices if (mark := mark_in_dataset(one.dataset))]
    if marks:
        if not allow_synthetic:
            raise FileError(
                f"{name}: is synthetic already ({marks[0]}); use an acquired series, or allow it "
                "with --allow-synthetic-input."
            )
        notes += (f"synthetic source: {marks[0]}",)
    for modality in sorted({str(getattr(one.dataset, "Modality", "")) for one in slices}):
        notes += check_modality(modality or "unknown", name)
    if any("LOCALIZER" in image_type(one.dataset) for one in slices):
        notes += ("localizer: the series is a scout (DICOM Image Type), not made for reading",)
    if str(getattr(first, "PhotometricInterpretation", "")) == "MONOCHROME1":
        notes += ("inverted: the series is stored with white as zero (MONOCHROME1)",)
    return notes


def _pixels(stack: list[Slice]) -> NDArray[np.float32]:
    """(I,J,K) of the slices in order: columns, rows, slices."""
    return np.stack([values_of(one).T for one in stack], axis=-1)
