"""Batch normalization as part of the convolution before it, for networks that the library runs."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_weights


def fuse(convolution: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Kernel and bias of the 3-D convolution that does what both do in eval mode."""
    conv, after = cast("nn.Conv3d", convolution), cast("nn.BatchNorm3d", norm)
    mean, variance = cast("Tensor", after.running_mean), cast("Tensor", after.running_var)
    kernel, bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, mean, variance, after.eps, after.weight, after.bias
    )
    return kernel.detach(), bias.detach()
