"""The blocks of the 3-D diffusion networks: DDM's residual block and attention, MSTG's block.

| symbol | code        | shape       | meaning                                     |
|--------|-------------|-------------|---------------------------------------------|
| x, F   | ``x, f``    | (B,c,D,H,W) | feature maps                                |
| t      | ``embedded``| (B,8)       | embedding of the diffusion step             |
| s      | ``s``       | (B,L,c)     | the voxels as tokens, L = D H W, W fastest  |
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from MambaSynthLib.methods.mstg.mamba import Mamba

GROUPS = 4
HEADS = 4


class StepEmbedding(nn.Module):
    """Diffusion steps t (B,) -> (B,c): sines and cosines at c/2 rates, two linear layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.layers = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.SiLU(), nn.Linear(4 * channels, channels)
        )

    def forward(self, t: Tensor) -> Tensor:
        count = self.channels // 2
        powers = torch.arange(count, device=t.device, dtype=torch.float32) / count
        angles = t.float()[:, None] * torch.exp(-math.log(1e4) * powers)  # (B,c/2)
        return self.layers(torch.cat([angles.sin(), angles.cos()], dim=-1))


class ResidualBlock(nn.Module):
    """x + F of channels c -> o: F = Conv(SiLU(GN(.))) of Conv(SiLU(GN(x))) + Linear(SiLU(t))."""

    def __init__(self, channels: int, out: int, embedding: int) -> None:
        super().__init__()
        self.first = norm_silu_conv(channels, out)
        self.of_step = nn.Sequential(nn.SiLU(), nn.Linear(embedding, out))
        self.second = norm_silu_conv(out, out)
        self.shortcut = nn.Conv3d(channels, out, 1) if channels != out else nn.Identity()

    def features(self, x: Tensor, embedded: Tensor) -> Tensor:
        return self.second(self.first(x) + self.of_step(embedded)[:, :, None, None, None])

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        return self.features(x, embedded) + self.shortcut(x)


class MSTGBlock(ResidualBlock):
    """F as above; R = Conv(Linear(Mamba(LN(tokens of F)))); F + R + shortcut(x)."""

    def __init__(self, channels: int, out: int, embedding: int, both_ways: bool = False) -> None:
        super().__init__(channels, out, embedding)
        self.norm = nn.LayerNorm(out)
        self.mamba = Mamba(out, both_ways)
        self.project = nn.Linear(out, out)
        self.spread = nn.Conv3d(out, out, 3, padding=1)

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        f = self.features(x, embedded)
        s = f.flatten(2).transpose(1, 2)  # (B,L,c)
        s = self.project(self.mamba(self.norm(s)))
        r = self.spread(s.transpose(1, 2).reshape(f.shape))
        return f + r + self.shortcut(x)


class LinearAttention(nn.Module):
    """DDM's attention: x + Conv(context q), context = v softmax(k)^T over the positions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.qkv = nn.Conv3d(channels, 3 * channels, 1, bias=False)
        self.out = nn.Conv3d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.qkv(self.norm(x)).flatten(2)  # (B,3c,L)
        q, k, v = (p.unflatten(1, (HEADS, -1)) for p in parts.chunk(3, dim=1))  # (B,h,c/h,L)
        context = torch.einsum("bhdl,bhel->bhde", k.softmax(dim=-1), v)
        mixed = torch.einsum("bhde,bhdl->bhel", context, q)
        return x + self.out(mixed.reshape(x.shape))


def norm_silu_conv(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.GroupNorm(GROUPS, channels), nn.SiLU(), nn.Conv3d(channels, out, 3, padding=1)
    )
