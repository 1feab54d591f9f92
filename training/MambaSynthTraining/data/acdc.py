"""ACDC (Bernard et al., IEEE TMI 2018) as MSTG and DDM use it, from its public folders.

    ROOT/[training/]patientNNN/Info.cfg, patientNNN_4d.nii.gz, patientNNN_frameFF_gt.nii.gz

Order of the steps, which is DDM's: resample to 1.5 x 1.5 x 3.15 mm, scale each frame by its own
minimum and maximum over the whole volume, then cut 128x128x32 from the middle or pad with zeros.
Slices lie 5 to 10 mm apart, so most of the slices made are interpolated.

ED and ES are what Info.cfg says and nothing else (patient090 has no frame 01). Files count frames
from 1. Where ES comes before ED the frames between them wrap around the end of the cycle.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import FileError, VolumeError
from MambaSynthLib.image.cine import USUAL_CYCLE_MS, Cine
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.cine_acdc import INFO, phases_beside
from MambaSynthLib.io.cine_files import read_cine
from MambaSynthLib.io.files import read_volume
from MambaSynthTraining.data.canvas import Box, center, resample
from MambaSynthTraining.data.dataset_files import SPLITS, write_dataset_files
from MambaSynthTraining.data.heart_cine import HeartCine, write_subject

Image = NDArray[np.float32]

SPACING_MM = (3.15, 1.5, 1.5)  # D (slices), H, W
SIZE = (32, 128, 128)
TRAIN_PATIENTS = 90  # of the papers: 1-90 train, 91-100 test
VALIDATION = (20, 40, 60, 80, 90)  # of the 90, one of each of ACDC's five groups of twenty
LICENSE = "CC BY-NC-SA 4.0"  # as its makers state it
LONGEST_STEP_MS = 1000.0  # a step of 1 s is what tools write that know no time
SPLINE = 3


def make_acdc(
    root: Path,
    folder: Path,
    progress: Callable[[HeartCine], None] | None = None,
    validation: bool = True,
) -> dict[str, list[str]]:
    """A cine of every patient below ``root`` that the split knows; returns who is in which split.

    Without ``validation`` all of the papers' 90 patients train, and nobody is left to validate on.

    Raises
    ------
    FileError: no patient folder, or one whose files are missing, unreadable or contradictory.
    VolumeError: a volume of other than four axes, or a frame without contrast.
    """
    patients = sorted({path.parent for path in root.glob(f"**/{INFO}")}, key=lambda p: p.name)
    numbered = [(number, path) for path in patients if (number := _number(path)) is not None]
    if not numbered:
        raise FileError(
            f"{root}: holds no patientNNN/Info.cfg; name the folder that ACDC was unpacked to."
        )
    splits: dict[str, list[str]] = {name: [] for name in SPLITS}
    for number, path in numbered:
        cine = read_patient(path)
        write_subject(folder, cine)
        splits[_split_of(number, validation)].append(cine.name)
        if progress is not None:
            progress(cine)
    record = {"name": "ACDC", "source": "Bernard et al. 2018, doi 10.1109/TMI.2018.2837502",
              "license": LICENSE, "size": SIZE, "spacing_mm": SPACING_MM}  # fmt: skip
    write_dataset_files(folder, record, splits)
    return splits


def _split_of(number: int, validation: bool) -> str:
    if number > TRAIN_PATIENTS:
        return "test"
    return "validation" if validation and number in VALIDATION else "train"


def _number(path: Path) -> int | None:
    """1 to 100 of a folder patientNNN; the test patients 101-150 have no part in the papers."""
    match = re.fullmatch(r"patient(\d{3})", path.name)
    number = int(match[1]) if match else 0
    return number if 1 <= number <= 100 else None


def read_patient(path: Path) -> HeartCine:
    """One patient folder -> cine on the grid. Raises as ``make_acdc``."""
    source = path / f"{path.name}_4d.nii.gz"
    cine = read_cine(source, allow_synthetic=False)
    phases, notes = phases_beside(source, len(cine.frames))
    if phases is None:
        reason = "; ".join(notes) or "is missing"
        raise FileError(f"{path / INFO}: {reason}; get the patient from ACDC anew.")
    ed, es, _ = phases
    frames, valid = zip(*(_frame(frame, source) for frame in cine.frames), strict=True)
    labels = [_labels(path, index + 1, cine.frames[0]) for index in (ed, es)]
    return HeartCine(
        name=path.name,
        frames=np.stack(frames),
        times_ms=_times(cine),
        labels=np.stack(labels),
        labeled=(ed, es),
        spacing_mm=SPACING_MM,
        ed=ed,
        es=es,
        valid=valid[0],
    )


def _times(cine: Cine) -> tuple[float, ...]:
    """The times of the header; where a step of 1 s or more says nothing, one usual cycle."""
    if cine.times_ms[1] - cine.times_ms[0] < LONGEST_STEP_MS:
        return cine.times_ms
    step = USUAL_CYCLE_MS / len(cine.frames)
    return tuple(index * step for index in range(len(cine.frames)))


def _slices_first(volume: Volume) -> tuple[Image, tuple[float, float, float]]:
    """(D,H,W) as the papers have it, and the spacing along these axes in mm."""
    i, j, k = (float(mm) for mm in volume.spacing)
    return np.ascontiguousarray(volume.array.T), (k, j, i)


def _frame(volume: Volume, path: Path) -> tuple[Image, Box]:
    array, spacing = _slices_first(volume)
    resampled = resample(array, spacing, SPACING_MM, SPLINE)
    low, high = float(resampled.min()), float(resampled.max())
    if high <= low:
        raise VolumeError(f"{path}: a frame holds nothing but {low:g}; get the file anew.")
    return center((resampled - low) / (high - low), SIZE)


def _labels(path: Path, number: int, frame: Volume) -> NDArray[np.uint8]:
    source = path / f"{path.name}_frame{number:02d}_gt.nii.gz"
    labels = read_volume(source)
    if labels.shape != frame.shape or not np.isin(labels.array, (0, 1, 2, 3)).all():
        raise FileError(
            f"{source}: has the shape {labels.shape} and labels up to {labels.array.max():g}, but "
            f"{frame.shape} and 0 to 3 are expected; get the file from ACDC anew."
        )
    array, spacing = _slices_first(labels)
    return center(resample(array.astype(np.uint8), spacing, SPACING_MM, order=0), SIZE)[0]
