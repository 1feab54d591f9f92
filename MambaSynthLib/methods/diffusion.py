"""Few-step diffusion: the noise schedule and the posterior, as pure functions.

Variance-preserving SDE discretized in T steps, as in denoising diffusion GANs (Xiao et al.,
ICLR 2022) and SynDiff (Ozbey et al., IEEE TMI 2023); CRAViM uses T = 4.

| symbol       | code                  | meaning                                               |
|--------------|-----------------------|-------------------------------------------------------|
| i            | ``level``             | noise level, 0 (clean) .. T (pure noise)              |
| beta_i       | ``betas[i]``          | variance added from level i-1 to level i              |
| a_i, sigma_i | ``a[i], sigma[i]``    | sqrt(1 - beta_i), sqrt(beta_i)                        |
| abar_i       | ``signal[i] ** 2``    | product of a_1^2 .. a_i^2, kept variance of the image |
| t            | i - 1                 | the papers' step index: the network sees level t + 1  |

Arithmetic only: images may be NumPy arrays or torch tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import RequestError


@dataclass(frozen=True)
class Schedule:
    """Noise levels 0..T of the VP-SDE with linear beta(s) in [beta_min, beta_max], s in [eps, 1].

    log(a-bar_i) / 2 = -s_i^2 (beta_max - beta_min) / 4 - s_i beta_min / 2;  level 0 is clean.
    """

    steps: int = 4
    beta_min: float = 0.1
    beta_max: float = 20.0
    eps: float = 1e-3

    @cached_property
    def betas(self) -> NDArray[np.float64]:
        """(T+1,) beta_i = 1 - abar_i / abar_{i-1}; beta_0 is 1e-8, the published floor."""
        s = np.arange(self.steps + 1) / self.steps * (1 - self.eps) + self.eps
        log_mean = -0.25 * s**2 * (self.beta_max - self.beta_min) - 0.5 * s * self.beta_min
        abar = np.exp(2 * log_mean)
        return np.concatenate([[1e-8], 1 - abar[1:] / abar[:-1]])

    @cached_property
    def a(self) -> NDArray[np.float64]:
        """(T+1,) what one step keeps of the image."""
        return np.sqrt(1 - self.betas)

    @cached_property
    def sigma(self) -> NDArray[np.float64]:
        """(T+1,) what one step adds of noise."""
        return np.sqrt(self.betas)

    @cached_property
    def signal(self) -> NDArray[np.float64]:
        """(T+1,) sqrt(abar_i): what level i keeps of the clean image; exactly 1 at level 0."""
        return np.concatenate([[1.0], np.cumprod(self.a[1:])])

    @cached_property
    def noise(self) -> NDArray[np.float64]:
        """(T+1,) sqrt(1 - abar_i): the standard deviation of the noise at level i."""
        return np.sqrt(1 - self.signal**2)


@dataclass(frozen=True)
class Posterior:
    """q(x_low | x_high, x_0) = N(of_estimate x_0 + of_current x_high, std^2)."""

    of_estimate: float
    of_current: float
    std: float


def posterior(schedule: Schedule, high: int, low: int) -> Posterior:
    """The Gaussian from noise level ``high`` to ``low`` < ``high`` given the clean estimate.

    With low = high - 1 these are the published coefficients c1, c2 and std of t = low. At level 0
    the result is the estimate itself, without noise.
    """
    kept = schedule.signal[high] / schedule.signal[low]
    added = 1 - kept**2
    noise_high, noise_low = schedule.noise[high] ** 2, schedule.noise[low] ** 2
    return Posterior(
        of_estimate=float(schedule.signal[low] * added / noise_high),
        of_current=float(kept * noise_low / noise_high),
        std=float(np.sqrt(added * noise_low / noise_high)),
    )


def levels(schedule: Schedule, steps: int) -> list[int]:
    """The noise levels visited by ``steps`` network calls: T first, 0 last, evenly spread.

    4 of 4: [4, 3, 2, 1, 0], the published sampler; 2: [4, 2, 0]; 1: [4, 0].

    Raises
    ------
    RequestError: ``steps`` is not between 1 and T.
    """
    if not 1 <= steps <= schedule.steps:
        raise RequestError(f"steps is {steps}; give 1 to {schedule.steps} for this model.")
    return [round(schedule.steps * (1 - n / steps)) for n in range(steps + 1)]
