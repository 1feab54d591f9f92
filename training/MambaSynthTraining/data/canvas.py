"""A canvas of one size and voxels of one size, for arrays of any number of axes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Box = tuple[tuple[int, int], ...]  # start and stop along each axis


def resample(
    array: NDArray[Any], spacing: tuple[float, ...], wanted: tuple[float, ...], order: int
) -> NDArray[Any]:
    """An array at ``spacing`` mm on a grid of ``wanted`` mm with the same middle."""
    step = np.array(wanted) / spacing  # voxels of the array per new voxel
    size = np.maximum(1, np.rint(array.shape / step)).astype(int)
    offset = (np.array(array.shape) - 1) / 2 - (size - 1) / 2 * step
    return ndimage.affine_transform(array, step, offset, tuple(size), order=order, mode="nearest")


def center(array: NDArray[Any], size: tuple[int, ...], fill: float = 0) -> tuple[NDArray[Any], Box]:
    """Cut or padded to ``size``, its middle kept in the middle, and the box that is no padding."""
    placed = np.full(size, fill, dtype=array.dtype)
    cut = [min(have, want) for have, want in zip(array.shape, size, strict=True)]
    into, out = (
        tuple(((n - c) // 2, (n - c) // 2 + c) for n, c in zip(shape, cut, strict=True))
        for shape in (size, array.shape)
    )
    placed[tuple(slice(*ends) for ends in into)] = array[tuple(slice(*ends) for ends in out)]
    return placed, into
