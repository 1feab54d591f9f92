"""A folder with one DICOM series of parallel slices, each acquired once or at several times.

What is no single series, or not readable, is refused with the reason; ``dicom_stack`` puts the
slices in place. Source: DICOM PS3.3 C.8.3.1 (MR Image), C.11.1 (Modality LUT).
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.cine import Cine, of_frames
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.dicom_marks import files_in, image_type, is_dicom, mark_in_dataset
from MambaSynthLib.io.dicom_stack import SAME_TIME_MS, Slice, affine_of, by_place, by_time
from MambaSynthLib.io.modality import check_modality
from MambaSynthLib.io.payload import check_size, shown

SAME_DIRECTION = 1e-4  # between direction cosines
AGREED = ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient", "EchoTime",
          "PhotometricInterpretation")  # fmt: skip
IN_WORDS = {
    "Rows": "sizes", "Columns": "sizes", "PixelSpacing": "pixel sizes", "EchoTime": "echo times",
    "ImageOrientationPatient": "orientations", "PhotometricInterpretation": "kinds of pixel",
}  # fmt: skip


def read_series(folder: Path, *, allow_synthetic: bool = True) -> Cine:
    """The cine in ``folder``: at each slice position as many times.

    Raises
    ------
    FileError: no DICOM, several series, missing or doubled slices, other geometry in one of them,
        unequal numbers of times, gantry tilt, no decoder, truncated or synthetic files.
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


# --- the files ------------------------------------------------------------------------------------


def _sorted_series(
    folder: Path, allow_synthetic: bool
) -> tuple[list[Slice], list[list[Slice]], tuple[str, ...]]:
    """All slices, the same by position and then time, and named warnings."""
    name = shown(folder.resolve())
    slices = [_read(path) for path in files_in(folder) if is_dicom(path)]
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


def _read(path: Path) -> Slice:
    import pydicom

    try:
        with warnings.catch_warnings(action="ignore"):  # oddities that do not concern the image
            dataset = pydicom.dcmread(path)
            for keyword in ("SeriesInstanceUID", "Modality", *AGREED):
                dataset.get(keyword)  # values are parsed, and complained of, at first use
            place = np.array([float(part) for part in dataset.ImagePositionPatient])
            direction = [float(part) for part in dataset.ImageOrientationPatient]
            spacing = [float(part) for part in dataset.PixelSpacing]
            sizes = int(dataset.Rows), int(dataset.Columns)
            time = _time(dataset)
    except (pydicom.errors.InvalidDicomError, AttributeError, TypeError, ValueError, EOFError,
            KeyError, OSError) as error:  # fmt: skip
        raise FileError(
            f"{shown(path)}: is no MR slice with a position, orientation and pixel size "
            f"({str(error)[:80]}); remove it, or export the series again as classic DICOM."
        ) from error
    sane = len(place) == 3 and len(direction) == 6 and len(spacing) == 2 and min(spacing) > 0
    if not sane or not np.all(np.isfinite([*place, *direction, *spacing])):
        raise FileError(f"{shown(path)}: states an impossible geometry; export the series again.")
    check_size(sizes, shown(path))
    return Slice(path, dataset, place, time)


def _time(dataset: Any) -> float | None:
    """ms: Trigger Time, else Temporal Position Identifier as an order."""
    for keyword in ("TriggerTime", "TemporalPositionIdentifier"):
        value = getattr(dataset, keyword, None)
        if value not in (None, ""):
            return float(value)
    return None


def _check_one_series(slices: list[Slice], name: str) -> None:
    series = {str(getattr(one.dataset, "SeriesInstanceUID", "")) for one in slices}
    if len(series) > 1:
        raise FileError(
            f"{name}: holds {len(series)} DICOM series; put one of them into a folder of its own."
        )
    first = slices[0]
    for one in slices:
        if int(getattr(one.dataset, "NumberOfFrames", 1) or 1) > 1:
            raise FileError(
                f"{shown(one.path)}: is a multi-frame file; export the series as classic DICOM, "
                "one file a slice."
            )
        for keyword in AGREED:
            if not _equal(
                getattr(one.dataset, keyword, None), getattr(first.dataset, keyword, None)
            ):
                raise FileError(
                    f"{name}: {shown(one.path)} and {shown(first.path)} have different "
                    f"{IN_WORDS[keyword]}; put slices of one kind into a folder of their own."
                )


def _equal(one: Any, other: Any) -> bool:
    if one is None or other is None or isinstance(one, str):
        return bool(one == other)
    return bool(np.allclose(np.array(one, float), np.array(other, float), atol=SAME_DIRECTION))


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


# --- the pixels -----------------------------------------------------------------------------------


def _pixels(stack: list[Slice]) -> NDArray[np.float32]:
    """(I,J,K) of the slices in order: columns, rows, slices."""
    return np.stack([_rescaled(one).T for one in stack], axis=-1)


def _rescaled(one: Slice) -> NDArray[np.float32]:
    """(rows,columns) real values. Each slice has a slope and intercept of its own."""
    dataset, name = one.dataset, shown(one.path)
    try:
        with warnings.catch_warnings(action="ignore"):
            stored = np.asarray(dataset.pixel_array)
    except Exception as error:  # pydicom and its decoders raise many kinds
        raise FileError(
            f"{name}: its pixels cannot be read ({str(error)[:80]}); it is truncated or needs a "
            "decoder that is not installed, export it uncompressed."
        ) from error
    if stored.ndim != 2:
        raise FileError(f"{name}: holds color pixels, but a scalar slice is needed.")
    slope = float(getattr(dataset, "RescaleSlope", 1) or 1)
    intercept = float(getattr(dataset, "RescaleIntercept", 0) or 0)
    values = stored.astype(np.float64) * slope + intercept
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        values = (2 ** int(dataset.BitsStored) - 1) * slope + 2 * intercept - values
    if not np.all(np.isfinite(values)):
        raise FileError(f"{name}: its rescaling is no number; export the series again.")
    return values.astype(np.float32)
