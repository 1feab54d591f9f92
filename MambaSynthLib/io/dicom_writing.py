"""Synthetic volumes and cines as classic MR images beside their source series, one file a slice.

All of a folder is written, read back and compared, or none. Source: DICOM PS3.3 A.4.3 (MR Image
IOD), C.7.6.2 (Image Plane), C.8.3.1 (MR Image).
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.turning import turned_onto
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.atomic import Outputs, telling, within, write_whole
from MambaSynthLib.io.dicom_attributes import (
    check_source,
    common,
    keep_record,
    mark_acquired,
    new_uid,
    record_for,
    refer,
    text,
)
from MambaSynthLib.io.dicom_files import holds_dicom
from MambaSynthLib.io.dicom_integers import Integers
from MambaSynthLib.io.dicom_map import parametric_map
from MambaSynthLib.io.dicom_series import Series, open_series
from MambaSynthLib.io.dicom_slice import Slice
from MambaSynthLib.io.files import hash_of_images
from MambaSynthLib.io.output import is_folder_name
from MambaSynthLib.io.payload import shown
from MambaSynthLib.provenance import Provenance

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"


def write_dicom(
    images: Sequence[Volume],
    folder: Path,
    source: Series,
    provenance: Provenance,
    *,
    into: Outputs | None = None,
) -> list[Path]:
    """Write one volume, or the frames of a cine, into a new folder; returns the files.

    They get their names with others where they go ``into`` a set.

    The images lie on the grid of ``source``, in any order and direction of their axes; each file
    refers to the source slices at its place, where the source has images. An uncertainty map
    becomes one Parametric Map.

    Raises
    ------
    VolumeError: an image on another grid.
    FileError: the folder cannot be written, the source states no identity, or the images hold NaN.
    ModuleNotFoundError: an uncertainty map, without highdicom.
    """
    with warnings.catch_warnings(action="ignore"):  # what the source wrote is passed on as it is
        if source.in_files:
            check_source(source)
        turned = [turned_onto(image, source.affine, source.shape, source.name) for image in images]
        if not all(np.all(np.isfinite(image.array)) for image in turned):
            raise FileError(f"{shown(folder)}: the image to write holds NaN or infinite values.")
        record = record_for(provenance, source)
        uid = _series_uid(turned, source, record)
        if record.quantity:
            expected, files = turned, iter([parametric_map(turned[0], source, record, uid)])
        else:
            integers = Integers.of(turned, record.acquired)
            expected = [integers.rounded(image) for image in turned]
            files = _classic(turned, source, record, uid, integers)
        with within(into) as outputs:
            return _write(files, folder, record, expected, outputs)


def _write(
    files: Iterator[Any],
    folder: Path,
    record: Provenance,
    expected: Sequence[Volume],
    outputs: Outputs,
) -> list[Path]:
    """The files, each with the whole record, which read back as the ``expected`` images."""
    voxels = hash_of_images(expected)
    with telling(folder):
        staging = outputs.folder(folder)
        for number, image in enumerate(files, start=1):
            keep_record(image, record, voxels)
            write_whole(staging / f"{number:05}.dcm", encoded(image))
        found = open_series(staging)
        moved = not np.array_equal(found.affine, expected[0].affine)
        if moved or hash_of_images(found.images()) != voxels:
            raise FileError(
                f"{shown(folder)}: does not read back as it was written; nothing was written, use "
                "another format, for instance .nrrd."
            )
        return [folder / path.name for path in sorted(staging.iterdir())]


def means_dicom(output: Path, source: Path) -> bool:
    """Whether an output is to be a DICOM series: a folder, made from one."""
    return (is_folder_name(output) or output.is_dir()) and holds_dicom(source)


def _series_uid(images: list[Volume], source: Series, record: Provenance) -> str:
    """Of the values, what made them, and from what."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(np.ascontiguousarray(image.array, "<f4").data)
    first = source.stacks[0][0].image
    own = ("SeriesInstanceUID", "SOPInstanceUID") if source.in_files else ("StudyInstanceUID",)
    words = *(first[keyword].value for keyword in own), json.dumps(record.to_bids())
    return new_uid(*map(str, words), digest.hexdigest())


def _classic(
    images: list[Volume], source: Series, record: Provenance, uid: str, integers: Integers
) -> Iterator[Any]:
    """The data sets of all slices, frame after frame."""
    shared = common(source.stacks[0][0], record, uid)
    shared.ImageType = ["DERIVED", "SECONDARY", "OTHER", "SYNTHETIC"]
    shared.DerivationDescription = text(f"{record.sentence()} {integers.sentence()}", "ST")
    for n, image in enumerate(images):
        acquired = n + 1 in record.acquired
        kept = acquired and source.in_files
        same = source.frame_like(image, record.times_ms[n]) if kept else None
        for k, stack in enumerate(source.stacks):
            new = deepcopy(shared)
            new.SOPClassUID, new.SOPInstanceUID = MR_IMAGE, new_uid(uid, str(n), str(k))
            new.InstanceNumber = n * len(source.stacks) + k + 1
            if acquired:
                mark_acquired(new)
            if source.in_files:
                refer(new, stack if same is None else [stack[same]])
            _place(new, stack[0])
            _time(new, record, n)
            integers.store(new, image.array[..., k].T)
            yield new


def _place(new: Any, source: Slice) -> None:
    """Where the source slice lies, in its own digits; what was not measured stays empty."""
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        setattr(new, keyword, source.dataset[keyword].value)
    new.SliceThickness = source.dataset.get("SliceThickness", "")
    if source.dataset.get("SpacingBetweenSlices"):
        new.SpacingBetweenSlices = source.dataset.SpacingBetweenSlices
    new.ScanningSequence, new.SequenceVariant = "RM", "NONE"
    new.MRAcquisitionType = new.RepetitionTime = new.EchoTime = new.EchoTrainLength = ""


def _time(new: Any, record: Provenance, frame: int) -> None:
    """When in the heartbeat a frame lies."""
    from pydicom.valuerep import DSfloat

    new.ScanOptions = "CG" if record.times_ms else ""
    if record.times_ms:
        new.TriggerTime = DSfloat(record.times_ms[frame], auto_format=True)
        new.CardiacNumberOfImages = new.NumberOfTemporalPositions = len(record.times_ms)
        new.TemporalPositionIdentifier = frame + 1
        new.ContentDate = new.ContentTime = ""  # of images related in time; it was no clock's


def encoded(dataset: Any) -> bytes:
    """The bytes of a DICOM file."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
