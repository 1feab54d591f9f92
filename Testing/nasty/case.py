"""One nasty input: how it is made, what it truly holds, and what must become of it.

Nothing here comes from a data set: every file is computed when it is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

WORKS, WARNED, REFUSED = "ok", "warned", "refused"  # the three good outcomes
SILENT, CRASH, HANG, BROKEN = "silent", "crash", "hang", "broken"  # and the bad ones
GOOD, BAD = (WORKS, WARNED, REFUSED), (SILENT, CRASH, HANG, BROKEN)
NOT_READ = "-"  # a format, or a question, that is not this reader's

Make = Callable[[Path], Path]  # into an empty folder; returns the file or folder to be read


@dataclass(frozen=True)
class Image:
    """What a file says, to whoever reads it right: (I,J,K) values and (4,4) voxel -> RAS mm."""

    values: NDArray[Any]
    affine: NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A row of the table.

    wanted: WORKS, WARNED (the result names the doubt) or REFUSED (a sentence, and no file).
    truth: what a reader may return without a word; None where the file says nothing, or twice.
    options: of our command. rivals: whether what it asks is a question to a reader of files.
    """

    group: str
    what: str
    make: Make
    wanted: str = WORKS
    truth: Image | None = None
    options: tuple[str, ...] = ()
    rivals: bool = True
    command: str = "synthesize"

    @property
    def name(self) -> str:
        return f"{self.group}: {self.what}"


def same(found: Image, truth: Image) -> bool:
    """Whether both show the same values in the same place, in whatever order of the axes.

    Places may differ by a micrometer; values not at all, as float32, NaN being NaN.
    """
    if found.values.ndim != 3 or not np.all(np.isfinite(found.affine)):
        return False
    try:
        step = np.linalg.inv(found.affine) @ truth.affine  # index of truth -> index of found
    except np.linalg.LinAlgError:
        return False
    index = np.rint(step)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in truth.values.shape])).reshape(3, -1)
    places = np.vstack([corners, np.ones(corners.shape[1])])
    apart = (found.affine @ index - truth.affine) @ places
    if np.abs(apart).max() > 1e-3 or sorted(found.values.shape) != sorted(truth.values.shape):
        return False
    i, j, k = np.meshgrid(*map(np.arange, truth.values.shape), indexing="ij")
    at = np.tensordot(index[:3, :3], np.stack([i, j, k]), 1) + index[:3, 3, None, None, None]
    at = at.astype(int)
    if (at < 0).any() or (at.max(axis=(1, 2, 3)) >= found.values.shape).any():
        return False
    with np.errstate(over="ignore"):
        here = found.values[tuple(at)].astype(np.float32)
        return bool(np.array_equal(here, truth.values.astype(np.float32), equal_nan=True))
