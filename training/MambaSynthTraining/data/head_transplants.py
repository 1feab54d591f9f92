"""A brain in the head of another person: whole heads of thin slices, with an acquired brain.

Pairs with a skull have slices of 3 and 4 mm, pairs of 1 mm have lost theirs, and thin heads with
their skull have no T2w. A brain of the second kind in a head of the third is what no pair shows.

    host --affinely, its brain onto the other--> grid of the pair --brain for brain--> T1w

What is left of the host's own brain around the other one becomes fluid, and is not learned.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.image.head import air_around
from MambaSynthLib.image.volume import Volume
from MambaSynthTraining.data.registration import register

Mask = NDArray[np.bool_]

RIM = 2  # voxels that the mask of the host's brain may be too small
CLOSED = 2  # voxels of a gap in a stripped brain that belongs to it
FLUID = 3.0  # percentile of a brain's T1w


def transplanted(source: Volume, host: Volume, host_brain: Mask) -> tuple[Volume, Mask]:
    """T1w of the host's head with the brain ``source`` in it, on the grid of ``source``, and where
    that brain lies.

    ``host_brain`` is a mask on the host's grid. Raises VolumeError: it is empty, or the two cannot
    be registered.
    """
    if not host_brain.any():
        raise VolumeError(f"{host.name}: no brain was found in it; give another head.")
    shown = ~air_around(source)
    brain = shown | ndimage.binary_closing(shown, iterations=CLOSED)
    bare = host.with_array(np.where(host_brain, host.array, host.array.min()), host.name)
    placing = register(source, bare, "affine")
    around = placing.apply(host, source).array.clip(min=0)
    mask = host.with_array(host_brain.astype(np.float32), host.name)
    own = placing.apply(mask, source).array > 0.5
    if not own.any():
        raise VolumeError(
            f"{host.name}: its brain was not brought onto that of {source.name}; give another head."
        )
    around = around * (np.median(source.array[brain]) / np.median(around[own]))
    left = ndimage.binary_dilation(own, iterations=RIM) & ~brain
    around[left] = np.minimum(around[left], np.percentile(source.array[brain], FLUID))
    found = np.where(brain, source.array, around).astype(np.float32)
    return source.with_array(found, f"{source.name} in {host.name}"), brain
