"""The two frames that slices are scored in, which give other numbers for the same images.

native   the slices of the volume as it was acquired, wherever they show anatomy: what a user gets
canvas   the slices of the prepared data set, cut and padded to its size: what the papers score
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.image.preparation import Preparation, prepare
from MambaSynthLib.image.volume import Volume
from MambaSynthTraining.data.prepared import PreparedData, PreparedSubject
from MambaSynthTraining.data.stacks import middle_of
from MambaSynthTraining.evaluation.candidates import NETWORK_RANGE

Stack = NDArray[np.float64]


@dataclass(frozen=True)
class CanvasFrame:
    """The prepared slices of one subject's target, and the way of a volume to them."""

    preparation: Preparation
    numbers: tuple[int, ...]  # of the slices along the slice axis
    acquired: Stack  # (n,H,W) in [-1,1]

    @classmethod
    def of(cls, subject: PreparedSubject, data: PreparedData) -> CanvasFrame:
        """Raises FileError or VolumeError for a subject whose files are missing or damaged."""
        target, attributes = data.contrasts[1], subject.attributes
        placed_by = subject.contrasts[0] if attributes["paired"] else target
        return cls(
            prepare(subject.volume(placed_by), data.grid, data.intensity),
            tuple(attributes["slices"][target]),
            np.asarray(subject.slices(target)[:], np.float64),
        )

    def slices(self, synthetic: Volume) -> Stack:
        """(n,H,W): a volume in the network's range, on the subject's grid, as those slices."""
        stack = self.preparation.stack_of(synthetic, NETWORK_RANGE)[list(self.numbers)]
        height, width = self.acquired.shape[1:]
        return np.asarray(middle_of(stack, (height, width)), np.float64)
