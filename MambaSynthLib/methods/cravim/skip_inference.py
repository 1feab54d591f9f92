"""The generator with skip connections for inference: ``skip_network``, computed cheaper.

Its batch normalizations become part of the convolutions before them, the EVSS blocks are prepared
as those of ``inference.py``; both are exact in real arithmetic.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from MambaSynthLib.methods.cravim.evss_inference import PreparedEVSS
from MambaSynthLib.methods.cravim.skip_network import ConvNorm, Residual, SkipCRAViM


def prepare_skips(network: SkipCRAViM) -> Callable[[Tensor], Tensor]:
    """``network``, trained and in evaluation mode; images (B,1+2r,H,W) -> (B,1+i,1+2o,H,W)."""
    fused = copy.deepcopy(network)
    for module in list(fused.modules()):
        if isinstance(module, ConvNorm | Residual):
            module.conv = fuse_conv_bn_eval(module.conv, module.norm)
            module.norm = nn.Identity()  # type: ignore[assignment]
    for name in ("VSS1", "VSS2"):
        setattr(fused, name, _Prepared(PreparedEVSS(getattr(network, name))))

    @torch.inference_mode()
    def run(images: Tensor) -> Tensor:
        if images.device.type == "cpu":  # whose caches hold one image
            return torch.cat([fused(image) for image in images.split(1)])
        return fused(images)

    return run


class _Prepared(nn.Module):
    """A prepared block in the place of the trained one."""

    def __init__(self, block: PreparedEVSS) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)
