"""Steps of the few-step diffusion on batches whose samples are at different levels.

| symbol       | code            | meaning                                                     |
|--------------|-----------------|-------------------------------------------------------------|
| x_0          | ``clean``       | acquired image (B,1,H,W)                                    |
| x_0 (theta)  | ``estimate``    | the network's estimate of it                                |
| t            | ``t``           | (B,) step index 0..T-1; the network sees level t + 1        |
| x_t, x_{t+1} | ``at_t, noisy`` | the image at these levels                                   |
| eps          | ``eps``         | standard normal, as the image                               |

Coefficients are those of ``MambaSynthLib.methods.diffusion``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from MambaSynthLib.methods.diffusion import Schedule, posterior


def noised_pair(
    clean: Tensor, t: Tensor, eps: Tensor, eps_next: Tensor, schedule: Schedule
) -> tuple[Tensor, Tensor]:
    """x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps and x_{t+1} = a_{t+1} x_t + sigma_{t+1} eps'.

    Xiao et al., ICLR 2022, Eq. 1.
    """
    at_t = each(schedule.signal, t, clean) * clean + each(schedule.noise, t, clean) * eps
    next_a, next_sigma = each(schedule.a, t + 1, clean), each(schedule.sigma, t + 1, clean)
    return at_t, next_a * at_t + next_sigma * eps_next


def denoised(estimate: Tensor, noisy: Tensor, t: Tensor, eps: Tensor, schedule: Schedule) -> Tensor:
    """x_t drawn from q(x_t | x_{t+1}, x_0 = estimate); at t = 0 the estimate itself.

    Xiao et al., ICLR 2022, Eq. 4.
    """
    steps = [posterior(schedule, level + 1, level) for level in range(schedule.steps)]
    of_estimate = each([q.of_estimate for q in steps], t, estimate)
    of_current = each([q.of_current for q in steps], t, estimate)
    std = each([q.std for q in steps], t, estimate)
    return of_estimate * estimate + of_current * noisy + std * eps


def each(table: Sequence[float] | NDArray[np.float64], index: Tensor, like: Tensor) -> Tensor:
    """The table's value for every sample, (B,) -> (B,1,1,1)."""
    values = torch.as_tensor(table, dtype=like.dtype, device=like.device)
    return values[index].view(-1, 1, 1, 1)
