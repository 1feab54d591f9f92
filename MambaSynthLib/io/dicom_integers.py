"""Real values as the 16-bit integers of a classic MR image, and the step that leads back.

A classic MR image has no place for a rescaling that every viewer heeds, so the integers are made to
be looked at as they are: the step is 1 where the largest value is not small, or the acquired frames
of a cine are whole numbers, which then keep the scanner's; otherwise the power of two that fills 15
bits. It is stated as a real
world value mapping, and in words. Source: DICOM PS3.3 C.7.6.3 (Image Pixel), C.11.2 (VOI LUT),
C.7.6.16.2.11 (Real World Value Mapping).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log2
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.dicom_attributes import code

LARGEST, LARGEST_UNSIGNED = 2**15 - 1, 2**16 - 1
LARGE = 500  # of which a step of 1 is fine enough
DARK, BRIGHT = 1.0, 99.5  # percentiles of the window to look at


@dataclass(frozen=True)
class Integers:
    """value = step * integer; integers from ``low`` to ``high``; the window in integers."""

    step: float
    low: int
    high: int
    window: tuple[float, float]

    @classmethod
    def of(cls, images: Sequence[Volume], acquired: Sequence[int]) -> Integers:
        """For the frames of a cine, of which those numbers, from 1, are acquired; or a volume."""
        low = min(float(image.array.min()) for image in images)
        high = max(float(image.array.max()) for image in images)
        kept = [images[number - 1].array for number in acquired]
        whole = bool(kept) and all(np.array_equal(array, np.rint(array)) for array in kept)
        largest, most = max(high, -low), LARGEST_UNSIGNED if low >= 0 else LARGEST
        step = 1.0
        if 0 < largest < LARGE and not whole or largest > most:
            step = 2.0 ** ceil(log2(largest / LARGEST))
        sample = np.concatenate([image.array[::2, ::2].ravel() for image in images]) / step
        dark, bright = np.percentile(sample, (DARK, BRIGHT))
        window = (float(dark + bright) / 2, max(float(bright - dark), 1.0))
        return cls(step, round(low / step), round(high / step), window)

    def store(self, image: Any, values: NDArray[np.float32]) -> None:
        """Put (rows,columns) values into a data set, with all that tells how to read them."""
        signed = self.low < 0
        stored = np.rint(values.astype(np.float64) / self.step).astype("<i2" if signed else "<u2")
        image.Rows, image.Columns = stored.shape
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit, image.PixelRepresentation = 15, int(signed)
        image.WindowCenter, image.WindowWidth = (f"{value:.8g}" for value in self.window)
        image.RealWorldValueMappingSequence = [self._mapping(signed)]
        image.PixelData = stored.tobytes()

    def rounded(self, image: Volume) -> Volume:
        """``image`` as it will be read; an integer knows no -0."""
        whole = np.rint(image.array.astype(np.float64) / self.step)
        return image.with_array(whole * self.step + 0.0)

    def sentence(self) -> str:
        return f"Values were rounded to integer multiples of {self.step:g}."

    def _mapping(self, signed: bool) -> Any:
        import pydicom

        item = pydicom.Dataset()
        kind = "SS" if signed else "US"
        item.add_new("RealWorldValueFirstValueMapped", kind, self.low)
        item.add_new("RealWorldValueLastValueMapped", kind, self.high)
        item.RealWorldValueSlope, item.RealWorldValueIntercept = self.step, 0.0
        item.LUTExplanation, item.LUTLabel = "Arbitrary units", "VALUE"
        item.MeasurementUnitsCodeSequence = code("1", "no units", "UCUM")
        return item
