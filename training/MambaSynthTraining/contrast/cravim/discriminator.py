"""The multi-scale patch discriminator of CRAViM's training (MUNIT style, no normalization)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations


class MultiScaleDiscriminator(nn.Module):
    """Images (B,1,H,W) -> patch scores at scale 1, 1/2 and 1/4, each (B,1,h,w).

    Per scale: four 4x4 stride-2 convolutions with ``width``, 2, 4 and 8 times ``width`` channels,
    then 1x1. With the paper's width of 64: 8,265,027 parameters. It sees the image alone: neither
    source nor noise level.
    """

    def __init__(self, width: int = 64, scales: int = 3, spectral_norm: bool = False) -> None:
        super().__init__()
        self.cnns = nn.ModuleList(_patch_network(width) for _ in range(scales))
        if spectral_norm:  # not in the paper
            for module in [m for m in self.modules() if isinstance(m, nn.Conv2d)]:
                parametrizations.spectral_norm(module)

    def forward(self, image: Tensor) -> list[Tensor]:
        scores = []
        for network in self.cnns:
            scores.append(network(image))
            image = F.avg_pool2d(image, 3, stride=2, padding=1, count_include_pad=False)
        return scores


class _HalvingConv(nn.Module):
    """Reflection padding, 4x4 stride-2 convolution, leaky ReLU."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 4, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.conv(F.pad(x, (1, 1, 1, 1), mode="reflect")), 0.2)


def _patch_network(width: int) -> nn.Sequential:
    widths = [1, width, 2 * width, 4 * width, 8 * width]
    halvings = [_HalvingConv(a, b) for a, b in zip(widths, widths[1:], strict=False)]
    return nn.Sequential(*halvings, nn.Conv2d(widths[-1], 1, 1))
