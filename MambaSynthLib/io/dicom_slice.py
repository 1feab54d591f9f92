"""One slice of a DICOM series: where and when it lies.

A slice is a classic file, or one frame of an Enhanced MR file (``dicom_frames``). Source: DICOM
PS3.3 C.7.6.2 (Image Plane).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.dicom_files import data_set_of
from MambaSynthLib.io.dicom_frames import frames_of, is_multi_frame
from MambaSynthLib.io.payload import check_size, shown

UNIT_LENGTH = 5e-4  # that a direction may be longer or shorter: 0.06 mm at the border of a head
AGREED = {  # what all slices of a series have in common -> how to call it
    "PatientID": "patients", "PatientName": "patients", "StudyInstanceUID": "studies",
    "FrameOfReferenceUID": "frames of reference", "Rows": "sizes", "Columns": "sizes",
    "PixelSpacing": "pixel sizes", "StackID": "stacks", "DiffusionBValue": "diffusion weightings",
    "ComplexImageComponent": "parts of complex values",
    "ImageOrientationPatient": "orientations", "EchoTime": "echo times",
    "PhotometricInterpretation": "kinds of pixel",
}  # fmt: skip


@dataclass(frozen=True)
class Slice:
    """What a series is made of.

    dataset: its attributes, those of a frame in their classic places. place: (3,) mm LPS of the
    first pixel. time: ms, None where none is stated. image: the data set of its file, which holds
    the pixels. frame: number in a multi-frame file, from 0; None in a classic one.
    """

    path: Path
    dataset: Any
    place: NDArray[np.float64]
    time: float | None
    image: Any
    frame: int | None

    @property
    def name(self) -> str:
        """For messages."""
        return shown(self.path) + ("" if self.frame is None else f", frame {self.frame + 1}")


def read_slices(path: Path) -> list[Slice]:
    """The slice in a classic file, or all those of a multi-frame file.

    Raises FileError for what is no MR slice with a possible place, orientation and pixel size.
    """
    with _sentences(shown(path)):
        image = data_set_of(path)
        if not is_multi_frame(image):
            return [_slice(path, image, image, None)]
        frames = frames_of(image, shown(path))
        return [_slice(path, frame, image, number) for number, frame in enumerate(frames)]


@contextmanager
def _sentences(name: str) -> Iterator[None]:
    """Turn what pydicom says of a damaged file into one sentence."""
    try:
        with warnings.catch_warnings(action="ignore"):  # oddities that do not concern the image
            yield
    except (FileError, MemoryError):
        raise
    except Exception as error:  # pydicom raises many kinds for damaged files
        raise FileError(
            f"{name}: is truncated, or no MR slice with a position, orientation and pixel size "
            f"({str(error)[:80]}); remove it, or export the series again as classic DICOM."
        ) from error


def _slice(path: Path, dataset: Any, image: Any, frame: int | None) -> Slice:
    for keyword in ("SeriesInstanceUID", "Modality", *AGREED):
        dataset.get(keyword)  # values are parsed, and complained of, at first use
    place = np.array([float(part) for part in dataset.ImagePositionPatient])
    direction = [float(part) for part in dataset.ImageOrientationPatient]
    spacing = [float(part) for part in dataset.PixelSpacing]
    sizes = int(dataset.Rows), int(dataset.Columns)
    one = Slice(path, dataset, place, _time(dataset), image, frame)
    sane = len(place) == 3 and len(direction) == 6 and len(spacing) == 2 and min(spacing) > 0
    if not sane or not np.all(np.isfinite([*place, *direction, *spacing, one.time or 0.0])):
        raise FileError(f"{one.name}: states an impossible geometry; export the series again.")
    lengths = np.linalg.norm(np.reshape(direction, (2, 3)), axis=1)
    if np.abs(lengths - 1).max() > UNIT_LENGTH:
        raise FileError(
            f"{one.name}: states orientation vectors of the lengths {lengths[0]:.4g} and "
            f"{lengths[1]:.4g} instead of 1, so its voxel size is unknown; export the series again."
        )
    check_size(sizes, one.name)
    return one


def _time(dataset: Any) -> float | None:
    """ms: Trigger Time, else Temporal Position Identifier as an order."""
    for keyword in ("TriggerTime", "TemporalPositionIdentifier"):
        value = getattr(dataset, keyword, None)
        if value not in (None, ""):
            return float(value)
    return None
