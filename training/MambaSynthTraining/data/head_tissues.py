"""Fluid, gray and white matter of a brain, by the brightness of its T1w image alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
TISSUES = ("fluid", "gray", "white")


def tissues_of(t1: NDArray[np.float32], brain: Mask) -> dict[str, Mask]:
    """Three classes of the T1w image in the brain (Otsu's thresholds), all arrays of one shape."""
    from skimage.filters import threshold_multiotsu

    low, high = threshold_multiotsu(t1[brain], classes=3)
    classes = (t1 <= low, (t1 > low) & (t1 <= high), t1 > high)
    return {name: brain & of_class for name, of_class in zip(TISSUES, classes, strict=True)}
