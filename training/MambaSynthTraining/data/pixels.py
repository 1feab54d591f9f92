"""Contrasts that are not registered still get one pixel size, so that heads are equally wide.

IXI's T1 is cut from sagittal slices (axial pixels of 1.2 x 0.94 mm), its T2 is axial (0.94 x 0.94):
a discriminator that sees both would learn the pixel size before anything else.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from MambaSynthLib.image.volume import Volume

SAME = 0.002  # of the pixel size; smaller differences are left alone

Pixels = tuple[float, float]  # mm along columns and rows


def pixels_of(volume: Volume) -> Pixels:
    """Of a volume whose array axes are columns, rows, slices."""
    column, row, _ = (float(mm) for mm in volume.spacing)
    return column, row


def with_pixels(volume: Volume, pixels: Pixels) -> Volume:
    """(I,J,K) in the same place with pixels of that size; the slices stay what they are.

    Linearly interpolated, as registration does it; beyond the edge the minimum.
    """
    step = np.array([*pixels, volume.spacing[2]]) / volume.spacing  # old voxels per new one
    if np.abs(step - 1).max() < SAME:
        return volume
    size = np.maximum(1, np.rint(np.array(volume.shape) / step)).astype(int)
    offset = (np.array(volume.shape) - 1) / 2 - (size - 1) / 2 * step
    array = ndimage.affine_transform(
        volume.array, step, offset, tuple(size), order=1, cval=float(volume.array.min())
    )
    change = np.diag([*step, 1.0])
    change[:3, 3] = offset
    return Volume(array, volume.affine @ change, volume.name, volume.notes)
