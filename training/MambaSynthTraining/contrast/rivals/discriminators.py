"""Patch discriminator (CycleGAN, Pix2Pix, RegGAN, SynDiff) and time-conditional one (SynDiff).

| symbol   | code        | meaning                                                           |
|----------|-------------|-------------------------------------------------------------------|
| ndf      | ``width``   | channels of the first layer; the papers take 64                   |
| x_t, x_{t+1} | ``denoised``, ``noisy`` | an acquired or synthetic image at level t, t + 1  |
| t        | ``t``       | (B,) step index 0..T-1                                            |
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from monai.networks.nets import PatchDiscriminator
from torch import Tensor, nn

from MambaSynthTraining.contrast.rivals.fir import halve
from MambaSynthTraining.contrast.rivals.time_embedding import TimeEmbedding


class PatchGAN(nn.Module):
    """Images (B,C,H,W) -> scores (B,1,h,w), each of a 70x70 patch; Isola et al., CVPR 2017, 6.1.

    ``pooled`` averages the scores to (B,1,1,1), as RegGAN does. One channel and width 64:
    2,762,689 parameters.
    """

    def __init__(self, in_channels: int = 1, width: int = 64, pooled: bool = False) -> None:
        super().__init__()
        self.pooled = pooled
        self.layers = PatchDiscriminator(
            spatial_dims=2, channels=width, in_channels=in_channels, norm="INSTANCE", bias=True
        )

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.layers(images)[-1]
        return scores.mean((2, 3), keepdim=True) if self.pooled else scores


class TimeDiscriminator(nn.Module):
    """Whether x_t follows from x_{t+1}: (B,1,H,W) twice, t (B,) -> scores (B,1).

    Denoising diffusion GANs (Xiao et al., ICLR 2022), App. C: residual halvings with the time
    added inside, the standard deviation over the batch as a last channel. Width 64 and 6 halvings,
    for 256x256: 27,736,705 parameters.
    """

    def __init__(self, width: int = 64, halvings: int = 6, time_features: int = 256) -> None:
        super().__init__()
        widths = [2 * width, 4 * width, *[8 * width] * (halvings - 1)]
        self.time = TimeEmbedding(time_features, time_features)
        self.start = nn.Conv2d(2, widths[0], 1)
        self.blocks = nn.ModuleList(_Halving(a, b, time_features) for a, b in pairwise(widths))
        self.last = nn.Conv2d(widths[-1] + 1, widths[-1], 3, padding=1)
        self.score = nn.Linear(widths[-1], 1)

    def forward(self, denoised: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        time = F.leaky_relu(self.time(t), 0.2)
        x = self.start(torch.cat([denoised, noisy], dim=1))
        for block in self.blocks:
            x = block(x, time)
        x = torch.cat([x, deviation_over_batch(x)], dim=1)
        x = F.leaky_relu(self.last(F.leaky_relu(x, 0.2)), 0.2)
        return self.score(x.sum((2, 3)))


class _Halving(nn.Module):
    """(B,C,H,W), time (B,E) -> (B,C',H/2,W/2), with a residual connection."""

    def __init__(self, channels: int, out: int, time_features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.time = nn.Linear(time_features, out)
        self.skip = nn.Conv2d(channels, out, 1, bias=False)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        inner = self.conv1(F.leaky_relu(x, 0.2)) + self.time(time)[:, :, None, None]
        inner = self.conv2(halve(F.leaky_relu(inner, 0.2)))
        return (inner + self.skip(halve(x))) / math.sqrt(2)


def deviation_over_batch(x: Tensor) -> Tensor:
    """(B,C,H,W) -> (B,1,H,W): the mean deviation within groups of at most 4 of the batch.

    Karras et al., ICLR 2018 (progressive GAN), Sec. 3.
    """
    groups = x.unflatten(0, (math.gcd(len(x), 4), -1))  # (4,B/4,C,H,W)
    deviation = (groups.var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3))  # (B/4,)
    return deviation.repeat(len(groups)).view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])
