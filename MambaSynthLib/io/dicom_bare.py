"""The place, the patient and the study of images that no DICOM series lies behind.

A volume that came as NIfTI or NRRD may be synthesized from, and its result be wanted in an archive:
then somebody says whom it shows, and the new series refers to no images. Source: DICOM PS3.3
C.7.1.1 (Patient), C.7.2.1 (General Study), C.7.6.2 (Image Plane); PS3.5 6.2 (DS).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.volume import Affine, spacing
from MambaSynthLib.io.dicom_attributes import new_uid
from MambaSynthLib.io.dicom_series import Series
from MambaSynthLib.io.dicom_slice import Slice
from MambaSynthLib.io.dicom_stack import affine_of, by_place
from MambaSynthLib.io.geometry import flipped

PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
STUDY = ("StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "StudyDescription")


def bare_series(
    affine: Affine, shape: tuple[int, int, int], identity: Mapping[str, str], name: str
) -> Series:
    """A series without images on the grid of ``affine`` (4,4, voxel -> RAS mm) and ``shape``.

    identity: values of ``PATIENT`` and ``STUDY``, of which PatientID must be there. A study without
    a UID gets one that all series of the same patient and study share.

    Raises FileError: no patient ID, a value that DICOM does not allow, or a sheared grid.
    """
    given = {keyword: identity.get(keyword, "").strip() for keyword in (*PATIENT, *STUDY)}
    if not given["PatientID"]:
        raise FileError(
            f"{name}: no DICOM series lies behind it, and no patient ID was given; give one, or "
            "the series that it was synthesized from."
        )
    if not given["StudyInstanceUID"]:
        words = (given[keyword] for keyword in ("PatientID", *STUDY[1:]))
        given["StudyInstanceUID"] = new_uid("study", *words)
    shared = _identified(given, name)
    slices = [_slice(shared, flipped(affine, "LPS"), shape, k, name) for k in range(shape[2])]
    stacks = by_place(slices)
    return Series(name, stacks, affine_of(slices, stacks, name), (), in_files=False)


def _identified(given: Mapping[str, str], name: str) -> dict[str, Any]:
    """The values by their keywords, each checked."""
    from pydicom.config import RAISE
    from pydicom.datadict import dictionary_VR
    from pydicom.valuerep import validate_value

    for keyword, value in given.items():
        try:
            validate_value(dictionary_VR(keyword), value, RAISE)
        except ValueError as error:
            raise FileError(
                f"{name}: {keyword} is {value[:40]!r}, which DICOM does not allow; correct it."
            ) from error
    own = {"SpecificCharacterSet": "ISO_IR 192", "Modality": "MR"}
    place = {"FrameOfReferenceUID": new_uid(given["StudyInstanceUID"], "place")}
    return {**own, **place, **given}


def _slice(
    shared: Mapping[str, Any], lps: Affine, shape: tuple[int, int, int], k: int, name: str
) -> Slice:
    """Slice ``k``, whose columns run along the first array axis."""
    import pydicom
    from pydicom.valuerep import format_number_as_ds

    image, steps = pydicom.Dataset(), spacing(lps)
    for keyword, value in shared.items():
        setattr(image, keyword, value)
    place = lps[:3] @ (0, 0, k, 1)
    directions = (lps[:3, :2] / steps[:2]).T.ravel()

    def digits(numbers: Any) -> list[str]:
        return [format_number_as_ds(float(number)) for number in numbers]

    image.Rows, image.Columns = shape[1], shape[0]
    image.ImagePositionPatient, image.ImageOrientationPatient = digits(place), digits(directions)
    image.PixelSpacing = digits(steps[1::-1])
    (image.SliceThickness,) = digits(steps[2:])
    (image.SpacingBetweenSlices,) = digits(steps[2:])
    return Slice(Path(name), image, np.array(image.ImagePositionPatient, float), None, image, None)
