"""An uncertainty map as a DICOM Parametric Map: its values as they are, in one multi-frame file.

Written with highdicom. Source: DICOM PS3.3 A.75 (Parametric Map IOD), C.8.23 (Parametric Map).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.dicom_attributes import FILLED, KEPT, complete, frame_of_reference, new_uid
from MambaSynthLib.io.dicom_marks import OURS
from MambaSynthLib.io.dicom_series import Series
from MambaSynthLib.provenance import Provenance

PLACED_BY = (  # what tells highdicom which slice of the source lies where one of the map does
    "StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID",
    "Modality", "Rows", "Columns", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices",
    "NumberOfFrames", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "DimensionOrganizationSequence", "DimensionIndexSequence",
)  # fmt: skip


def parametric_map(volume: Volume, source: Series, record: Provenance, series_uid: str) -> Any:
    """The data set of a map on the grid of ``source``.

    Raises ModuleNotFoundError, and FileError for a source that highdicom does not take.
    """
    if not source.in_files:
        raise FileError(
            f"{source.name}: a DICOM map refers to the images it belongs to, and there are none; "
            "write it as .nii.gz or .nrrd."
        )
    try:
        return complete(_bare(volume, source, record, series_uid), source.stacks[0][0], record)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FileError(
            f"{source.name}: cannot be the source of a DICOM map ({str(error)[:80]}); write the "
            "map as .nii.gz."
        ) from error


def _bare(volume: Volume, source: Series, record: Provenance, series_uid: str) -> Any:
    """The map with its place and its values, of nobody yet."""
    import highdicom
    from pydicom.sr.codedict import codes

    low, high = float(volume.array.min()), float(volume.array.max())
    what = "Half-width of the interval of 90 %"
    if record.samples > 1:
        what = f"Standard deviation over {record.samples} noise draws"
    visible = source.stacks[0][0].image.get("RecognizableVisualFeatures") != "NO"
    mapping = highdicom.pm.RealWorldValueMapping(
        lut_label="VALUE", lut_explanation=what, unit=codes.UCUM.NoUnits,
        value_range=(low, high), slope=1.0, intercept=0.0,
    )  # fmt: skip
    window = highdicom.VOILUTTransformation(
        window_center=round((low + high) / 2, 3), window_width=max(round(high - low, 3), 1.0)
    )
    return highdicom.pm.ParametricMap(
        source_images=_headers(source),
        pixel_array=np.ascontiguousarray(volume.array.transpose(2, 1, 0)),
        series_instance_uid=series_uid,
        series_number=1,
        sop_instance_uid=new_uid(series_uid, "map"),
        instance_number=1,
        manufacturer=OURS,
        manufacturer_model_name=OURS,
        software_versions=record.software,
        device_serial_number=record.weights_sha256[:64],
        contains_recognizable_visual_features=visible,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[window],
        plane_positions=[
            highdicom.PlanePositionSequence("PATIENT", tuple(stack[0].place))
            for stack in source.stacks
        ],
        content_label="UNCERTAINTY",
        content_description=what,
    )


def _headers(source: Series) -> list[Any]:
    """The source's images with what places them, and with no more of the patient than we keep."""
    import pydicom

    headers = {}
    for stack in source.stacks:
        old, new = stack[0].image, pydicom.Dataset()
        for keyword in (*PLACED_BY, *KEPT):
            if keyword in old:
                setattr(new, keyword, old[keyword].value)
        new.FrameOfReferenceUID = frame_of_reference(old)
        for keyword in FILLED:  # which highdicom would check; they are passed on afterwards
            setattr(new, keyword, "")
        headers[str(old.SOPInstanceUID)] = new
    return list(headers.values())
