"""What the networks that paint frames are told: both images, and the time as a third one."""

from __future__ import annotations

import torch
from torch import Tensor


def conditions(ed: Tensor, es: Tensor, gamma: Tensor) -> Tensor:
    """(B,3,...) in [-1,1]: ED, ES and gamma (B,) as a constant map."""
    time = gamma.reshape(-1, *[1] * (ed.ndim - 1)).expand_as(ed)
    return 2 * torch.cat([ed, es, time], dim=1) - 1
