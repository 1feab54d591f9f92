"""CRAViM's sampler: from pure noise to the target slice in a few steps (Sec. 2, "inference").

The network sees the source slice and the noised target and estimates the clean target; the
posterior takes the noised target one level down. The level is not an input of the network.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.methods.cravim.config import Sampling
from MambaSynthLib.methods.diffusion import levels, posterior

Images = NDArray[np.float32]
Network = Callable[[Images], Images]


def synthesize(
    network: Network,
    source: Images,
    noise: Images | None,
    sampling: Sampling,
    neighbors: Images | None = None,
) -> Images:
    """The target slices y_0 (B,1,1+2o,H,W) of source slices x_0 (B,1,H,W), in [-1,1].

    A network with intervals gives (B,2,1+2o,H,W): behind the slices the half-widths of the
    intervals in which 90 % of the acquired values are expected, in the same unit.

    ``neighbors`` (B,2r,H,W) are the source slices before and after each, for a network with some.
    ``noise`` (S,B,H,W) holds the standard normal draws: the first is y_T, the others enter the
    posterior of the S - 1 steps that have one. S is therefore the number of network calls. None is
    for a network without a noise channel, which is called once; it may estimate the o slices before
    and the o after each one, too. With noise o is 0.
    """
    around = source[:, :0] if neighbors is None else neighbors  # (B,2r,H,W)
    if noise is None:
        found = network(np.concatenate([source, around], axis=1))  # (B,1 or 2,1+2o,H,W)
        found[:, 1:] *= np.float32(sampling.interval)
        return found
    schedule = sampling.schedule
    visited = levels(schedule, len(noise))
    noise = noise[:, :, None]  # (S,B,1,H,W)
    current = noise[0]
    for step, (high, low) in enumerate(zip(visited, visited[1:], strict=False)):
        estimate = network(np.concatenate([source, current, around], axis=1))[:, -1:]  # (B,1,H,W)
        if low == 0:
            return estimate[:, None]
        q = posterior(schedule, high, low)
        drawn = q.of_estimate * estimate + q.of_current * current + q.std * noise[step + 1]
        current = drawn.astype(np.float32)
    raise AssertionError("unreachable: the last level is 0")
