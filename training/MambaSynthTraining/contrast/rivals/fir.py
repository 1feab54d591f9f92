"""Halving and doubling with the smoothing filter [1,3,3,1], as plain convolutions.

Zhang, ICML 2019; Karras et al., CVPR 2020 (StyleGAN2), App. B, without its CUDA kernel. Images
are (B,C,H,W), zero outside.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def _kernel(like: Tensor) -> Tensor:
    """(C,1,4,4): the filter for each channel; its sum is 1."""
    line = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=like.dtype, device=like.device) / 8
    return torch.outer(line, line).expand(like.shape[1], 1, 4, 4)


def halve(x: Tensor) -> Tensor:
    """(B,C,H,W) -> (B,C,H/2,W/2): smooth, then every second pixel."""
    return F.conv2d(x, _kernel(x), stride=2, padding=1, groups=x.shape[1])


def double(x: Tensor) -> Tensor:
    """(B,C,H,W) -> (B,C,2H,2W): zeros between the pixels, then smooth; constants stay."""
    return F.conv_transpose2d(x, 4 * _kernel(x), stride=2, padding=1, groups=x.shape[1])


def smooth_for_halving_conv(x: Tensor) -> Tensor:
    """(B,C,H,W) -> (B,C,H+1,W+1): so that an unpadded 3x3 stride-2 convolution gives H/2."""
    return F.conv2d(x, _kernel(x), padding=2, groups=x.shape[1])
