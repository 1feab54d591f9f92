"""Arrays of a data set (D,H,W) as the engine's volumes, and back."""

from __future__ import annotations

import numpy as np

from MambaSynthLib.image.volume import Volume
from MambaSynthTraining.cine.rivals.frame_model import Image

Spacing = tuple[float, float, float]  # mm: slices, rows, columns


def as_volume(image: Image, spacing_mm: Spacing) -> Volume:
    """(D,H,W) -> columns, rows and slices of an LPS volume."""
    d, h, w = spacing_mm
    return Volume(image.transpose(2, 1, 0), np.diag([-w, -h, d, 1.0]), "heart")


def as_image(volume: Volume) -> Image:
    """The undoing of ``as_volume``."""
    return np.ascontiguousarray(volume.array.transpose(2, 1, 0))


def as_field(field: Image) -> Image:
    """(3,I,J,K) along columns, rows, slices -> (3,D,H,W) along D, H, W."""
    return np.ascontiguousarray(field[::-1].transpose(0, 3, 2, 1))
