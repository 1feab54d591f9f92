"""The losses of MSTG, which are DDM's, and those of MSTG+.

| symbol | code               | shape       | meaning                                   |
|--------|--------------------|-------------|-------------------------------------------|
| eps, c | ``noise``, ``code``| (B,1,D,H,W) | the noise in x_t, and its estimate        |
| I, J   | ``image``, ``reference`` | (B,1,D,H,W) | a frame and the acquired one, [0,1] |
| phi, v | ``field``          | (B,3,D,H,W) | field or velocity in voxels               |
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

NCC_WINDOW = 9
NCC_EPSILON = 1e-5
SSIM_WINDOW = 7
SSIM_CONSTANTS = (0.01**2, 0.03**2)  # of images in [0,1] (Wang et al. 2004)
CHARBONNIER_EPSILON = 1e-3


@dataclass(frozen=True)
class Weights:
    """The defaults are DDM's. Those of the second group are ours, for MSTG+."""

    lambda_eps: float = 1.0  # 0: the code is free, and training sees x_0 = ES as synthesis does
    lambda_ncc: float = 20.0  # ED warped to ES (and ES to ED, if there are both directions)
    lambda_smooth: float = 20.0
    lambda_frame: float = 0.0  # the frame at gamma
    lambda_ssim: float = 0.0  # likewise, by structural similarity
    lambda_warped: float = 0.0  # each warped image by itself: keeps the motion honest


def noise_loss(code: Tensor, noise: Tensor) -> Tensor:
    """DDM: mean (eps - c)^2."""
    return F.mse_loss(code, noise)


def ncc_loss(image: Tensor, reference: Tensor) -> Tensor:
    """DDM: - mean cross^2 / (var_I var_J + 1e-5), sums over 9 x 9 x 9 voxels, zeros outside."""
    count = NCC_WINDOW**3
    products = (image, reference, image**2, reference**2, image * reference)
    i, j, ii, jj, ij = (count * _box_mean(x, NCC_WINDOW) for x in products)
    cross, of_i, of_j = ij - i * j / count, ii - i * i / count, jj - j * j / count
    return -(cross**2 / (of_i * of_j + NCC_EPSILON)).mean()


def smooth_loss(field: Tensor) -> Tensor:
    """DDM: the mean over the three axes of the mean squared forward difference."""
    return torch.stack([field.diff(dim=axis).square().mean() for axis in (2, 3, 4)]).mean()


def frame_loss(image: Tensor, reference: Tensor) -> Tensor:
    """Charbonnier: mean sqrt((I - J)^2 + 1e-6), as UVI-Net trains with."""
    return ((image - reference).square() + CHARBONNIER_EPSILON**2).sqrt().mean()


def ssim_loss(image: Tensor, reference: Tensor) -> Tensor:
    """1 - mean SSIM."""
    return 1 - ssim_map(image, reference).mean()


def ssim_map(image: Tensor, reference: Tensor) -> Tensor:
    """(B,1,D,H,W) SSIM in a box of 7 x 7 x 7 voxels, for images in [0,1]; zeros outside."""
    products = (image, reference, image**2, reference**2, image * reference)
    i, j, ii, jj, ij = (_box_mean(x, SSIM_WINDOW) for x in products)
    c1, c2 = SSIM_CONSTANTS
    luminance = (2 * i * j + c1) / (i**2 + j**2 + c1)
    structure = (2 * (ij - i * j) + c2) / (ii - i**2 + jj - j**2 + c2)
    return luminance * structure


def _box_mean(x: Tensor, window: int) -> Tensor:
    """The mean over a cube of ``window`` voxels, axis by axis; zeros outside."""
    for axis in range(3):
        kernel, padding = [1, 1, 1], [0, 0, 0]
        kernel[axis], padding[axis] = window, window // 2
        x = F.avg_pool3d(x, kernel, stride=1, padding=padding)
    return x
