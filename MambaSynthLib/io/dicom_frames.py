"""The frames of an Enhanced MR file, with their attributes in the places of a classic slice.

All that is asked of a classic slice is then asked of a frame by the same lines. Source: DICOM PS3.3
A.36 (Enhanced MR), A.71 (Legacy Converted Enhanced MR), A.75 (Parametric Map), C.7.6.16
(Multi-frame Functional Groups), C.8.13.5 (MR functional groups).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.dicom_marks import OURS

PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
KINDS = (
    "1.2.840.10008.5.1.4.1.1.4.1",  # Enhanced MR
    "1.2.840.10008.5.1.4.1.1.4.4",  # Legacy Converted Enhanced MR
)
OF_FILE = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID",
    "PatientName", "FrameOfReferenceUID", "Modality", "Rows", "Columns",
    "PhotometricInterpretation", "BitsStored", "ImageType", "ImageComments", "SyntheticData",
)  # fmt: skip
OF_FRAME = {  # where a classic slice has it -> the functional group, and its name there
    "ImagePositionPatient": ("PlanePositionSequence", "ImagePositionPatient"),
    "ImageOrientationPatient": ("PlaneOrientationSequence", "ImageOrientationPatient"),
    "PixelSpacing": ("PixelMeasuresSequence", "PixelSpacing"),
    "SliceThickness": ("PixelMeasuresSequence", "SliceThickness"),
    "SpacingBetweenSlices": ("PixelMeasuresSequence", "SpacingBetweenSlices"),
    "RescaleSlope": ("PixelValueTransformationSequence", "RescaleSlope"),
    "RescaleIntercept": ("PixelValueTransformationSequence", "RescaleIntercept"),
    "EchoTime": ("MREchoSequence", "EffectiveEchoTime"),
    "DiffusionBValue": ("MRDiffusionSequence", "DiffusionBValue"),
    "ComplexImageComponent": ("MRImageFrameTypeSequence", "ComplexImageComponent"),
    "StackID": ("FrameContentSequence", "StackID"),
    "TemporalPositionIdentifier": ("FrameContentSequence", "TemporalPositionIndex"),
    "TriggerTime": ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
}
CONVERTED = (  # what a classic series said, in a file that was converted from it
    "UnassignedPerFrameConvertedAttributesSequence",
    "UnassignedSharedConvertedAttributesSequence",
)


def is_multi_frame(image: Any) -> bool:
    many = int(image.get("NumberOfFrames") or 1) > 1
    return many or "PerFrameFunctionalGroupsSequence" in image


def frames_of(image: Any, name: str) -> Iterator[Any]:
    """The data set of each frame, in the order of the file.

    Raises FileError for multi-frame files of other kinds, and where the frames that are described
    are not those that are there.
    """
    import pydicom

    ours = image.get("SOPClassUID") == PARAMETRIC_MAP and image.get("Manufacturer") == OURS
    if image.get("SOPClassUID") not in KINDS and not ours:
        raise FileError(
            f"{name}: is a multi-frame file but no Enhanced MR image; export the series as classic "
            "DICOM, one file a slice."
        )
    described = image.get("PerFrameFunctionalGroupsSequence") or ()
    stated = int(image.get("NumberOfFrames") or 1)
    if len(described) != stated:
        raise FileError(
            f"{name}: states {stated} frames but describes {len(described)}; export it again."
        )
    shared = image.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()]
    for groups in described:
        frame = pydicom.Dataset()
        for keyword in OF_FILE:
            if keyword in image:
                setattr(frame, keyword, image[keyword].value)
        for keyword in OF_FRAME:
            value = _value(keyword, groups, shared[0])
            if value is not None:
                setattr(frame, keyword, value)
        yield frame


def _value(keyword: str, *groups: Any) -> Any:
    """What the groups of a frame, or those that all share, say; None where they are silent."""
    group, name = OF_FRAME[keyword]
    for place, word in ((group, name), *((other, keyword) for other in CONVERTED)):
        for where in groups:
            items = where.get(place)
            if items and items[0].get(word) is not None:
                return items[0].get(word)
    return None
