"""Kolmogorov-Arnold layers (Liu et al., ICLR 2025): a learned curve on every connection.

    y_o = sum_i w_oi SiLU(x_i) + sum_i sum_g c_oig B_g(x_i)

| symbol | code     | shape             | meaning                                          |
|--------|----------|-------------------|--------------------------------------------------|
| B_g    | ``bases``| (...,I,grid+3)    | cubic B-splines on ``grid`` intervals of [-1,1]  |
| w, c   | ``base``, ``curves`` | (O,I), (O,I,grid+3) | weights of the SiLU and of the splines |
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GRID = 5
ORDER = 3


class KANLinear(nn.Module):
    """(...,I) -> (...,O). Outside [-1,1] the splines fade to zero and the SiLU remains."""

    def __init__(self, inputs: int, outputs: int, grid: int = GRID) -> None:
        super().__init__()
        self.base = nn.Linear(inputs, outputs, bias=False)
        self.curves = nn.Parameter(torch.randn(outputs, inputs, grid + ORDER))
        nn.init.normal_(self.curves, 0, 0.1 / inputs**0.5)
        step = 2 / grid
        knots = torch.arange(-ORDER, grid + ORDER + 1) * step - 1
        self.register_buffer("knots", knots, persistent=False)
        self.knots: Tensor

    def forward(self, x: Tensor) -> Tensor:
        bases = b_splines(x, self.knots)  # (...,I,grid+3)
        return self.base(F.silu(x)) + F.linear(bases.flatten(-2), self.curves.flatten(1))


def b_splines(x: Tensor, knots: Tensor) -> Tensor:
    """Cubic B-splines at x (...) on equidistant ``knots`` (K,) -> (...,K-4); Cox-de Boor."""
    x = x[..., None]
    values = ((x >= knots[:-1]) & (x < knots[1:])).to(x.dtype)
    for order in range(1, ORDER + 1):
        rising = (x - knots[: -order - 1]) / (knots[order:-1] - knots[: -order - 1])
        falling = (knots[order + 1 :] - x) / (knots[order + 1 :] - knots[1:-order])
        values = rising * values[..., :-1] + falling * values[..., 1:]
    return values


class KANBlock(nn.Module):
    """Tokens of a map (B,C,H,W): x + two KAN layers with a depth-wise convolution after each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.layers = nn.ModuleList(KANLinear(channels, channels) for _ in range(2))
        self.mixing = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
                nn.GroupNorm(4, channels),
                nn.SiLU(),
            )
            for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x.flatten(2).transpose(1, 2))  # (B,L,C)
        for layer, mixing in zip(self.layers, self.mixing, strict=True):
            mixed = mixing(layer(y).transpose(1, 2).reshape(x.shape))
            y = mixed.flatten(2).transpose(1, 2)
        return x + y.transpose(1, 2).reshape(x.shape)
