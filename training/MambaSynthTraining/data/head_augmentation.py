"""Random differences between people, coils and scanners, for slices with neighbors.

The shape changes source, target and weight alike; contrast, shading, blur and noise change the
source alone, so that the network learns to read other scanners' images while its target stays
clean. Brightness v is (x + 1) / 2 times ``MEDIANS``: 1 is the median of the middle of the head.

| symbol | code          | shape        |
|--------|---------------|--------------|
| x_0    | ``source``    | (B,1+2r,h,w) |
| y_0, w | ``target``, ``weight`` | (B,1+2o,h,w) |
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from MambaSynthLib.image.intensity import EMPTY, MEDIANS
from MambaSynthTraining.data.augmentation import (
    BIAS_CELLS,
    Augmentation,
    _sampling_grid,
    black_levels,
    darkened,
)

GAIN = 0.1  # of the median, which is not found exactly: standard deviation of its logarithm
BLURRED = 0.25  # share of the sources that are seen less sharply


def augment(
    source: Tensor, target: Tensor, weight: Tensor, spread: Augmentation, generator: Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """All three, changed. ``generator`` lives on the CPU, so that devices agree."""
    if spread.shape:
        grid = _sampling_grid(target, spread, generator, 1)
        images = torch.cat([source, target], dim=1) - EMPTY
        moved = F.grid_sample(images, grid, "bicubic", "zeros", False)
        moved = moved.clamp(min=0) + EMPTY
        source, target = moved.split([source.shape[1], target.shape[1]], dim=1)
        weight = F.grid_sample(weight, grid, "nearest", "border", False)
    return _rescanned(source, spread, generator), target.clamp(max=1), weight


def _rescanned(source: Tensor, spread: Augmentation, generator: Generator) -> Tensor:
    """The source with another gain, gamma, black level, shading, sharpness and noise."""

    def normal(*shape: int) -> Tensor:
        return torch.randn((len(source), *shape), generator=generator).to(source.device)

    bright = (source - EMPTY).clamp(min=0) * (MEDIANS / 2)
    head = bright > 0
    bright = bright ** torch.exp(spread.gamma * normal(1, 1, 1)) * torch.exp(GAIN * normal(1, 1, 1))
    if spread.dark:
        bright = darkened(bright, black_levels(spread, len(source), generator).to(bright.device))
    if spread.bias:
        coarse = spread.bias * normal(1, BIAS_CELLS, BIAS_CELLS)
        field = F.interpolate(coarse, source.shape[2:], mode="bicubic", align_corners=True)
        bright = bright * torch.exp(field)
    blurred = torch.rand(len(source), 1, 1, 1, generator=generator) < BLURRED
    bright = torch.where(blurred.to(bright.device), _smoothed(bright), bright)
    if spread.noise:
        strength = spread.noise * normal(1, 1, 1).abs()
        bright = (bright + strength * normal(*source.shape[1:])).abs()  # Rician, nearly
    bright = torch.where(head, bright, torch.zeros_like(bright))
    return (bright * (2 / MEDIANS) + EMPTY).clamp(max=1)


def _smoothed(x: Tensor) -> Tensor:
    """Each channel under the binomial mask 1 2 1 in rows and columns."""
    line = torch.tensor([0.25, 0.5, 0.25], device=x.device, dtype=x.dtype)
    mask = (line[:, None] * line).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(x, mask, padding=1, groups=x.shape[1])
