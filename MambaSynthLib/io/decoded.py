"""What a format's reader hands to ``io/files.py``: values as stored, geometry in its own frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Frame = Literal["RAS", "LAS", "LPS"]


@dataclass(frozen=True)
class Decoded:
    """A file's content before it becomes a Volume.

    Parameters
    ----------
    values: (I,J,K) real values, rescaled as the header says; (I,J,K,F) where frames were asked for.
    affine: (4,4) voxel index -> mm in ``frame``.
    frame: the directions of the world axes.
    notes: named warnings.
    times_ms: of the frames, where the header states them.
    """

    values: NDArray[Any]
    affine: NDArray[np.float64]
    frame: Frame
    notes: tuple[str, ...] = field(default=())
    times_ms: tuple[float, ...] | None = None
