"""One image on two grids that differ in the order and the direction of their axes alone."""

from __future__ import annotations

import numpy as np

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.image.volume import SAME_PLACE, Affine, Volume, displacement


def turned_onto(volume: Volume, affine: Affine, shape: tuple[int, ...], name: str) -> Volume:
    """``volume`` with its array axes as those of the grid ``name``; no value is changed.

    Raises
    ------
    VolumeError: more than order and direction of the axes differs: a voxel, or 1e-3 mm.
    """
    between = np.linalg.inv(affine) @ volume.affine  # (4,4) index of the volume -> of the grid
    turn = np.rint(between[:3, :3])
    if np.array_equal(np.abs(turn) @ np.abs(turn).T, np.eye(3)):
        order = np.argmax(np.abs(turn), axis=1)  # axis of the grid -> axis of the volume
        moved = volume.affine.copy()
        moved[:3, :3] = volume.affine[:3, :3][:, order]
        array = volume.array.transpose(order)
        for axis in np.flatnonzero(turn[range(3), order] < 0):
            moved[:3, 3] += (array.shape[axis] - 1) * moved[:3, axis]
            moved[:3, axis] *= -1
            array = np.flip(array, int(axis))
        if array.shape == tuple(shape) and displacement(moved, affine, shape) <= SAME_PLACE:
            return Volume(array, affine, volume.name, volume.notes)
    raise VolumeError(
        f"{volume.name}: does not lie on the grid of {name}; give the series that it was "
        "synthesized from."
    )
