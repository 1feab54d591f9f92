"""Whether DICOM files say that they are synthetic, and by what. Headers only.

Our own record of origin is the text of a BIDS sidecar in a private element. Source: DICOM PS3.3
C.7.6.1 (General Image: Image Comments), C.8.3.1.1.1 (Image Type), and the attribute Synthetic Data
(0008,001C); PS3.5 7.8 (private elements).
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.dicom_files import data_set_of, files_in, is_dicom
from MambaSynthLib.io.marks import SyntheticMark, mark_from_record, parsed
from MambaSynthLib.io.payload import shown
from MambaSynthLib.provenance import MARK

OURS = "MambaSynth"  # manufacturer, and creator of the private element
BLOCK, RECORD = 0x0071, 0x01  # the group and the element of our record
READ = [0x00080016, 0x0008001C, 0x00080008, 0x00204000,  # SOP Class UID and the marks
        0x00710010, 0x00711001]  # fmt: skip


def read_dicom_mark(path: Path) -> SyntheticMark | None:
    """What says that a DICOM file, or one of a folder, is synthetic; None where nothing does.

    Raises FileError for what is not DICOM or cannot be read.
    """
    files = [file for file in (files_in(path) if path.is_dir() else [path]) if is_dicom(file)]
    if not files:
        raise FileError(f"{shown(path)}: holds no DICOM files; name an image or its folder.")
    for file in files:
        try:
            with warnings.catch_warnings(action="ignore"):
                dataset = data_set_of(file, READ, pixels=False)
                dataset.SOPClassUID  # noqa: B018 - every image has one; bytes that are none lack it
                mark, record = mark_in_dataset(dataset), record_in(dataset)
        except Exception as error:  # pydicom raises many kinds for damaged files
            raise FileError(
                f"{shown(file)}: is not a format I read (DICOM, but {str(error)[:80]}); export it "
                "again."
            ) from error
        if mark:
            where = f"{shown(file)}: {mark}" if file != path else mark
            ours = mark_from_record(where, record).provenance if record else None
            return SyntheticMark(where, ours, ours.sentence() if ours else MARK)
    return None


def record_in(dataset: Any) -> dict[str, Any]:
    """Our record of origin, as in a sidecar; {} where there is none."""
    try:
        value = dataset.private_block(BLOCK, OURS)[RECORD].value
    except KeyError:
        return {}
    return parsed(value if isinstance(value, bytes) else str(value))


def mark_in_dataset(dataset: Any) -> str:
    """The DICOM attribute that says so; '' where none does."""
    if str(getattr(dataset, "SyntheticData", "NO")).upper() == "YES":
        return "DICOM Synthetic Data is YES"
    if "SYNTHETIC" in image_type(dataset):
        return "DICOM Image Type says SYNTHETIC"
    if str(getattr(dataset, "ImageComments", "")).startswith(MARK):
        return f"DICOM Image Comments say {MARK}"
    return ""


def image_type(dataset: Any) -> tuple[str, ...]:
    """The values of Image Type, DICOM PS3.3 C.8.3.1.1.1."""
    value = getattr(dataset, "ImageType", None) or ()
    return tuple(str(part).upper() for part in ([value] if isinstance(value, str) else value))
