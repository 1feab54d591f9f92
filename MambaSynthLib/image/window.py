"""Display limits of a T2w head as radiologists set them: tissue mid-gray, fluid bright, not white.

    0 |-air--bone--|--white matter--gray matter--|---------fluid--| 1
                          PARENCHYMA of the window

Limits at low and high percentiles of all voxels do not do that: how much air, bone and fluid there
is around and inside of a head differs, so they put the brain now darker and now brighter.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.image.metrics import foreground

PARENCHYMA = 0.42  # of the window: where the middle of the brain's tissue lies, at most
DARKEST_PARENCHYMA = 0.30  # and at least: beyond that, the very brightest is clipped
FLUID = 99.8  # percentile of the head that is still within the window
BETWEEN = (0.25, 0.75)  # of that percentile: neither bone and air nor fluid
ENOUGH = 0.1  # of the head must lie between; else one bright spot has set that percentile
AIR = 0.5  # percentile of all voxels that is black
HEADROOM = 1.03  # of the fluid: bright, and not the brightest


def t2_window(array: NDArray[np.floating]) -> tuple[float, float] | None:
    """Low and high limit for the (I,J,K) voxels of a T2w head; None where nothing is to be seen."""
    low = float(np.percentile(array, AIR))
    tissue = np.asarray(array)[foreground(array)]
    if tissue.size == 0 or not float(tissue.max()) > low:
        return None
    fluid = float(np.percentile(tissue, FLUID)) - low
    between = tissue[(tissue - low > BETWEEN[0] * fluid) & (tissue - low < BETWEEN[1] * fluid)]
    usual = between if between.size > ENOUGH * tissue.size else tissue
    parenchyma = float(np.median(usual)) - low
    if parenchyma <= 0:
        return None
    wanted = max(parenchyma / PARENCHYMA, HEADROOM * fluid)
    return low, low + min(wanted, parenchyma / DARKEST_PARENCHYMA)
