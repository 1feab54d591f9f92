"""What a synthetic DICOM image says of itself, its patient and its origin.

Of the source's header comes who the patient and what the study is, where the slice lies, and what
says that the pixels were de-identified or compressed; nothing else. Source: DICOM PS3.3 A.4.3 (MR
Image IOD) with C.7.1 to C.7.6, C.8.3.1 and C.12.1; PS3.16 CID 7005, 7202, 7203.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from typing import Any

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.dicom_marks import BLOCK, OURS, RECORD
from MambaSynthLib.io.dicom_series import Series
from MambaSynthLib.io.dicom_slice import Slice
from MambaSynthLib.io.files import VOXELS
from MambaSynthLib.provenance import MARK, Provenance

IDENTITY = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
FILLED = (  # copied, and empty where the source has none (type 2)
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "ReferringPhysicianName", "StudyID", "AccessionNumber", "PatientPosition",
    "PositionReferenceIndicator",
)  # fmt: skip
KEPT = (  # copied where the source has them
    "SpecificCharacterSet", "IssuerOfPatientID", "StudyDescription", "BodyPartExamined",
    "Laterality", "AnatomicalOrientationType", "PatientIdentityRemoved", "DeidentificationMethod",
    "DeidentificationMethodCodeSequence", "LongitudinalTemporalInformationModified",
    "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
    "RecognizableVisualFeatures",
)  # fmt: skip
FIRST_NUMBER, MOST_NUMBER = 9000, 2**31 - 1  # of series
LONGEST = {"LO": 64, "ST": 1024}  # characters


def text(words: str, kind: str) -> str:
    """In ASCII, without the separator of values, and not too long for its kind."""
    plain = words.encode("ascii", "replace").decode("ascii").replace("\\", "/")
    return plain[: LONGEST[kind]]


def code(value: str, meaning: str, scheme: str = "DCM") -> Any:
    """A sequence of one code."""
    import pydicom

    item = pydicom.Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return [item]


def check_source(source: Series) -> None:
    """Refuse a source that nothing could refer to. Raises FileError."""
    for one in (one for stack in source.stacks for one in stack):
        for keyword in IDENTITY:
            if keyword not in one.image or one.image[keyword].is_empty:
                raise FileError(
                    f"{one.name}: states no {keyword}, so that nothing can refer to it; export the "
                    "series again."
                )


def new_uid(*of: str) -> str:
    """The same for the same words: what is made twice and sent twice is there once."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, chr(0).join(of)).int}"


def frame_of_reference(old: Any) -> str:
    """That of the source; where it states none, one that all made from it share."""
    return str(old.get("FrameOfReferenceUID") or new_uid(str(old.SeriesInstanceUID), "place"))


def record_for(provenance: Provenance, source: Series) -> Provenance:
    """With the source named by its UID: folders and files may be named after persons."""
    if not source.in_files:
        return replace(provenance, source_name="a volume that is in no DICOM series")
    return replace(provenance, source_name=f"series {source.stacks[0][0].image.SeriesInstanceUID}")


def title(record: Provenance) -> str:
    """Series Description."""
    what = record.target_contrast
    if record.quantity:
        what = f"{record.quantity.partition(':')[0]} of {what}"
    return text(f"SYNTHETIC {what} from {record.source_contrast}, not for diagnosis", "LO")


def common(source: Slice, record: Provenance, series_uid: str) -> Any:
    """What all images of the new series say: patient, study, series, equipment, origin."""
    import pydicom

    old, new = source.image, pydicom.Dataset()
    new.StudyInstanceUID, new.SeriesInstanceUID = old.StudyInstanceUID, series_uid
    new.FrameOfReferenceUID = frame_of_reference(old)
    new.Modality = "MR"
    return complete(new, source, record)


def complete(new: Any, source: Slice, record: Provenance) -> Any:
    """Add to an image which series it belongs to, in words, and what made it."""
    for keyword in FILLED:
        setattr(new, keyword, source.image.get(keyword, ""))
    for keyword in KEPT:
        if keyword in source.image:
            setattr(new, keyword, source.image[keyword].value)
    if not new.get("BodyPartExamined") and "Laterality" not in new:
        new.Laterality = ""  # of a part that may be paired
    new.SeriesDescription = title(record)
    new.SeriesNumber = series_number(source.image, 2 if record.quantity else 1)
    new.Manufacturer = OURS
    new.ManufacturerModelName = text(f"{record.model_id} {record.model_version}", "LO")
    new.SoftwareVersions = text(record.software, "LO")
    new.ContentQualification, new.BurnedInAnnotation = "RESEARCH", "NO"
    new.ContributingEquipmentSequence = equipment(source.image, record)
    new.SyntheticData = "YES"
    new.ImageComments = text(f"{MARK}: {title(record)}", "ST")
    new.DerivationDescription = text(record.sentence(), "ST")
    new.DerivationCodeSequence = code("123110", "Artificial Intelligence")
    return new


def keep_record(image: Any, record: Provenance, voxels: str) -> None:
    """The whole record of origin, and the hash of all voxels of the series as they are read."""
    block = image.private_block(BLOCK, OURS, create=True)
    block.add_new(RECORD, "UT", json.dumps(record.to_bids() | {VOXELS: voxels}))


def series_number(old: Any, number: int) -> int:
    """After all that a scanner is likely to use."""
    found = FIRST_NUMBER + number + 10 * int(old.get("SeriesNumber") or 0)
    return found if 0 < found < MOST_NUMBER else FIRST_NUMBER + number


def equipment(old: Any, record: Provenance) -> list[Any]:
    """What contributed before, the scanner, and this program."""
    import pydicom

    scanner, program = pydicom.Dataset(), pydicom.Dataset()
    scanner.PurposeOfReferenceCodeSequence = code("109101", "Acquisition Equipment")
    scanner.Manufacturer = old.get("Manufacturer") or "unknown"
    for keyword in ("ManufacturerModelName", "SoftwareVersions"):
        if old.get(keyword):
            setattr(scanner, keyword, old[keyword].value)
    name, _, version = record.software.rpartition(" ")
    program.PurposeOfReferenceCodeSequence = code("109100", "Synthesizing Equipment")
    program.Manufacturer = program.ManufacturerModelName = text(name, "LO")
    program.SoftwareVersions = text(version, "LO")
    program.ContributionDescription = text(
        f"model {record.model_id} {record.model_version} ({record.method}), weights sha256 "
        f"{record.weights_sha256}, seed {record.seed}, steps {record.steps}, samples "
        f"{record.samples}, {record.computing()}",
        "ST",
    )
    return [*old.get("ContributingEquipmentSequence", ()), scanner, program]


def mark_acquired(image: Any) -> None:
    """An acquired frame among synthetic ones: a copy, and no more."""
    image.SyntheticData = "NO"
    image.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    image.ImageComments = image.DerivationDescription = (
        "SYNTHETIC series; this frame of it is acquired, and a copy"
    )
    del image.DerivationCodeSequence


def refer(image: Any, sources: list[Slice]) -> None:
    """Name the source slices that lie where ``image`` does."""
    import pydicom

    image.SourceImageSequence = []
    for one in sources:
        item = reference(one)
        item.SpatialLocationsPreserved = "YES"
        item.PurposeOfReferenceCodeSequence = code(
            "121322", "Source image for image processing operation"
        )
        image.SourceImageSequence.append(item)
    series = pydicom.Dataset()
    series.SeriesInstanceUID = sources[0].image.SeriesInstanceUID
    series.ReferencedInstanceSequence = [reference(one) for one in sources]
    image.ReferencedSeriesSequence = [series]


def reference(one: Slice) -> Any:
    import pydicom

    item = pydicom.Dataset()
    item.ReferencedSOPClassUID = one.image.SOPClassUID
    item.ReferencedSOPInstanceUID = one.image.SOPInstanceUID
    if one.frame is not None:
        item.ReferencedFrameNumber = one.frame + 1
    return item
