"""Every other slice as its mirror image and a pixel further, so that what is the network's cancels.

A network that halves its grid and doubles it again treats even and odd rows a little unlike (Odena
et al., Deconvolution and checkerboard artifacts, 2016), and one that has learned heads and their
mirror images alike still answers them a little unlike. What that adds is the same in all slices,
and so in all planes but their own a band. In turns, the estimates that overlap in a slice cancel
it, see ``OverlapMean``: without a call more they are the mean of a head and its mirror image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MambaSynthLib.image.preparation import Floats, Indices


@dataclass(frozen=True)
class Alternation:
    """Of a stack of slices the odd ones in another way to the network and back, if ``wanted``.

    across: left and right lie across the slices, as in sagittal ones; such a head is mirrored by
        the order of its slices, others by that of their columns. The canvas has room for a pixel.
    """

    wanted: bool
    across: bool = False

    def to_network(self, images: Floats, chosen: Indices, r: int = 0) -> Floats:
        """(n,C,H,W): the n ``chosen`` slices, or where ``r`` is given the 2r around each."""
        if not self.wanted:
            return images
        odd = chosen % 2 == 1
        turned = images.copy()
        turned[odd] = self._mirrored(np.roll(images[odd], self._pixels, axis=(-2, -1)))
        if self.across and r:
            n, _, *size = images.shape
            order = turned.reshape(n, -1, 2 * r, *size)
            order[odd] = order[odd][:, :, ::-1]
        return turned

    def back(self, estimates: Floats, chosen: Indices) -> Floats:
        """(n,1+2o,...,H,W): what the network says of those slices and the o on either side."""
        if not self.wanted:
            return estimates
        odd = chosen % 2 == 1
        found = estimates.copy()
        back = -self._pixels[0], -self._pixels[1]
        found[odd] = np.roll(self._mirrored(estimates[odd]), back, axis=(-2, -1))
        if self.across:
            found[odd, 1:] = found[odd, :0:-1]
        return found

    @property
    def _pixels(self) -> tuple[int, int]:
        """Down and to the right; a mirrored row of even length begins with its odd pixels."""
        return (1, 1) if self.across else (1, 0)

    def _mirrored(self, images: Floats) -> Floats:
        return images if self.across else images[..., ::-1]
