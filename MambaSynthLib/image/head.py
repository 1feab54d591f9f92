"""Where a head ends: the air around it, by its own brightness.

    volume --means over some mm--> bright --dilate--> --from the border--> outside --dilate-->

What is dark inside stays part of the head: ventricles, bone, and sinuses, too, whose air a network
has to know. Gaps narrower than twice ``CLOSING_MM`` are closed, so that the outside does not leak
through the dark skull into the dark fluid below.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.image.intensity import background, connected, connected_to_border, median_scaling
from MambaSynthLib.image.volume import Volume

COARSE_MM = 2.0
SMALL_MM = 3.0
CLOSING_MM = 7.0
THRESHOLD = 0.12  # of the median of the middle of the head
NOISE_FACTOR = 1.6  # air up to so many times the brightness at the border is air
MOST_NOISE = 0.3  # of that median: what is brighter at the border is a head that is cut there
ENOUGH = 0.98  # of the dark surroundings in exact background: somebody has set them to it

Mask = NDArray[np.bool_]


def air_around(volume: Volume) -> Mask:
    """(I,J,K) where there is nothing of the head, for T1w, T2w and FLAIR with or without skull.

    A volume whose air was set to one value, as skull stripping does, is taken at its word.
    Raises VolumeError for a constant volume.
    """
    exact = background(volume.array)
    dark = _dark_around(volume)
    return exact if (exact & dark).sum() >= ENOUGH * dark.sum() else exact | dark


def _dark_around(volume: Volume) -> Mask:
    factors = [max(1, round(COARSE_MM / edge)) for edge in volume.spacing]
    coarse = _smoothed(block_means(volume.array, factors), volume.spacing * factors)
    scaling = median_scaling(volume)
    low = scaling.center - scaling.half_width
    median = scaling.half_width / 2  # above ``low``
    faces = [coarse.take(end, axis).ravel() for axis in (0, 1) for end in (0, -1)]
    noise = NOISE_FACTOR * min(float(np.median(np.concatenate(faces))) - low, MOST_NOISE * median)
    bright = coarse > low + max(THRESHOLD * median, noise)
    voxels = zip(volume.spacing, factors, strict=True)
    radii = [round(CLOSING_MM / (edge * factor)) for edge, factor in voxels]
    padded = np.pad(bright, [(r + 1, r + 1) for r in radii])
    middle = np.zeros_like(padded)
    middle[tuple(slice(n // 3, n - n // 3) for n in padded.shape)] = True
    brain = connected(padded, middle)  # islands of noise are no head,
    head = connected(padded, dilated(brain, radii))  # but the scalp beyond the dark bone is
    outside = dilated(connected_to_border(~dilated(head, radii)), radii)
    bounds = zip(radii, padded.shape, strict=True)
    outside = outside[tuple(slice(r + 1, n - r - 1) for r, n in bounds)]
    for axis, factor in enumerate(factors):
        outside = outside.repeat(factor, axis=axis)
    return outside[tuple(map(slice, volume.shape))]


def block_means(array: NDArray[np.float32], factors: list[int]) -> NDArray[np.float32]:
    """Means over blocks of ``factors`` voxels, the last of which may reach over the border."""
    for axis, factor in enumerate(factors):
        starts = np.arange(0, array.shape[axis], factor)
        sums = np.add.reduceat(array, starts, axis=axis)
        counts = np.diff(np.append(starts, array.shape[axis])).astype(np.float32)
        array = (sums / counts.reshape([-1 if a == axis else 1 for a in range(3)])).astype(
            np.float32
        )
    return array


def _smoothed(array: NDArray[np.float32], edges: NDArray[np.float64]) -> NDArray[np.float32]:
    """Means over three voxels along each axis whose voxels are small: noise is no maze then."""
    for axis in np.flatnonzero(edges <= SMALL_MM):
        wide = np.pad(array, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        moved = np.moveaxis(wide, axis, 0)
        array = np.moveaxis((moved[:-2] + moved[1:-1] + moved[2:]) / np.float32(3), 0, axis)
    return array


def dilated(mask: Mask, radii: list[int]) -> Mask:
    """The mask grown by so many voxels along each axis, along one after the other."""
    for axis, radius in enumerate(radii):
        m = np.moveaxis(mask, axis, 0)
        grown = m.copy()
        for step in range(1, min(radius, len(m) - 1) + 1):
            grown[step:] |= m[:-step]
            grown[:-step] |= m[step:]
        mask = np.moveaxis(grown, 0, axis)
    return mask
