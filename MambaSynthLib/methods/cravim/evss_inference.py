"""The EVSS block for inference: the equations of ``evss``, with fewer passes over memory.

Images are channels-last throughout, convolutions see them through a permuted view; what depends on
the weights alone is computed once.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from MambaSynthLib.layers.selective_scan import selective_scan
from MambaSynthLib.methods.cravim.evss import (
    D_STATE,
    ES2D,
    SEQUENCES,
    ChannelGate,
    EVSSBlock,
    merge,
    skip_sample,
)


class PreparedEVSS:
    """(B,H,W,C) -> same, as the trained ``EVSSBlock`` in evaluation mode."""

    def __init__(self, block: EVSSBlock) -> None:
        self.block = block
        self.scan = PreparedES2D(block.op)
        depthwise, batch_norm, _, pointwise = cast(Any, block.conv_branch)
        self.depthwise = fuse_conv_bn_eval(depthwise, batch_norm)
        self.pointwise = pointwise.weight.flatten(1), pointwise.bias  # (C,C), (C)

    def __call__(self, x: Tensor) -> Tensor:
        block = self.block
        n = block.norm(x)
        far = self.scan(n)
        near = F.linear(F.gelu(_on_channels_last(self.depthwise, n)), *self.pointwise)
        x = torch.addcmul(x, far, _gate(block.se, far))
        x.addcmul_(near, _gate(block.se, near))
        return x.add_(block.mlp(block.norm2(x)))


class PreparedES2D:
    """(B,H,W,C) -> same, as the trained ``ES2D``."""

    def __init__(self, op: ES2D) -> None:
        self.op = op
        self.into_x, self.into_z = op.in_proj.weight.chunk(2)  # (E,C) each
        self.project = op.x_proj_weight.transpose(1, 2).contiguous()  # (K,E,R+2N)
        self.delta_weight = op.dt_projs_weight.transpose(1, 2).contiguous()  # (K,R,E)
        self.delta_bias = op.dt_projs_bias[:, None]  # (K,1,E)
        self.A = -torch.exp(op.A_logs).view(SEQUENCES, -1, D_STATE)
        self.D = op.Ds.view(SEQUENCES, -1)

    def __call__(self, n: Tensor) -> Tensor:
        x = F.silu(_on_channels_last(self.op.conv2d, F.linear(n, self.into_x)), inplace=True)
        y = self.op.out_norm(merge(self._scan(skip_sample(x)), *x.shape[1:3]))
        y *= F.silu(F.linear(n, self.into_z), inplace=True)
        return self.op.out_proj(y)

    def _scan(self, u: Tensor) -> Tensor:
        """(B,K,L,E) -> same."""
        ranks = [self.op.dt_rank, D_STATE, D_STATE]
        dt, B, C = (u @ self.project).split(ranks, dim=-1)
        delta = F.softplus((dt @ self.delta_weight).add_(self.delta_bias))
        return selective_scan(u, delta, self.A, B, C, self.D)


def _on_channels_last(conv: nn.Module, x: Tensor) -> Tensor:
    """(B,H,W,C) -> same, through a view that the convolution takes for (B,C,H,W)."""
    return conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _gate(se: ChannelGate, t: Tensor) -> Tensor:
    """(B,1,1,C) the factor that ``se`` multiplies ``t`` with."""
    squeezed = se.norm(t).mean(dim=(1, 2), keepdim=True)
    return torch.sigmoid(se.channel_select(F.gelu(se.global_reduce(squeezed))))
