"""Whether DICOM files say that they are synthetic. Headers only.

Source: DICOM PS3.3 C.7.6.1 (General Image: Image Comments), C.8.3.1.1.1 (Image Type), and the
attribute Synthetic Data (0008,001C).
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.dicom_files import files_in, is_dicom
from MambaSynthLib.io.payload import shown
from MambaSynthLib.provenance import MARK

READ = ["SOPClassUID", "SyntheticData", "ImageType", "ImageComments"]


def read_dicom_mark(path: Path) -> str:
    """What says that a DICOM file, or one of a folder, is synthetic; '' where nothing does.

    Raises FileError for what is not DICOM or cannot be read.
    """
    import pydicom

    files = [file for file in (files_in(path) if path.is_dir() else [path]) if is_dicom(file)]
    if not files:
        raise FileError(f"{shown(path)}: holds no DICOM files; name an image or its folder.")
    for file in files:
        try:
            with warnings.catch_warnings(action="ignore"):
                dataset = pydicom.dcmread(file, specific_tags=READ, stop_before_pixels=True)
                dataset.SOPClassUID  # noqa: B018 - every image has one; bytes that are none lack it
                mark = mark_in_dataset(dataset)
        except Exception as error:  # pydicom raises many kinds for damaged files
            raise FileError(
                f"{shown(file)}: is not a format I read (DICOM, but {str(error)[:80]}); export it "
                "again."
            ) from error
        if mark:
            return f"{shown(file)}: {mark}" if file != path else mark
    return ""


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
