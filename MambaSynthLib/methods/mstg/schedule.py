"""The noise schedule of DDPM (Ho et al., NeurIPS 2020) as DDM has it: beta linear in 2000 steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LinearSchedule:
    """x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps for t = 0 .. steps - 1."""

    steps: int = 2000
    beta_min: float = 1e-6
    beta_max: float = 1e-2

    @cached_property
    def betas(self) -> NDArray[np.float64]:
        """(T,) variance added by each step."""
        return np.linspace(self.beta_min, self.beta_max, self.steps)

    @cached_property
    def abar(self) -> NDArray[np.float64]:
        """(T,) variance of the image that is left after step t."""
        return np.cumprod(1 - self.betas, dtype=np.float64)
