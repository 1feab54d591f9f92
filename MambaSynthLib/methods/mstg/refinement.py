"""Two small parts of MSTG+: the course of time, and what warping cannot know."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KNOTS = 8
SPEED = 20.0  # lets the few numbers of the curve move as fast as the networks around them
WIDTH = 16
NEAR = 5  # voxels; the box in which two images are compared


class TimeCurve(nn.Module):
    """gamma (B,) -> how far the motion has come, monotone, 0 at 0 and 1 at 1. Starts as identity.

    Piecewise linear with learned positive increments: systole is not linear in time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.increments = nn.Parameter(torch.zeros(KNOTS))

    def forward(self, gamma: Tensor) -> Tensor:
        knots = torch.arange(KNOTS, device=gamma.device)
        passed = (gamma[:, None] * KNOTS - knots).clamp(0, 1)  # (B,knots) share of each piece
        return (passed * (SPEED * self.increments).softmax(0)).sum(1)


class Refinement(nn.Module):
    """What to add to the blend of two warped images ``a``, ``b`` (B,1,D,H,W) at time gamma (B,).

    4 gamma (1 - gamma) g N(a, b, gamma), with g in [0,1) a measure of how much a and b differ
    nearby. So it is exactly zero at both ends, and wherever a and b are the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(3, WIDTH, 3, padding=1),
            nn.SiLU(),
            nn.Conv3d(WIDTH, WIDTH, 3, padding=1),
            nn.SiLU(),
            nn.Conv3d(WIDTH, WIDTH, 3, padding=1),
            nn.SiLU(),
            nn.Conv3d(WIDTH, 1, 3, padding=1),
        )
        self.log_scale = nn.Parameter(torch.tensor(-4.0))  # of the differences that open the gate
        nn.init.zeros_(self.layers[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.layers[-1].bias)  # type: ignore[arg-type]

    def forward(self, a: Tensor, b: Tensor, gamma: Tensor) -> Tensor:
        time = gamma[:, None, None, None, None]
        seen = torch.cat([2 * a - 1, 2 * b - 1, (2 * time - 1).expand_as(a)], dim=1)
        difference = F.avg_pool3d((a - b).abs(), NEAR, stride=1, padding=NEAR // 2)
        gate = difference / (difference + self.log_scale.exp())
        return 4 * time * (1 - time) * gate * self.layers(seen).float()
