"""The diffusion bridge of SelfRDB, as pure functions: from a target image to a noised source.

| symbol        | code             | shape  | meaning                                              |
|---------------|------------------|--------|------------------------------------------------------|
| t             | ``t``            | (B,)   | level, 0: the target itself, T: source and noise     |
| beta_t        | ``betas``        | (T+1,) | rises to the middle of the bridge, falls behind it   |
| s_t^2, s'_t^2 | ``done, to_do``  | (T+1,) | sums of beta up to t, from t on                      |
| x_0, y        | ``target, source`` |      | acquired images (B,1,H,W) in [-1,1]                  |
| mu_x, mu_y    | ``of_target, of_source`` | (T+1,) | what level t keeps of both                   |
| sigma_t       | ``std``          | (T+1,) | noise, which grows up to the end: the soft prior     |

    q(x_t | x_0, y) = N(mu_x x_0 + mu_y y, sigma_t^2)
    mu_x = s'_t^2 / (s_t^2 + s'_t^2),  mu_y = 1 - mu_x,  sigma_t = gamma S s_t / (s_t^2 + s'_t^2)

S is the sum of all beta. Arslan et al., SelfRDB (Medical Image Analysis 2025), with the values of
its published program. The program's posterior puts s in the place of sigma; ours has sigma, so that
what it draws from x_t has the distribution of q(x_{t-1} | x_0, y).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from MambaSynthTraining.contrast.rivals.diffusion_steps import each

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Bridge:
    """T = ``steps``; gamma is the noise at the source's end."""

    steps: int = 10
    beta_start: float = 0.1
    beta_end: float = 3.0  # divided by the steps
    gamma: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 2 or min(self.beta_start, self.beta_end, self.gamma) <= 0:
            raise ValueError(
                f"a bridge of {self.steps} steps, beta {self.beta_start} to {self.beta_end} and "
                f"gamma {self.gamma} leads nowhere; give 2 steps or more and positive numbers"
            )

    @cached_property
    def betas(self) -> Values:
        n = np.arange(self.steps + 1)
        nearest = np.minimum(n, n[::-1])  # to an end
        low, high = np.sqrt(self.beta_start), np.sqrt(self.beta_end / self.steps)
        ramp = (low + (nearest - 1) / self.steps * (high - low)) ** 2
        return np.where(nearest == 0, 0.0, ramp)

    @cached_property
    def of_target(self) -> Values:
        done, to_do = np.cumsum(self.betas), np.cumsum(self.betas[::-1])[::-1]
        return to_do / (done + to_do)

    @cached_property
    def std(self) -> Values:
        done, to_do = np.cumsum(self.betas), np.cumsum(self.betas[::-1])[::-1]
        return self.gamma * self.betas.sum() * np.sqrt(done) / (done + to_do)

    def noised(self, target: Tensor, source: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """x_t of q(x_t | x_0, y)."""
        kept = each(self.of_target, t, target)
        return kept * target + (1 - kept) * source + each(self.std, t, target) * eps

    def previous(
        self, noisy: Tensor, estimate: Tensor, source: Tensor, t: Tensor, eps: Tensor
    ) -> Tensor:
        """x_{t-1} of q(x_{t-1} | x_t, x_0 = estimate, y), 1 <= t <= T; at t = 1 the estimate."""
        kept, std = each(self.of_target, t, noisy), each(self.std, t, noisy)
        kept_before, std_before = (
            each(values, t - 1, noisy) for values in (self.of_target, self.std)
        )
        step = std**2 - (std_before * kept / kept_before) ** 2  # variance of x_t given x_{t-1}
        variance = step * (std_before / std) ** 2
        away = (noisy - kept * estimate - (1 - kept) * source) / std
        mean = kept_before * estimate + (1 - kept_before) * source
        return mean + (std_before**2 - variance).clamp(min=0).sqrt() * away + variance.sqrt() * eps
