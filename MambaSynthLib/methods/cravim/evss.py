"""The efficient visual state space (EVSS) block of CRAViM's generator (Fig. 1, "2D-ESSM").

| symbol | code          | meaning                                                   |
|--------|---------------|-----------------------------------------------------------|
| C      | ``channels``  | channels of the block's input and output                  |
| E      | ``inner``     | channels inside the scan, 2 C                             |
| K      | 4             | sequences, one per pixel parity; every pixel visited once |
| N      | ``d_state``   | states per channel                                        |
| R      | ``dt_rank``   | rank of the step-size projection, ceil(C/16)              |

Tensors are channels-last (B,H,W,C) between the parts. Attribute names equal the keys of the
published checkpoints, so those load by name.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from MambaSynthLib.layers.selective_scan import selective_scan

SEQUENCES = 4
D_STATE = 16


class EVSSBlock(nn.Module):
    """x + SE(ES2D(n)) + SE(conv(n)) with n = norm(x), then x + MLP(norm2(x)). (B,H,W,C) -> same.

    One squeeze-and-excitation gate serves both branches.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.op = ES2D(channels)
        self.conv_branch = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
            nn.BatchNorm2d(channels),
            nn.GELU(),
            nn.Conv2d(channels, channels, 1),
        )
        self.se = ChannelGate(channels)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = MLP(channels)

    def forward(self, x: Tensor) -> Tensor:
        n = self.norm(x)
        near = self.conv_branch(n.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)  # (B,H,W,C)
        x = x + self.se(self.op(n)) + self.se(near)
        return x + self.mlp(self.norm2(x))


class ES2D(nn.Module):
    """Efficient 2-D scan: four interleaved quarter images are scanned, each in one direction."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = 2 * channels
        self.dt_rank = math.ceil(channels / 16)
        projected = self.dt_rank + 2 * D_STATE
        self.x_proj_weight = nn.Parameter(
            nn.Linear(inner, projected, bias=False).weight.detach().repeat(SEQUENCES, 1, 1)
        )
        weight, bias = _initial_step_projection(inner, self.dt_rank)
        self.dt_projs_weight = nn.Parameter(weight)
        self.dt_projs_bias = nn.Parameter(bias)
        rates = torch.arange(1, D_STATE + 1, dtype=torch.float32).log()
        self.A_logs = nn.Parameter(rates.repeat(SEQUENCES * inner, 1))
        self.Ds = nn.Parameter(torch.ones(SEQUENCES * inner))
        self.out_norm = nn.LayerNorm(inner)
        self.in_proj = nn.Linear(channels, 2 * inner, bias=False)
        self.conv2d = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.out_proj = nn.Linear(inner, channels, bias=False)

    def forward(self, n: Tensor) -> Tensor:
        x, z = self.in_proj(n).chunk(2, dim=-1)  # (B,H,W,E) each
        x = F.silu(self.conv2d(x.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
        y = self.out_norm(merge(self.scan(skip_sample(x)), *x.shape[1:3]))
        return self.out_proj(y * F.silu(z))

    def scan(self, xs: Tensor) -> Tensor:
        """(B,K,L,E) -> same, in float32 or better: delta, B and C are linear in each token."""
        with torch.autocast(xs.device.type, enabled=False):
            u = xs.to(torch.promote_types(xs.dtype, torch.float32))
            projected = torch.einsum("bkle,kce->bklc", u, self.x_proj_weight)
            dt, B, C = projected.split([self.dt_rank, D_STATE, D_STATE], dim=-1)
            dt = torch.einsum("bklr,ker->bkle", dt, self.dt_projs_weight)
            delta = F.softplus(dt + self.dt_projs_bias[:, None])
            A = -torch.exp(self.A_logs).view(SEQUENCES, -1, D_STATE)
            y = selective_scan(u, delta, A, B, C, self.Ds.view(SEQUENCES, -1))
        return y.to(xs.dtype)


class ChannelGate(nn.Module):
    """Squeeze and excitation: t * sigmoid(W2 GELU(W1 mean_{H,W} norm(t))). (B,H,W,C) -> same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.global_reduce = nn.Linear(channels, channels // 8)
        self.channel_select = nn.Linear(channels // 8, channels)

    def forward(self, t: Tensor) -> Tensor:
        squeezed = self.norm(t).mean(dim=(1, 2), keepdim=True)  # (B,1,1,C)
        return t * torch.sigmoid(self.channel_select(F.gelu(self.global_reduce(squeezed))))


class MLP(nn.Module):
    """Linear C -> 4C, GELU, Linear 4C -> C."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


def skip_sample(x: Tensor) -> Tensor:
    """(B,H,W,C) -> (B,4,L,C), L = ceil(H/2) ceil(W/2): one sequence per parity of row and column.

    Even rows are read row by row, odd rows column by column. Odd sizes are padded with zeros at
    the bottom and right.
    """
    _, height, width, _ = x.shape
    x = F.pad(x, (0, 0, 0, width % 2, 0, height % 2))
    sequences = [
        x[:, 0::2, 0::2],
        x[:, 1::2, 0::2].transpose(1, 2),
        x[:, 0::2, 1::2],
        x[:, 1::2, 1::2].transpose(1, 2),
    ]
    return torch.stack([s.flatten(1, 2) for s in sequences], dim=1)


def merge(sequences: Tensor, height: int, width: int) -> Tensor:
    """(B,4,L,C) -> (B,H,W,C): the inverse of ``skip_sample``."""
    b, _, _, c = sequences.shape
    rows, columns = -(-height // 2), -(-width // 2)
    x = sequences.new_empty(b, 2 * rows, 2 * columns, c)
    x[:, 0::2, 0::2] = sequences[:, 0].view(b, rows, columns, c)
    x[:, 1::2, 0::2] = sequences[:, 1].view(b, columns, rows, c).transpose(1, 2)
    x[:, 0::2, 1::2] = sequences[:, 2].view(b, rows, columns, c)
    x[:, 1::2, 1::2] = sequences[:, 3].view(b, columns, rows, c).transpose(1, 2)
    return x[:, :height, :width]


def _initial_step_projection(inner: int, rank: int) -> tuple[Tensor, Tensor]:
    """Weight (K,E,R) uniform in +-R^-1/2; bias (K,E) so that softplus(bias) is log-uniform in
    [1e-3, 1e-1] (Gu & Dao 2023, Sec. 3.6).
    """
    weight = torch.empty(SEQUENCES, inner, rank).uniform_(-(rank**-0.5), rank**-0.5)
    log_dt = torch.empty(SEQUENCES, inner).uniform_(math.log(1e-3), math.log(1e-1))
    dt = log_dt.exp().clamp(min=1e-4)
    return weight, dt + torch.log(-torch.expm1(-dt))  # inverse of softplus
