"""A folder with one DICOM series as a volume, read by GDCM through SimpleITK."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.volume import Volume


def read_dicom_folder(folder: Path) -> Volume:
    """The only series in ``folder``, sorted by position.

    Raises FileError where there is no series, more than one, or no plain 3-D image in it.
    """
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    series = reader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        raise FileError(
            f"{folder.name}: holds {len(series)} DICOM series, but one is needed; name a folder "
            "per series."
        )
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), series[0]))
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise FileError(
            f"{folder.name}: its DICOM series cannot be read; convert it to NIfTI first."
        ) from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise FileError(f"{folder.name}: holds no 3-D grey image; convert it to NIfTI first.")
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    affine[:2] *= -1  # DICOM's LPS to RAS
    return Volume(sitk.GetArrayFromImage(image).transpose(2, 1, 0), affine, folder.name)
