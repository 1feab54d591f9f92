"""Random differences between people and scanners, drawn for each pair of training slices.

The shape of a head changes source and target alike; contrast, shading and noise change only the
source, so that the network learns to read other scanners' images while its target stays clean.

| symbol | code     | shape       | meaning                                          |
|--------|----------|-------------|--------------------------------------------------|
| x_0    | ``a``    | (B,1,h,w)   | source slices in [-1,1], -1 is background        |
| y_0    | ``b``    | (B,1,h,w)   | target slices of the same places                 |
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

FAINTEST = 0.01  # brightness of what has become black
BIAS_CELLS = 4  # a shading is a random field on a grid of so many cells, interpolated
BACKGROUND = 0.02  # of the brightness range, below which noise is not added


@dataclass(frozen=True)
class Augmentation:
    """The spread of each change; 0 switches it off.

    flip: share of the slices that are mirrored left to right, when they are drawn. shape: share of
    the slices that are rotated, scaled and sheared; rotation in degrees and scale in parts are
    standard deviations. gamma, dark, bias and noise belong to the source only: ln gamma, the most
    that the black level of half of the slices rises, ln of the shading, and noise; dark and noise
    in parts of the brightness range, of heads in medians.
    """

    shape: float = 0.0
    rotation: float = 0.0
    scale: float = 0.0
    gamma: float = 0.0
    bias: float = 0.0
    noise: float = 0.0
    flip: float = 0.0
    dark: float = 0.0


def augment(
    a: Tensor, b: Tensor, spread: Augmentation, generator: torch.Generator, run: int = 1
) -> tuple[Tensor, Tensor]:
    """Both (B,1,h,w), changed. ``generator`` lives on the CPU, so that devices agree.

    Each ``run`` slices in a row are of one subject and changed alike; the noise alone differs.
    """
    if spread.shape:
        grid = _sampling_grid(a, spread, generator, run)
        both = F.grid_sample(torch.cat([a, b], 1) + 1, grid, "bicubic", "zeros", False)
        a, b = both.clamp(min=0).sub(1).split(1, dim=1)
    return _rescanned(a, spread, generator, run), b


def _sampling_grid(
    like: Tensor, spread: Augmentation, generator: torch.Generator, run: int
) -> Tensor:
    """(B,h,w,2) where each pixel comes from; slices that keep their shape get the identity."""
    count, _, height, width = like.shape
    changed = torch.rand(count // run, generator=generator) < spread.shape
    draws = torch.randn(count // run, 4, generator=generator) * changed[:, None]
    draws = draws.repeat_interleave(run, dim=0)
    angle = draws[:, 0] * math.radians(spread.rotation)
    scale = torch.exp(draws[:, 1:3] * spread.scale)
    shear = draws[:, 3] * spread.scale
    cosine, sine = torch.cos(angle), torch.sin(angle)
    aspect = height / width  # grid_sample measures both axes from -1 to 1
    rows = [
        torch.stack([cosine * scale[:, 0], (shear - sine) * aspect, torch.zeros(count)], -1),
        torch.stack([sine / aspect, cosine * scale[:, 1], torch.zeros(count)], -1),
    ]
    return F.affine_grid(torch.stack(rows, 1).to(like.device), list(like.shape), False)


def _rescanned(a: Tensor, spread: Augmentation, generator: torch.Generator, run: int) -> Tensor:
    """The source (B,1,h,w) with another gamma, shading and noise."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(a.device)

    def per_run(*shape: int) -> Tensor:
        return normal(len(a) // run, *shape).repeat_interleave(run, dim=0)

    bright = ((a + 1) / 2).clamp(min=0)  # resampling leaves -1 by a rounding error
    bright = bright ** torch.exp(spread.gamma * per_run(1, 1, 1))
    if spread.dark:
        bright = darkened(bright, black_levels(spread, len(a), generator, run).to(a.device))
    if spread.bias:
        coarse = spread.bias * per_run(1, BIAS_CELLS, BIAS_CELLS)
        field = F.interpolate(coarse, a.shape[2:], mode="bicubic", align_corners=True)
        bright = bright * torch.exp(field)
    if spread.noise:
        strength = spread.noise * per_run(1, 1, 1).abs()
        noisy = (bright + strength * normal(*a.shape)).abs()
        bright = torch.where(bright > BACKGROUND, noisy, bright)
    return 2 * bright - 1


def black_levels(
    spread: Augmentation, count: int, generator: torch.Generator, run: int = 1
) -> Tensor:
    """(B,1,1,1): what is black from now on, 0 for half of the slices."""
    share, changed = torch.rand(2, count // run, generator=generator)
    levels = spread.dark * share * (changed < 0.5)
    return levels.repeat_interleave(run).view(-1, 1, 1, 1)


def darkened(bright: Tensor, black: Tensor) -> Tensor:
    """Brightness (B,C,h,w) less a black level, 1 where it was 1: fluid of some scanners' T1w is as
    dark as air. What was not black stays a little brighter than that, so that the head keeps its
    outline.
    """
    dark = ((bright - black) / (1 - black)).clamp(min=FAINTEST)
    return torch.where((bright > 0) & (black > 0), dark, bright)
