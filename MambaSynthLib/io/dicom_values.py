"""The values of one slice of a DICOM series.

Source: DICOM PS3.3 C.7.6.3 (Image Pixel), C.11.1 (Modality LUT); PS3.5 8.1.1 (pixel cells).
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.dicom_marks import OURS
from MambaSynthLib.io.dicom_slice import Slice

GRAY = ("MONOCHROME1", "MONOCHROME2")


def values_of(one: Slice) -> NDArray[np.float32]:
    """(rows,columns) real values; each slice has a slope and an intercept of its own.

    Raises FileError for pixels that cannot be decoded or rescaled, or are no gray values.
    """
    from pydicom.pixels.utils import pixel_array

    dataset, image = one.dataset, one.image
    try:
        _check_cells(one)
        with warnings.catch_warnings(action="ignore"):
            stored = np.asarray(pixel_array(image, index=one.frame or 0))
    except FileError:
        raise
    except Exception as error:  # pydicom and its decoders raise many kinds
        raise FileError(
            f"{one.name}: its pixels cannot be read ({str(error)[:80]}); it is truncated or needs "
            "a decoder that is not installed, export it uncompressed."
        ) from error
    if stored.ndim != 2:
        raise FileError(f"{one.name}: holds color pixels, but a scalar slice is needed.")
    slope, intercept = _line(dataset)
    if slope == 0:
        raise FileError(
            f"{one.name}: states the Rescale Slope 0, with which all values would be equal; export "
            "the series again."
        )
    values = stored.astype(np.float64) * slope + intercept
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        both_ends = -1 if image.PixelRepresentation else 2 ** int(image.BitsStored) - 1  # their sum
        values = both_ends * slope + 2 * intercept - values
    if not np.all(np.isfinite(values)):
        raise FileError(f"{one.name}: its rescaling is no number; export the series again.")
    return values.astype(np.float32)


def _check_cells(one: Slice) -> None:
    """Refuse what decoders pass over in silence: shifted bits, palettes, more than one picture."""
    image = one.image
    kind, bits, highest = (
        image.get(keyword) for keyword in ("PhotometricInterpretation", "BitsStored", "HighBit")
    )
    if kind not in GRAY:
        raise FileError(
            f"{one.name}: holds pixels of the kind {kind}, but gray values are needed; export the "
            "series as such."
        )
    if None not in (bits, highest) and highest != bits - 1:
        raise FileError(
            f"{one.name}: keeps its {bits} bits below bit {highest + 1}, not at the lowest place; "
            "export the series again."
        )
    if image.file_meta.TransferSyntaxUID.is_encapsulated or "PixelData" not in image:
        return
    pictures = int(image.get("NumberOfFrames") or 1)
    one_picture = image.Rows * image.Columns * image.BitsAllocated // 8
    if len(image.PixelData) >= (pictures + 1) * one_picture:
        raise FileError(
            f"{one.name}: holds at least one picture more than its header states; the header is "
            "wrong, export the series again."
        )


def _line(dataset: Any) -> tuple[float, float]:
    """Slope and intercept from stored to real values.

    Ours are a real world value mapping; those of scanners mean other quantities.
    """
    first, second = "RescaleSlope", "RescaleIntercept"
    if dataset.get("Manufacturer") == OURS and dataset.get("RealWorldValueMappingSequence"):
        (dataset,) = dataset.RealWorldValueMappingSequence
        first, second = "RealWorldValueSlope", "RealWorldValueIntercept"
    slope, intercept = dataset.get(first), dataset.get(second)
    return (
        1.0 if slope in (None, "") else float(slope),
        0.0 if intercept in (None, "") else float(intercept),
    )
