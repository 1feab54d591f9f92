"""What a user may choose about the frames between acquired ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from MambaSynthLib.cine.timing import Timing
from MambaSynthLib.errors import RequestError

if TYPE_CHECKING:
    from MambaSynthLib.methods.mstg.velocity_fit import FitSettings

SMOOTH_FAR = 0.02  # lambda_smooth between ED and ES: large motion is to be explained
SMOOTH_NEAR = 0.2  # between neighbors in a coarse cine, where it is small and noise misleads
FEWEST_STEPS, USUAL_STEPS, MOST_STEPS = 10, 160, 1000


@dataclass(frozen=True)
class CineOptions:
    """``refine``: polish the network's motion on the frames themselves, in ``steps`` at most.

    ``timing``: None is the cardiac course between ED and ES alone, and what the neighbors tell in
    a coarse cine; without ``refine``, the network's own course. Raises RequestError.
    """

    refine: bool = True
    steps: int = USUAL_STEPS
    timing: Timing | None = None

    def __post_init__(self) -> None:
        if not FEWEST_STEPS <= self.steps <= MOST_STEPS:
            raise RequestError(
                f"refine-steps is {self.steps}; give {FEWEST_STEPS} to {MOST_STEPS}, or "
                "--no-refine."
            )

    def fit_settings(self, coarse: bool) -> FitSettings:
        """For ED and ES, or for neighbors in a ``coarse`` cine."""
        from MambaSynthLib.methods.mstg.velocity_fit import FitSettings

        return FitSettings(self.steps, SMOOTH_NEAR if coarse else SMOOTH_FAR)
