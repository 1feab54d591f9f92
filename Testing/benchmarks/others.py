"""Networks of other papers, of their size and shape, to stand beside CRAViM's in a benchmark.

Random weights; nobody synthesizes with them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def resnet_generator(channels: int = 2, out: int = 1, ngf: int = 64, blocks: int = 9) -> nn.Module:
    """CycleGAN's generator (Zhu et al., ICCV 2017, Sec. 7.2): c7s1-64, d128, d256, 9 x R256,
    u128, u64, c7s1. (B,C,H,W) -> (B,out,H,W).
    """
    return nn.Sequential(
        nn.ReflectionPad2d(3), *_normed(nn.Conv2d(channels, ngf, 7), ngf),
        *_normed(nn.Conv2d(ngf, 2 * ngf, 3, stride=2, padding=1), 2 * ngf),
        *_normed(nn.Conv2d(2 * ngf, 4 * ngf, 3, stride=2, padding=1), 4 * ngf),
        *(_Residual(4 * ngf) for _ in range(blocks)),
        *_normed(nn.ConvTranspose2d(4 * ngf, 2 * ngf, 3, 2, 1, output_padding=1), 2 * ngf),
        *_normed(nn.ConvTranspose2d(2 * ngf, ngf, 3, 2, 1, output_padding=1), ngf),
        nn.ReflectionPad2d(3), nn.Conv2d(ngf, out, 7), nn.Tanh(),
    )  # fmt: skip


def _normed(conv: nn.Module, channels: int) -> tuple[nn.Module, ...]:
    return conv, nn.InstanceNorm2d(channels), nn.ReLU(inplace=True)


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReflectionPad2d(1), *_normed(nn.Conv2d(channels, channels, 3), channels),
            nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), nn.InstanceNorm2d(channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class DiffusionUNet(nn.Module):
    """MONAI's diffusion U-Net, told the step, in about the size of SynDiff's NCSN++.

    34.4 instead of 33.6 million parameters, 75 instead of 70 GMAC for 256 x 256 pixels.
    """

    def __init__(self) -> None:
        super().__init__()
        from monai.networks.nets import DiffusionModelUNet

        self.network = DiffusionModelUNet(
            spatial_dims=2, in_channels=2, out_channels=1, num_res_blocks=2,
            channels=(32, 96, 192, 288, 288), num_head_channels=32,
            attention_levels=(False, False, False, False, True),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x, timesteps=torch.ones(len(x), device=x.device))
