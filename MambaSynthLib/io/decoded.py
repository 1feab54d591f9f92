"""What a format's reader hands to ``io/files.py``: values as stored, geometry in its own frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Frame = Literal["RAS", "LAS", "LPS"]
Prefer = Literal["sform", "qform"] | None


@dataclass(frozen=True)
class Asked:
    """How to read a file.

    prefer: which form of a NIfTI header to believe where both disagree.
    frames: whether a fourth axis is time; without, more than one volume is refused.
    """

    prefer: Prefer = None
    frames: bool = False


@dataclass(frozen=True)
class Words:
    """What a header says in words, where a file that is synthetic says so.

    texts: where -> text. tags: key -> value, all of the place ``where``.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    where: str = ""


@dataclass(frozen=True)
class Decoded:
    """A file's content before it becomes a Volume.

    Parameters
    ----------
    values: (I,J,K) real values, rescaled as the header says; (I,J,K,F) where frames were asked for.
    affine: (4,4) voxel index -> mm in ``frame``.
    frame: the directions of the world axes.
    words: of the same header.
    notes: named warnings.
    times_ms: of the frames, where the header states them.
    """

    values: NDArray[Any]
    affine: NDArray[np.float64]
    frame: Frame
    words: Words
    notes: tuple[str, ...] = ()
    times_ms: tuple[float, ...] | None = None
