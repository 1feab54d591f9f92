"""NCSN++ with a latent, the generator of SynDiff: a U-Net of residual blocks that knows t and z.

| symbol  | code         | shape      | meaning                                              |
|---------|--------------|------------|------------------------------------------------------|
| x       | ``images``   | (B,2,H,W)  | source slice and target at noise level t + 1         |
| t       | ``t``        | (B,)       | step index 0..T-1                                    |
| z       | ``z``        | (B,nz)     | standard normal latent                               |
| emb(t)  | ``time``     | (B,4 width)| added inside each block                              |
| w       | ``style``    | (B,E)      | z mapped by 4 layers; scales and shifts the norms    |

Song et al., ICLR 2021, App. H (BigGAN blocks, FIR resampling, residual input pyramid, skips
divided by sqrt 2); Xiao et al., ICLR 2022, App. C (adaptive group norm by z). As published the
network has a second output channel, which nothing uses: it is kept for the parameter count.
Attention sits at given levels rather than at a resolution, so that any image size is accepted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from MambaSynthTraining.contrast.rivals.fir import double, halve, smooth_for_halving_conv
from MambaSynthTraining.contrast.rivals.generators import pad_to_multiple
from MambaSynthTraining.contrast.rivals.time_embedding import TimeEmbedding


@dataclass(frozen=True)
class NCSNppConfig:
    """Sizes. The defaults are SynDiff's (39.73 M parameters); with latent = style = 64, those of
    CRAViM's comparison (33,595,842).
    """

    width: int = 64
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4, 4)
    blocks: int = 2  # at each level
    attention_levels: tuple[int, ...] = (4,)  # 16x16 of 256x256
    latent: int = 100
    style: int = 256

    def __post_init__(self) -> None:
        if self.width % 4:  # the group norms have a quarter as many groups as channels
            raise ValueError(f"the width {self.width} of NCSN++ is no multiple of 4")


class NCSNpp(nn.Module):
    """Images (B,C,H,W), t (B,), z (B,nz) -> (B,1,H,W) in (-1,1): the estimate of x_0.

    C is 2 in SynDiff: guide and noised image.
    """

    def __init__(self, config: NCSNppConfig | None = None, images: int = 2) -> None:
        super().__init__()
        self.config = config = config or NCSNppConfig()
        widths = [config.width * m for m in config.multipliers]
        self.time = TimeEmbedding(config.width, 4 * config.width)
        self.mapping = _mapping(config.latent, config.style)
        self.first = nn.Conv2d(images, widths[0], 3, padding=1)
        self.down = nn.ModuleList()
        channels, skipped, pyramid = widths[0], [widths[0]], images
        for level, out in enumerate(widths):
            self.down.append(_Down(config, level, channels, out, pyramid))
            skipped += [out] * (config.blocks + (level + 1 < len(widths)))
            channels = pyramid = out
        self.middle = nn.ModuleList(
            [_block(config, channels, channels), _Attention(channels)]
            + [_block(config, channels, channels)]
        )
        self.up = nn.ModuleList()
        for level, out in reversed(list(enumerate(widths))):
            taken = [skipped.pop() for _ in range(config.blocks + 1)]
            self.up.append(_Up(config, level, channels, out, taken))
            channels = out
        self.last_norm = nn.GroupNorm(_groups(channels), channels, eps=1e-6)
        self.last = nn.Conv2d(channels, 2, 3, padding=1)
        _initialize(self)
        nn.init.zeros_(self.last.weight)

    def forward(self, images: Tensor, t: Tensor, z: Tensor) -> Tensor:
        x, undo = pad_to_multiple(images, 2 ** (len(self.config.multipliers) - 1))
        knows = F.silu(self.time(t)), self.mapping(z / _root_mean_square(z))
        pyramid, x = x, self.first(x)
        skipped = [x]
        for level in self.down:
            x, pyramid = level(x, pyramid, skipped, knows)
        for layer in self.middle:
            x = layer(x, knows)
        for level in self.up:
            x = level(x, skipped, knows)
        return undo(torch.tanh(self.last(F.silu(self.last_norm(x)))))[:, :1]


Knows = tuple[Tensor, Tensor]  # time (B,4 width) after its activation, style (B,E)


class _Down(nn.Module):
    """The blocks of one level; but at the last, a halving that takes in the input pyramid."""

    def __init__(
        self, config: NCSNppConfig, level: int, channels: int, out: int, pyramid: int
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            _block(config, out if n else channels, out) for n in range(config.blocks)
        )
        attends = level in config.attention_levels
        self.attention = nn.ModuleList(_Attention(out) for _ in self.blocks if attends)
        last = level + 1 == len(config.multipliers)
        self.halving = None if last else _block(config, out, out, "halve")
        self.pyramid = None if last else nn.Conv2d(pyramid, out, 3, stride=2)

    def forward(
        self, x: Tensor, pyramid: Tensor, skipped: list[Tensor], knows: Knows
    ) -> tuple[Tensor, Tensor]:
        for n, block in enumerate(self.blocks):
            x = block(x, knows)
            x = self.attention[n](x, knows) if len(self.attention) else x
            skipped.append(x)
        if self.halving is not None and self.pyramid is not None:
            pyramid = self.pyramid(smooth_for_halving_conv(pyramid))
            x = pyramid = (pyramid + self.halving(x, knows)) / math.sqrt(2)
            skipped.append(x)
        return x, pyramid


class _Up(nn.Module):
    """One block more than on the way down, each with its skip, attention, and a doubling."""

    def __init__(
        self, config: NCSNppConfig, level: int, channels: int, out: int, skipped: list[int]
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            _block(config, (out if n else channels) + skip, out) for n, skip in enumerate(skipped)
        )
        self.attention = _Attention(out) if level in config.attention_levels else None
        self.doubling = _block(config, out, out, "double") if level else None

    def forward(self, x: Tensor, skipped: list[Tensor], knows: Knows) -> Tensor:
        for block in self.blocks:
            x = block(torch.cat([x, skipped.pop()], dim=1), knows)
        x = x if self.attention is None else self.attention(x, knows)
        return x if self.doubling is None else self.doubling(x, knows)


class _ResidualBlock(nn.Module):
    """BigGAN's block: (B,C,H,W) -> (B,C',H,W), halved or doubled if so asked."""

    def __init__(self, channels: int, out: int, time: int, style: int, resample: str) -> None:
        super().__init__()
        ways: dict[str, Callable[[Tensor], Tensor]]
        ways = {"": nn.Identity(), "halve": halve, "double": double}
        self.resample = ways[resample]
        self.norm1, self.norm2 = _StyledNorm(channels, style), _StyledNorm(out, style)
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.time = nn.Linear(time, out)
        changes = channels != out or resample
        self.skip = nn.Conv2d(channels, out, 1) if changes else nn.Identity()

    def forward(self, x: Tensor, knows: Knows) -> Tensor:
        time, style = knows
        inner = self.conv1(self.resample(F.silu(self.norm1(x, style))))
        inner = inner + self.time(time)[:, :, None, None]
        inner = self.conv2(F.silu(self.norm2(inner, style)))
        return (self.skip(self.resample(x)) + inner) / math.sqrt(2)


class _StyledNorm(nn.Module):
    """Adaptive group norm: gamma(w) norm(x) + beta(w), gamma 1 and beta 0 at first."""

    def __init__(self, channels: int, style: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(_groups(channels), channels, eps=1e-6, affine=False)
        self.style = nn.Linear(style, 2 * channels)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        gamma, beta = self.style(style)[:, :, None, None].chunk(2, dim=1)
        return gamma * self.norm(x) + beta


class _Attention(nn.Module):
    """Self-attention over the pixels, with one head. (B,C,H,W) -> same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(_groups(channels), channels, eps=1e-6)
        self.query, self.key, self.value, self.out = (
            nn.Conv2d(channels, channels, 1) for _ in range(4)
        )

    def forward(self, x: Tensor, knows: Knows) -> Tensor:
        y = self.norm(x)
        q, k, v = (  # (B,HW,C)
            conv(y).flatten(2).transpose(1, 2) for conv in (self.query, self.key, self.value)
        )
        found = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        return (x + self.out(found)) / math.sqrt(2)


def _block(config: NCSNppConfig, channels: int, out: int, resample: str = "") -> _ResidualBlock:
    return _ResidualBlock(channels, out, 4 * config.width, config.style, resample)


def _groups(channels: int) -> int:
    return math.gcd(channels, min(channels // 4, 32))


def _mapping(latent: int, style: int) -> nn.Sequential:
    """z (B,nz), normalized -> w (B,E): four layers, each with its activation."""
    widths = [latent, style, style, style, style]
    layers = zip(widths, widths[1:], strict=False)
    return nn.Sequential(*(part for a, b in layers for part in (nn.Linear(a, b), nn.SiLU())))


def _root_mean_square(z: Tensor) -> Tensor:
    return (z.square().mean(1, keepdim=True) + 1e-8).sqrt()


def _initialize(network: nn.Module) -> None:
    """Uniform weights of variance 1/fan; the last layer of each residual branch nearly zero."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    for layer in network.modules():
        if isinstance(layer, _ResidualBlock):
            nn.init.xavier_uniform_(layer.conv2.weight, gain=1e-5)
        elif isinstance(layer, _Attention):
            nn.init.xavier_uniform_(layer.out.weight, gain=1e-5)
        elif isinstance(layer, _StyledNorm):
            layer.style.bias.data[: len(layer.style.bias) // 2] = 1.0
