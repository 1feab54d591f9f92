"""All slices of a network at once as a volume, to compare with what is written in parts."""

from __future__ import annotations

import numpy as np

from MambaSynthLib.image.intensity import Scaling
from MambaSynthLib.image.preparation import Preparation
from MambaSynthLib.image.volume import Volume


def restored(preparation: Preparation, stack: np.ndarray, scaling: Scaling) -> Volume:
    """(N,H,W) from the network -> a volume on the source's grid."""
    array = preparation.blank(scaling)
    preparation.write(array, np.arange(preparation.count), stack, scaling)
    return preparation.volume.with_array(array, "synthetic")
