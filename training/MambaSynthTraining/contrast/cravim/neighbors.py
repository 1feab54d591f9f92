"""The neighbors of training slices: those of the same run, acquired or synthetic (2.5-D input).

A batch is made of whole runs of consecutive slices. Its synthetic slices are therefore runs, too,
and on the way back of a cycle each one finds its synthetic neighbors in its own batch: neighbors
cost no network call.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from MambaSynthLib.image.neighbors import neighbors_of


@dataclass(frozen=True)
class Neighbors:
    """``r`` on either side of each slice, in a batch of runs of ``run`` consecutive slices."""

    r: int = 0
    run: int = 1

    def images(self, source: Tensor, noisy: Tensor) -> Tensor:
        """The generator's input: (B,1,H,W) twice -> (B,2+2r,H,W)."""
        pair = torch.cat([source, noisy], dim=1)
        return with_neighbors(pair, source, self.r, self.run) if self.r else pair


NONE = Neighbors()


def with_neighbors(images: Tensor, slices: Tensor, r: int, run: int) -> Tensor:
    """(B,C,H,W) -> (B,C+2r,H,W): after the images, of ``slices`` (B,1,H,W) the r before and the r
    after each one in its run. At the ends of a run the border slice is repeated, as the Engine
    does at the ends of a volume.
    """
    index = np.arange(len(slices))
    first = (index - index % run)[:, None]
    places = torch.from_numpy(neighbors_of(index, r, first, first + run - 1))  # (B,2r)
    return torch.cat([images, slices[:, 0][places.to(slices.device)]], dim=1)
