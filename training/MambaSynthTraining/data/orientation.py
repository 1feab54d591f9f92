"""Volumes in another axis order, and as SimpleITK images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from MambaSynthLib.image.grid import Reorientation
from MambaSynthLib.image.volume import Volume

if TYPE_CHECKING:
    import SimpleITK

SAME_PLACE_MM = 1e-3


def orient(volume: Volume, codes: str) -> Volume:
    """The same voxels with array axes that grow towards ``codes``; no value is changed."""
    turn = Reorientation.between(volume.affine, codes)
    array = turn.apply(volume.array).transpose(2, 1, 0)  # (N,H,W) -> columns, rows, slices
    columns, origin = [], volume.affine[:3, 3].copy()
    for axis, flipped in zip(turn.order, turn.flipped, strict=True):
        edge = volume.affine[:3, axis]
        columns.append(-edge if flipped else edge)
        origin += edge * (volume.shape[axis] - 1) * flipped
    affine = np.eye(4)
    affine[:3] = np.column_stack([*columns[::-1], origin])
    return Volume(array, affine, volume.name, volume.notes)


def same_grid(one: Volume, other: Volume) -> bool:
    """Whether equal indices are the same place, to a thousandth of a millimeter everywhere."""
    if one.shape != other.shape:
        return False
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], float)
    corners[:, :3] *= np.array(one.shape) - 1
    return bool(np.abs(corners @ (one.affine - other.affine).T).max() < SAME_PLACE_MM)


def to_image(volume: Volume) -> SimpleITK.Image:
    """A SimpleITK image whose physical space is RAS mm.

    ITK's readers use LPS, but its filters ask only that all images share one frame.
    """
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(volume.array.transpose(2, 1, 0))
    image.SetSpacing(volume.spacing.tolist())
    image.SetDirection((volume.affine[:3, :3] / volume.spacing).ravel().tolist())
    image.SetOrigin(volume.affine[:3, 3].tolist())
    return image


def from_image(image: Any, like: Volume, name: str | None = None) -> Volume:
    """The values of an image that lies on the grid of ``like``, which keeps its exact affine."""
    import SimpleITK as sitk

    return like.with_array(sitk.GetArrayViewFromImage(image).transpose(2, 1, 0), name)
