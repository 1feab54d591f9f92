"""Every other slice one pixel further on the network's grid, so that its checkerboard cancels.

A network that halves its grid and doubles it again treats even and odd rows a little unlike (Odena
et al., Deconvolution and checkerboard artifacts, 2016). What that adds is the same in all slices,
and so in all planes but their own a band. Staggered, the estimates that overlap in a slice cancel
it: half of their weight is of even calls, half of odd ones, see ``OverlapMean``.
"""

from __future__ import annotations

import numpy as np

from MambaSynthLib.image.preparation import Floats, Indices


def stagger(images: Floats, chosen: Indices, wanted: bool, pixels: int = 1) -> Floats:
    """(n,...,H,W): of the n ``chosen`` slices the odd ones so many pixels further down and to the
    right on their canvas, which has room for one.
    """
    if not wanted:
        return images
    odd = chosen % 2 == 1
    moved = images.copy()
    moved[odd] = np.roll(images[odd], (pixels, pixels), axis=(-2, -1))
    return moved
