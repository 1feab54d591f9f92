"""The losses of ``cravim-heads``: pairs that are registered to about a pixel; none is in the paper.

| symbol | code          | shape     | meaning                                                     |
|--------|---------------|-----------|-------------------------------------------------------------|
| y      | ``synthetic`` | (B,1,h,w) | what the network made, in [-1,1]                            |
| y_0    | ``acquired``  | (B,1,h,w) | the acquired target                                         |
| w      | ``weight``    | (B,1,h,w) | how much a pixel counts, 0 to 5                             |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

SHIFTS = [(i, j) for i in (0, -1, 1) for j in (0, -1, 1)]  # rows, columns; none first
COARSE, PATCH = 4, 5  # one shift is looked for over patches of COARSE x PATCH pixels a side
PREFER_NONE = 0.97  # a shift has to be better by this factor
WINDOW = 7  # pixels a side, of the structural similarity
K1_L, K2_L = 0.01, 0.03  # its constants for a range L of 1, about that of a brain in [-1,1]
FINEST = 1e-4  # squared: what is finer than a pixel and counts as none
COVERED = 0.9  # share of the acquired values that an interval holds
DARK = -0.9  # below which the target is air or bone


@dataclass(frozen=True)
class HeadWeights:
    """Of the terms."""

    lambda_value: float = 1.0
    lambda_gradient: float = 0.5
    lambda_structure: float = 0.15
    lambda_air: float = 0.5
    lambda_detail: float = 0.0
    lambda_adversarial: float = 0.0


def nearest_target(synthetic: Tensor, acquired: Tensor) -> Tensor:
    """The acquired target, each place moved by up to a pixel to where it fits best. (B,1,h,w).

    Registration is wrong by about that much; a network that is punished for it learns to blur.
    """
    with torch.no_grad():
        padded = F.pad(acquired, (1, 1, 1, 1), mode="replicate")
        height, width = acquired.shape[2:]
        moved = torch.cat(
            [padded[:, :, 1 + i : 1 + i + height, 1 + j : 1 + j + width] for i, j in SHIFTS], dim=1
        )  # (B,9,h,w)
        error = F.avg_pool2d((moved - synthetic).abs(), COARSE)
        error = F.avg_pool2d(error, PATCH, 1, PATCH // 2, count_include_pad=False)
        error[:, :1] *= PREFER_NONE
        best = error.argmin(dim=1, keepdim=True)  # (B,1,h/4,w/4)
        best = best.repeat_interleave(COARSE, 2).repeat_interleave(COARSE, 3)
        return moved.gather(1, best)


def value_loss(synthetic: Tensor, acquired: Tensor, weight: Tensor) -> Tensor:
    """Weighted L1."""
    return (weight * (synthetic - acquired).abs()).mean()


def gradient_loss(synthetic: Tensor, acquired: Tensor, weight: Tensor) -> Tensor:
    """Weighted L1 of the differences between neighboring pixels, rows plus columns."""
    difference = weight * (synthetic - acquired)
    return difference.diff(dim=2).abs().mean() + difference.diff(dim=3).abs().mean()


def structure_loss(synthetic: Tensor, acquired: Tensor, weight: Tensor) -> Tensor:
    """1 - SSIM (Wang et al. 2004) with uniform windows, weighted."""

    m_f, m_r = windowed(synthetic), windowed(acquired)
    var_f = windowed(synthetic.square()) - m_f.square()
    var_r = windowed(acquired.square()) - m_r.square()
    covariance = windowed(synthetic * acquired) - m_f * m_r
    c1, c2 = K1_L**2, K2_L**2
    m_f, m_r = m_f + 1, m_r + 1  # brightness from 0, as the luminance term wants it
    luminance = (2 * m_f * m_r + c1) / (m_f.square() + m_r.square() + c1)
    return (weight * (1 - luminance * (2 * covariance + c2) / (var_f + var_r + c2))).mean()


def detail_loss(synthetic: Tensor, acquired: Tensor, weight: Tensor) -> Tensor:
    """How much the strength of what is finer than a pixel differs, window by window.

    The other losses are least for the mean of all targets that fit a source, which is smooth; this
    one asks for as much detail as the acquired image has there, and leaves to them which.
    """
    return (weight * (_strength(synthetic) - _strength(acquired)).abs()).mean()


def _strength(image: Tensor) -> Tensor:
    """(B,1,h,w): root of the windowed mean square of the image less its binomial smoothing."""
    fine = (image - filtered(image, _binomial)).square()
    return (windowed(fine) + FINEST).sqrt()


def air_loss(synthetic: Tensor, acquired: Tensor, weight: Tensor) -> Tensor:
    """How much is too bright where the acquired target is air or bone."""
    excess = F.relu(synthetic - acquired) * (acquired < DARK)
    return (weight * excess).mean()


def interval_loss(
    half_width: Tensor, synthetic: Tensor, acquired: Tensor, weight: Tensor
) -> Tensor:
    """The pinball loss whose minimum is the half-width that holds ``COVERED`` of the errors.

    Koenker & Bassett 1978, of the absolute error; ``synthetic`` learns nothing from it.
    """
    beyond = (synthetic.detach() - acquired).abs() - half_width
    return (weight * torch.maximum(COVERED * beyond, (COVERED - 1) * beyond)).mean()


# ------------------------------------------------------------------------------ separable filters


def windowed(image: Tensor) -> Tensor:
    """(B,1,h,w): means over ``WINDOW`` x ``WINDOW`` pixels, at the border over those there are."""
    return filtered(image, _uniform)


def filtered(image: Tensor, line: Callable[[int], Tensor]) -> Tensor:
    """Rows and columns each multiplied by the banded matrix ``line`` (n,n); of crops that is much
    faster than pooling on a CPU. Never in half precision: variances are small differences.
    """
    rows, columns = (line(n).to(image) for n in image.shape[2:])
    with torch.autocast(image.device.type, enabled=False):
        return rows @ image @ columns.T


@cache
def _uniform(n: int) -> Tensor:
    place = torch.arange(n)
    near = (place[:, None] - place).abs() <= WINDOW // 2
    return near / near.sum(dim=1, keepdim=True)


@cache
def _binomial(n: int) -> Tensor:
    """1 4 6 4 1, with the border's pixel repeated beyond it."""
    found = torch.zeros(n, n)
    for step, weight in zip(range(-2, 3), (1, 4, 6, 4, 1), strict=True):
        found[torch.arange(n), (torch.arange(n) + step).clamp(0, n - 1)] += weight / 16
    return found
