"""Gradient checkpointing: less memory for a quarter more time, the same numbers."""

from __future__ import annotations

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute_activations(networks: nn.Module) -> int:
    """Let the blocks of all ``nn.Sequential`` keep their input only; returns how many do.

    Blocks with buffers (batch statistics, spectral norms) are left alone: a second forward pass
    would update those twice.
    """
    blocks = [
        block
        for sequence in networks.modules()
        if isinstance(sequence, nn.Sequential)
        for block in sequence
        if any(True for _ in block.children()) and not any(True for _ in block.buffers())
    ]
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    return len(blocks)
