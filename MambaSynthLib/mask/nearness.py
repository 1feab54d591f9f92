"""How near the brain a voxel of a head is, and so how much the further planes count there.

What no pair shows, face, neck and spinal canal, is learned in axial slices best; coronal and
sagittal ones lose the fluid around the cord. The brain they know as well.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.image.head import dilated
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.mask.engine import MaskEngine
from MambaSynthLib.model.registry import find_model

MODEL = "brain-mask"  # the shipped one, whatever the user's default: the record does not name it
STEPS_MM = (3.0, 6.0, 9.0, 12.0)  # from the brain, at each of which they count a quarter less

Floats = NDArray[np.float32]


def near_brain(head: Volume) -> Floats | None:
    """(I,J,K): 1 in the brain, 0 from the last of ``STEPS_MM`` on; None where no brain is found.

    Raises ModelError: the shipped model for masks is missing or damaged.
    """
    try:
        brain = _mask_engine().find(head).brain.array > 0
    except VolumeError:
        return None
    within = np.zeros(brain.shape, np.float32)
    for mm in STEPS_MM:
        within += dilated(brain, [round(mm / edge) for edge in head.spacing])
    return within / np.float32(len(STEPS_MM))


@cache
def _mask_engine() -> MaskEngine:
    """Loaded once for all volumes."""
    return MaskEngine(find_model(MODEL), "cpu")
