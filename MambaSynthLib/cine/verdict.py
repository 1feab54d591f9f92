"""What the referee found: rows of frames, rows of motions, and their means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from MambaSynthLib.image.metrics import finite_or_none

FRAME_COLUMNS = (
    "psnr", "ssim", "region_psnr", "region_ssim",
    "best_psnr", "best_ssim", "best_region_psnr", "best_region_ssim",
)  # fmt: skip
MOTION_COLUMNS = ("left", "folding_percent", "volume_error_percent")


@dataclass(frozen=True)
class FrameRow:
    """One hidden frame as one method made it; numbers as referee.py's notation says."""

    method: str
    frame: int  # from 1, in the whole cine
    psnr: float
    ssim: float
    region_psnr: float
    region_ssim: float
    best_psnr: float = math.nan
    best_ssim: float = math.nan
    best_region_psnr: float = math.nan
    best_region_ssim: float = math.nan
    best_fraction: float = math.nan  # of the time between its neighbors, where the best lies


@dataclass(frozen=True)
class MotionRow:
    """What the motion of a method explains; means over the intervals. NaN without motion."""

    method: str
    left: float = math.nan
    folding_percent: float = math.nan
    volume_error_percent: float = math.nan


@dataclass(frozen=True)
class Verdict:
    """All scores of one cine."""

    cine: str
    keep: str
    given: tuple[int, ...]  # from 1
    region_percent: float
    noise_db: float  # PSNR of a frame without any error, against one with the acquired ones' noise
    frames: tuple[FrameRow, ...]
    motions: tuple[MotionRow, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def methods(self) -> list[str]:
        return [row.method for row in self.motions]

    def mean(self, method: str, column: str) -> float:
        """A column of ``MotionRow``, or the mean of one of ``FrameRow`` over the hidden frames."""
        if column in MOTION_COLUMNS:
            found = next(row for row in self.motions if row.method == method)
            return float(getattr(found, column))
        return float(np.mean([getattr(row, column) for row in self.frames if row.method == method]))

    def to_dict(self) -> dict[str, Any]:
        """JSON types; numbers that are not finite become None."""
        columns = (*FRAME_COLUMNS, *MOTION_COLUMNS)
        means = {m: {column: self.mean(m, column) for column in columns} for m in self.methods}
        found: dict[str, Any] = finite_or_none({
            "cine": self.cine, "keep": self.keep, "given": self.given,
            "region_percent": self.region_percent, "noise_db": self.noise_db,
            "warnings": self.notes, "means": means, "frames": list(map(asdict, self.frames)),
        })  # fmt: skip
        return found


def mean_over(verdicts: Sequence[Verdict], method: str, column: str) -> float:
    """Each cine counts once."""
    return float(np.mean([verdict.mean(method, column) for verdict in verdicts]))
