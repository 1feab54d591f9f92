"""The step index of a diffusion as a vector (Vaswani et al., NeurIPS 2017, Sec. 3.5)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sinusoids(t: Tensor, features: int) -> Tensor:
    """(B,) -> (B,features): sines and cosines of t at wavelengths from 2 pi to 2 pi 10,000."""
    half = features // 2
    exponents = torch.arange(half, dtype=torch.float32, device=t.device) / (half - 1)
    angles = t.float()[:, None] * torch.exp(-math.log(10_000.0) * exponents)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class TimeEmbedding(nn.Module):
    """t (B,) -> (B,out): sinusoids, linear, activation, linear."""

    def __init__(self, features: int, out: int) -> None:
        super().__init__()
        self.features = features
        self.linear1 = nn.Linear(features, out)
        self.linear2 = nn.Linear(out, out)

    def forward(self, t: Tensor) -> Tensor:
        return self.linear2(F.silu(self.linear1(sinusoids(t, self.features))))
