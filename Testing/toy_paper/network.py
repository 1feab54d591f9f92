"""Two images become two: a layer of ``width`` features for each pixel."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn


def build(sizes: Mapping[str, int]) -> nn.Module:
    """(B,2,H,W) -> (B,2,H,W)."""
    width = sizes["width"]
    return nn.Sequential(nn.Conv2d(2, width, 1), nn.Tanh(), nn.Conv2d(width, 2, 1))
