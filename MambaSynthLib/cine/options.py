"""What a user may choose about the frames between acquired ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from MambaSynthLib.cine.timing import Timing
from MambaSynthLib.errors import RequestError

if TYPE_CHECKING:
    from MambaSynthLib.methods.mstg.velocity_fit import FitSettings

SMOOTH_FAR = 0.02  # lambda_smooth between ED and ES: large motion is to be explained
SMOOTH_NEAR = 0.05  # between neighbors of a cine, where it is small and noise misleads
NEAR_MS, FAR_MS = 100.0, 260.0  # between them smoothness falls evenly in its logarithm
FEWEST_STEPS, USUAL_STEPS, MOST_STEPS = 10, 160, 1000


@dataclass(frozen=True)
class CineOptions:
    """``refine``: polish the network's motion on the frames themselves, in ``steps`` at most, and
    half as many more between ED and ES of a stack of thick slices.

    ``timing``: None is the cardiac course between ED and ES alone, and what the neighbors tell in
    a coarse cine; without ``refine``, the network's own course. ``pixel_mark``: in
    the voxels of synthetic frames. Raises RequestError.
    """

    refine: bool = True
    steps: int = USUAL_STEPS
    timing: Timing | None = None
    pixel_mark: bool = True

    def __post_init__(self) -> None:
        if not FEWEST_STEPS <= self.steps <= MOST_STEPS:
            raise RequestError(
                f"refine-steps is {self.steps}; give {FEWEST_STEPS} to {MOST_STEPS}, or "
                "--no-refine."
            )

    def fit_settings(self, apart_ms: float | None = None) -> FitSettings:
        """For ED and ES (None), or for neighbors in a coarse cine that are ``apart_ms``."""
        from MambaSynthLib.methods.mstg.velocity_fit import FitSettings

        if apart_ms is None:
            return FitSettings(self.steps, SMOOTH_FAR, far_apart=True)
        apart = min(max(apart_ms, NEAR_MS), FAR_MS)
        way = (apart - NEAR_MS) / (FAR_MS - NEAR_MS)
        return FitSettings(self.steps, SMOOTH_NEAR ** (1 - way) * SMOOTH_FAR**way)
