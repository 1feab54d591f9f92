"""A given brain mask (SynthStrip, HD-BET, FSL BET, ...) applied to all contrasts of a subject."""

from __future__ import annotations

import numpy as np

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.image.volume import Volume
from MambaSynthTraining.data.orientation import same_grid


def mask_out(volumes: dict[str, Volume], mask: Volume) -> dict[str, Volume]:
    """``volumes`` with one exact value outside the mask: their minimum, at most 0.

    Raises VolumeError where a volume lies on another grid than the mask, or the mask is empty.
    """
    inside = mask.array > 0
    if not inside.any():
        raise VolumeError(f"{mask.name}: is an empty mask; make it again.")
    result = {}
    for contrast, volume in volumes.items():
        if not same_grid(volume, mask):
            raise VolumeError(
                f"{mask.name}: is a mask on another grid than {volume.name}; make it from the "
                "first contrast and register the others to it."
            )
        empty = np.float32(min(0.0, float(volume.array.min())))
        result[contrast] = volume.with_array(np.where(inside, volume.array, empty))
    return result
