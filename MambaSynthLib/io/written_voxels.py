"""Are the voxels of an image those that were written? Its sidecar keeps their hash.

Formats without a checksum of their own take a flipped bit for a voxel, and so does a program that
changes an image but not its marks.
"""

from __future__ import annotations

from pathlib import Path

from MambaSynthLib.io.cine_files import read_cine
from MambaSynthLib.io.dicom_files import holds_dicom
from MambaSynthLib.io.dicom_marks import read_dicom_mark, record_in
from MambaSynthLib.io.dicom_series import open_series
from MambaSynthLib.io.dicom_slice import read_slices
from MambaSynthLib.io.files import (
    VOXELS,
    hash_of_frames,
    hash_of_images,
    read_volume,
    sha256_of,
)
from MambaSynthLib.io.formats import suffix_of
from MambaSynthLib.io.marks import read_record, sidecar_of


def voxels_are_as_written(path: Path) -> bool | None:
    """None where no sidecar beside the image, nor a DICOM file of ours, keeps their hash.

    Raises FileError for an image that cannot be read to its last voxel.
    """
    if holds_dicom(path):
        return _series_is_as_written(path)
    record = read_record(sidecar_of(path)) if suffix_of(path) else {}
    kept = record.get(VOXELS)
    if not isinstance(kept, str):
        return None
    times = record.get("TriggerTimesMs")
    if isinstance(times, list) and len(times) > 1:
        return kept == hash_of_frames(map(sha256_of, read_cine(path).frames))
    return kept == sha256_of(read_volume(path))


def _series_is_as_written(path: Path) -> bool | None:
    """Of a folder, or of a file that is a series by itself; one slice of several proves nothing."""
    mark = read_dicom_mark(path)
    if mark is None or mark.provenance is None:
        return None
    if path.is_file() and read_slices(path)[0].frame is None:
        return None
    series = open_series(path)
    kept = record_in(series.stacks[0][0].image).get(VOXELS)
    return kept == hash_of_images(series.images()) if isinstance(kept, str) else None
