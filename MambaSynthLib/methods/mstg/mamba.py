"""The Mamba layer (Gu & Dao 2023, Fig. 3), with mamba-ssm's defaults and names of weights.

| symbol | code       | meaning                                    |
|--------|------------|--------------------------------------------|
| C      | ``channels``| channels of each token                    |
| E      | ``inner``  | channels inside the scan, 2 C              |
| N      | ``D_STATE``| states per channel                         |
| R      | ``dt_rank``| rank of the step-size projection, ceil(C/16)|
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from MambaSynthLib.layers.selective_scan import selective_scan

D_STATE = 16
D_CONV = 4  # tokens that the causal convolution sees
SHORTEST_STEP, LONGEST_STEP = 1e-3, 1e-1


class Mamba(nn.Module):
    """Tokens (B,L,C) -> (B,L,C); token l sees tokens 0..l only.

    With ``both_ways`` the mean of the layer and of the same layer on the reversed sequence.
    """

    def __init__(self, channels: int, both_ways: bool = False) -> None:
        super().__init__()
        inner = 2 * channels
        self.both_ways = both_ways
        self.dt_rank = math.ceil(channels / 16)
        self.in_proj = nn.Linear(channels, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, D_CONV, groups=inner, padding=D_CONV - 1)
        self.x_proj = nn.Linear(inner, self.dt_rank + 2 * D_STATE, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, inner)
        self.A_log = nn.Parameter(torch.arange(1.0, D_STATE + 1).log().repeat(inner, 1))  # (E,N)
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, channels, bias=False)
        self._start_steps()

    @torch.no_grad()
    def _start_steps(self) -> None:
        """softplus(bias) log-uniform in [1e-3, 1e-1] (Gu & Dao 2023, Sec. 3.6)."""
        bound = self.dt_rank**-0.5
        self.dt_proj.weight.uniform_(-bound, bound)
        log_dt = torch.empty_like(self.dt_proj.bias)
        dt = log_dt.uniform_(math.log(SHORTEST_STEP), math.log(LONGEST_STEP)).exp().clamp(min=1e-4)
        self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # inverse of softplus

    def forward(self, tokens: Tensor) -> Tensor:
        if not self.both_ways:
            return self._one_way(tokens)
        there, back = self._one_way(torch.cat([tokens, tokens.flip(1)])).chunk(2)
        return (there + back.flip(1)) / 2

    def _one_way(self, tokens: Tensor) -> Tensor:
        x, z = self.in_proj(tokens).chunk(2, dim=-1)  # (B,L,E) each
        near = self.conv1d(x.transpose(1, 2))[..., : tokens.shape[1]]  # (B,E,L), causal
        y = self._scan(F.silu(near).transpose(1, 2))
        return self.out_proj(y * F.silu(z))

    def _scan(self, x: Tensor) -> Tensor:
        """(B,L,E) -> same, in float32 or better: delta, B and C are linear in each token."""
        with torch.autocast(x.device.type, enabled=False):
            u = x.to(torch.promote_types(x.dtype, torch.float32))
            dt, B, C = self.x_proj(u).split([self.dt_rank, D_STATE, D_STATE], dim=-1)
            delta = F.softplus(self.dt_proj(dt))
            A = -torch.exp(self.A_log)
            u, delta, B, C = (part.unsqueeze(1) for part in (u, delta, B, C))  # K = 1 sequence
            y = selective_scan(u, delta, A[None], B, C, self.D[None])
        return y.squeeze(1).to(x.dtype)
