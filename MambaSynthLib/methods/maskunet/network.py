"""The mask network in torch: (B,8,D,H,W) -> logits (B,16,D,H,W), see ``config.py``."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from MambaSynthLib.methods.maskunet.config import MaskConfig, unet


class MaskNetwork(nn.Module):
    """Convolutions with biases; what normalizes them in training is part of them here."""

    def __init__(self, config: MaskConfig) -> None:
        super().__init__()
        self.levels = config.levels
        self.convolutions = nn.ModuleDict({
            name: nn.Conv3d(a.channels_in, a.channels_out, a.kernel, a.stride, a.kernel // 2)
            for name, a in config.layers().items()
        })  # fmt: skip

    def layer(self, name: str, x: Tensor) -> Tensor:
        x = self.convolutions[name](x)
        return x if name == "logits" else torch.relu(x)

    def forward(self, x: Tensor) -> Tensor:
        return unet(x, self.levels, self.layer, _doubled, operator.add)


def _doubled(x: Tensor) -> Tensor:
    return nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")


def build(network: Mapping[str, Any]) -> MaskNetwork:
    """The untrained network of a card's entry."""
    return MaskNetwork(MaskConfig(tuple(network["channels"])))
