"""RegGAN's registration: the network that finds a displacement, the warp, and misalignment.

| symbol | code       | shape     | meaning                                                      |
|--------|------------|-----------|--------------------------------------------------------------|
| R      | ``RegistrationNetwork`` |  | (moving, fixed) -> phi                                   |
| phi    | ``flow``   | (B,2,H,W) | displacement in pixels, rows then columns                    |
| m o phi| ``warp``   | (B,1,H,W) | the moving image drawn at p + phi(p)                         |

Kong et al., NeurIPS 2021. The residual U-Net has the layers that the published parameter count
fixes, 2,058,018; layers without parameters (activation, norm) are our reading: leaky ReLU and no
norm, since a displacement has a scale. Beyond its border an image is continued.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from monai.networks.blocks import Warp
from torch import Generator, Tensor, nn

from MambaSynthTraining.contrast.rivals.generators import pad_to_multiple

WIDTHS = (32, 64, 64, 64, 64, 64, 64)  # of the seven levels


class RegistrationNetwork(nn.Module):
    """Moving and fixed image (B,1,H,W) -> flow (B,2,H,W), of any size; nearly zero at first."""

    def __init__(self, widths: Sequence[int] = WIDTHS, bottleneck_blocks: int = 3) -> None:
        super().__init__()
        inner = 2 * widths[-1]
        self.down = nn.ModuleList(
            nn.Sequential(_conv(a, b), _Residual(b)) for a, b in pairwise([2, *widths])
        )
        self.bottleneck = nn.Sequential(
            _conv(widths[-1], inner, kernel=1),
            *(_Residual(inner) for _ in range(bottleneck_blocks)),
            _conv(inner, widths[-1], kernel=1),
        )
        upward = list(reversed(widths))
        self.up = nn.ModuleList(_conv(a + b, b) for a, b in pairwise([upward[0], *upward]))
        self.refine = nn.Sequential(_Residual(widths[0]), _conv(widths[0], widths[0], kernel=1))
        self.flow = nn.Conv2d(widths[0], 2, 3, padding=1)
        nn.init.normal_(self.flow.weight, 0.0, 1e-5)
        nn.init.zeros_(self.flow.bias)  # type: ignore[arg-type]

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        x, undo = pad_to_multiple(torch.cat([moving, fixed], dim=1), 2 ** len(self.down))
        skipped = []
        for level in self.down:
            x = level(x)
            skipped.append(x)
            x = F.max_pool2d(x, 2)
        x = self.bottleneck(x)
        for level in self.up:
            x = F.interpolate(x, scale_factor=2, mode="bilinear")
            x = level(torch.cat([x, skipped.pop()], dim=1))
        return undo(self.flow(self.refine(x)))


class _Residual(nn.Module):
    """x + conv(act(conv(x))). (B,C,H,W) -> same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            _conv(channels, channels), nn.Conv2d(channels, channels, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


def _conv(channels: int, out: int, kernel: int = 3) -> nn.Sequential:
    conv = nn.Conv2d(channels, out, kernel, padding=kernel // 2)
    return nn.Sequential(conv, nn.LeakyReLU(0.2))


def warp(moving: Tensor, flow: Tensor) -> Tensor:
    """(B,1,H,W), (B,2,H,W) -> (B,1,H,W); in float32, for bfloat16 has no row 257."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI tells that it was built without its C++ part
        layer = Warp(mode="bilinear", padding_mode="border")
    with torch.autocast(moving.device.type, enabled=False):
        warped: Tensor = layer(moving.float(), flow.float())
    return warped


def smoothness_loss(flow: Tensor) -> Tensor:
    """Kong et al., Eq. 6, on differences of neighbors: mean (d_row phi)^2 + mean (d_col phi)^2."""
    rows, columns = flow.diff(dim=2), flow.diff(dim=3)
    return rows.square().mean() + columns.square().mean()


def misaligned(images: Tensor, level: float, generator: Generator) -> Tensor:
    """(B,1,H,W), each turned by up to ``level`` degrees and shifted and scaled by up to
    0.02 ``level`` of its size: the published simulation of unregistered pairs (Sec. 4.1).
    """
    if level == 0:
        return images
    turn, zoom, *shift = level * (2 * torch.rand(4, len(images), generator=generator) - 1)
    angle, scale = torch.deg2rad(turn), 1 + 0.02 * zoom
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    height, width = images.shape[-2:]  # the grid spans -1..1 on both axes
    rows = [cosine, -sine * height / width, 0.04 * shift[0]], [
        sine * width / height, cosine, 0.04 * shift[1]]  # fmt: skip
    matrices = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)  # (B,2,3)
    grid = F.affine_grid(matrices.to(images), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
