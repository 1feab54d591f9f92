"""The two U-Nets of MSTG: the diffusion network (DDM's, with MSTG blocks) and the deformation one.

Layer for layer as in DDM (Kim & Ye, MICCAI 2022), except where ``MSTGConfig`` says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from MambaSynthLib.methods.mstg.blocks import (
    LinearAttention,
    MSTGBlock,
    ResidualBlock,
    StepEmbedding,
    norm_silu_conv,
)


class DiffusionUNet(nn.Module):
    """Images (B,3,D,H,W) and diffusion steps (B,) -> noise estimate (B,1,D,H,W), the latent code.

    MSTG: one MSTG block per stage on either side. With ``scan="none"`` it is DDM's network: plain
    residual blocks, two per stage in the decoder because stem and down-sampling have skip
    connections too, and attention in the middle. Stages before ``first_scan`` have plain blocks.
    """

    def __init__(
        self,
        channels: Sequence[int],
        down: str = "pool",
        scan: str = "forward",
        decoder_mamba: bool = True,
        first_scan: int = 0,
    ) -> None:
        super().__init__()
        width, last = channels[0], channels[-1]
        self.plain = scan == "none"

        def block(inputs: int, out: int, mamba: bool = True) -> ResidualBlock:
            if self.plain or not mamba:
                return ResidualBlock(inputs, out, width)
            return MSTGBlock(inputs, out, width, both_ways=scan == "bidirectional")

        strided = self.plain or down == "conv"
        self.embedding = StepEmbedding(width)
        self.stem = nn.Conv3d(3, width, 3, padding=1)
        inputs = [width, *channels[:-1]]
        self.encoder = nn.ModuleList(
            block(i, c, level >= first_scan)
            for level, (i, c) in enumerate(zip(inputs, channels, strict=True))
        )
        self.down = nn.ModuleList(
            nn.Conv3d(c, c, 3, stride=2, padding=1) if strided else nn.MaxPool3d(2)
            for c in channels[:-1]
        )
        self.middle = nn.ModuleList([block(last, last), ResidualBlock(last, last, width)])
        self.attention = LinearAttention(last) if self.plain else nn.Identity()
        self.decoder, self.up = nn.ModuleList(), nn.ModuleList()
        current = last
        for level in reversed(range(len(channels))):
            out = channels[level]
            skips = [out, inputs[level]] if self.plain else [out]
            for skip in skips:
                mamba = decoder_mamba and level >= first_scan
                self.decoder.append(block(current + skip, out, mamba))
                current = out
            if level:
                self.up.append(nn.Conv3d(out, out, 3, padding=1))
        self.head = norm_silu_conv(width, 1)
        self.apply(_orthogonal)

    def forward(self, images: Tensor, t: Tensor, extra: Tensor | None = None) -> Tensor:
        """``extra`` (B,c) is added to the embedding of t: what else the network is told."""
        embedded = self.embedding(t)
        if extra is not None:
            embedded = embedded + extra
        x, skips = self.stem(images), []
        for level, block in enumerate(self.encoder):
            if self.plain:
                skips.append(x)  # of the stem, or of the down-sampling
            x = block(x, embedded)
            skips.append(x)
            if level < len(self.down):
                x = self.down[level](x)
        x = self.middle[1](self.attention(self.middle[0](x, embedded)), embedded)
        blocks, ups = iter(self.decoder), iter(self.up)
        while skips:
            for _ in range(2 if self.plain else 1):
                x = next(blocks)(torch.cat([x, skips.pop()], dim=1), embedded)
            if skips:
                x = next(ups)(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return self.head(x)


def _orthogonal(module: nn.Module) -> None:
    """Start convolutions orthogonal, as DDM does; Mamba and the linear layers start as they are."""
    if isinstance(module, nn.Conv3d):
        nn.init.orthogonal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class DeformationUNet(nn.Module):
    """Image and latent code (B,2,D,H,W) -> field (B,3,D,H,W) in voxels. Like VoxelMorph-1.

    361,299 parameters. Sizes must be multiples of 16.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(
            [nn.Conv3d(2, 16, 3, padding=1)]
            + [nn.Conv3d(i, 32, 3, stride=2, padding=1) for i in (16, 32, 32, 32)]
        )
        self.up = nn.ModuleList(_doubling(c) for c in (32, 32, 32, 8))
        self.decoder = nn.ModuleList(nn.Conv3d(i, o, 3, padding=1) for i, o in _DECODER)
        self.narrow = nn.Conv3d(32, 8, 3, padding=1)  # before the last doubling
        self.field = nn.Conv3d(8, 3, 3, padding=1)
        nn.init.normal_(self.field.weight, 0.0, 0.02)
        nn.init.zeros_(self.field.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for conv in self.encoder:
            x = F.leaky_relu(conv(x), 0.2)
            skips.append(x)
        skips.pop()
        for level, (up, conv) in enumerate(zip(self.up, self.decoder, strict=True)):
            if level == len(self.up) - 1:
                x = F.leaky_relu(self.narrow(x), 0.2)
            x = F.leaky_relu(conv(torch.cat([skips.pop(), up(x)], dim=1)), 0.2)
        return self.field(x)


_DECODER = ((64, 32), (64, 32), (64, 32), (24, 8))


def _doubling(channels: int) -> nn.ConvTranspose3d:
    return nn.ConvTranspose3d(channels, channels, 3, stride=2, padding=1, output_padding=1)
