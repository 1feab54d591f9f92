"""UVI-Net: virtual frames, and from these the acquired ones again (Kim et al., CVPR 2024).

| symbol   | code            | shape       | meaning                                               |
|----------|-----------------|-------------|-------------------------------------------------------|
| I_0, I_1 | ``first, last`` | (B,1,D,H,W) | two images of one heart in [0,1]; at first ED and ES  |
| phi_01   | ``there``       | (B,3,D,H,W) | where each voxel of I_1 lies in I_0, in voxels        |
| phi_10   | ``back``        | (B,3,D,H,W) | where each voxel of I_0 lies in I_1                   |
| a        | ``a``           | (B,)        | time between them: 0 at I_0, 1 at I_1                 |
| I^_a     | ``blend``       | (B,1,D,H,W) | both images warped to a, mixed by their nearness      |
| R        | ``refine``      |             | what the blend lacks, from the features of both       |

    I^_a = (1 - a) I_0(x + a phi_01) + a I_1(x + (1 - a) phi_10)
    stage 1: frames at a1 in [-.5, 0], a2 in [0, 1], a3 in [1, 1.5] from ED and ES
    stage 2: ED again from those at a1 and a2, ES from those at a2 and a3
    L = NCC (ED warped to ES, and back) + Charbonnier (stage 2) + squared gradients of the fields

It never sees a frame between the ends. Our reading: fields and their network are VoxelMorph's
(MONAI's), the same for both ways; outside [0,1] the weights of the blend stay at 0 and 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.optim import Adam, Optimizer

from MambaSynthLib.methods.mstg.warp import warp
from MambaSynthLib.model.settings import refuse_entries, settings
from MambaSynthTraining.cine.mstg.losses import frame_loss, ncc_loss, smooth_loss
from MambaSynthTraining.cine.rivals.frame_model import FrameModel, TorchFrames
from MambaSynthTraining.cine.rivals.voxelmorph import field_network
from MambaSynthTraining.data.beats import BeatBatch
from MambaSynthTraining.method import CineMethod, Phase
from MambaSynthTraining.recipe import Optimization, Recipe

BEYOND = 0.5  # of the time from ED to ES, that virtual frames lie outside it
LEVELS = 3  # of the refinement, each half as large as the one before


@dataclass(frozen=True)
class Sizes:
    """Channels of the refinement's first level."""

    width: int = 8


@dataclass(frozen=True)
class Weights:
    """All published as 1."""

    lambda_ncc: float = 1.0
    lambda_cycle: float = 1.0
    lambda_smooth: float = 1.0


class Pair(NamedTuple):
    """Two images, the fields between them, and their features at each level."""

    first: Tensor
    last: Tensor
    there: Tensor
    back: Tensor
    of_first: list[Tensor]
    of_last: list[Tensor]


class Refinement(nn.Module):
    """Features of one image; and the residual of a frame from the warped features of two."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width * 2**n for n in range(LEVELS)]
        self.encoder = nn.ModuleList(
            nn.Conv3d(a, b, 3, stride=1 if n == 0 else 2, padding=1)
            for n, (a, b) in enumerate(zip([1, *widths], widths, strict=False))
        )
        # each level hears of both images, and of the level below it
        below = [*widths[1:], 0]
        self.decoder = nn.ModuleList(
            nn.Conv3d(2 * own + under + (3 if n == 0 else 0), own, 3, padding=1)
            for n, (own, under) in enumerate(zip(widths, below, strict=True))
        )
        self.residual = nn.Conv3d(width, 1, 3, padding=1)
        nn.init.zeros_(self.residual.weight)  # begin with the blend
        nn.init.zeros_(self.residual.bias)  # type: ignore[arg-type]

    def features(self, image: Tensor) -> list[Tensor]:
        """(B,1,D,H,W) -> (B,C,..) of each level."""
        x, found = image, []
        for conv in self.encoder:
            x = F.leaky_relu(conv(x), 0.2)
            found.append(x)
        return found

    def forward(self, images: Tensor, warped: list[Tensor]) -> Tensor:
        """Both warped images and their blend (B,3,D,H,W), warped features of both -> residual."""
        x: Tensor | None = None
        for n in reversed(range(LEVELS)):
            parts = [warped[n]] if n else [images, warped[n]]
            if x is not None:
                parts.append(F.interpolate(x, size=warped[n].shape[2:], mode="nearest"))
            x = F.leaky_relu(self.decoder[n](torch.cat(parts, dim=1)), 0.2)
        return self.residual(x)


class UVINet(nn.Module):
    """Two images -> frames between and beyond them. Sizes are multiples of 16."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fields = field_network()
        self.refine = Refinement(width)

    def pair(self, first: Tensor, last: Tensor) -> Pair:
        there = self.fields(torch.cat([first, last], dim=1)).float()
        back = self.fields(torch.cat([last, first], dim=1)).float()
        features = (self.refine.features(image) for image in (first, last))
        return Pair(first, last, there, back, *features)

    def forward(self, pair: Pair, a: Tensor) -> Tensor:
        """The frame at a (B,), (B,1,D,H,W)."""
        time = a.view(-1, 1, 1, 1, 1)
        from_first, from_last = time * pair.there, (1 - time) * pair.back
        images = warp(pair.first, from_first), warp(pair.last, from_last)
        share = time.clamp(0, 1)
        blend = (1 - share) * images[0] + share * images[1]
        warped = [
            torch.cat([_warp_level(x, from_first), _warp_level(y, from_last)], dim=1)
            for x, y in zip(pair.of_first, pair.of_last, strict=True)
        ]
        return blend + self.refine(torch.cat([*images, blend], dim=1), warped)


def _warp_level(features: Tensor, field: Tensor) -> Tensor:
    """Features (B,C,d,h,w) moved by a field of the full size, both in voxels of their own."""
    if features.shape[2:] != field.shape[2:]:
        scale = [n / whole for n, whole in zip(features.shape[2:], field.shape[2:], strict=True)]
        field = F.interpolate(field, size=features.shape[2:], mode="trilinear")
        field = field * field.new_tensor(scale).view(1, 3, 1, 1, 1)
    return warp(features, field)


class UVINetTraining(CineMethod):
    """ED to ES and back, by way of virtual frames."""

    exported = "uvinet"

    def __init__(self, width: int, weights: Weights, optimization: Optimization) -> None:
        self.networks = nn.ModuleDict({self.exported: UVINet(width)})
        self.weights, self.optimization = weights, optimization

    @classmethod
    def build(cls, recipe: Recipe) -> Self:
        refuse_entries(options=recipe.options)
        sizes = settings(Sizes, recipe.network, "network")
        weights = settings(Weights, recipe.weights, "weights")
        return cls(sizes.width, weights, recipe.optimization)

    def optimizers(self) -> dict[str, Optimizer]:
        rate = self.optimization.rate(self.exported)
        parameters = self.networks.parameters()
        return {self.exported: Adam(parameters, rate, self.optimization.betas, amsgrad=True)}

    def iteration(self, batch: BeatBatch, generator: Generator) -> Iterator[Phase]:
        network, w = self.network, self.weights
        pair = network.pair(batch.ed, batch.es)
        u1, u2, u3 = torch.rand(3, len(batch.ed), generator=generator).to(batch.ed.device)
        times = BEYOND * (u1 - 1), u2, 1 + BEYOND * u3
        before, between, beyond = (network(pair, a) for a in times)
        ed_again = network(network.pair(before, between), -times[0] / (times[1] - times[0]))
        es_again = network(network.pair(between, beyond), (1 - times[1]) / (times[2] - times[1]))
        ncc = (
            ncc_loss(warp(batch.ed, pair.there), batch.es)
            + ncc_loss(warp(batch.es, pair.back), batch.ed)
        ) / 2
        cycle = (frame_loss(ed_again, batch.ed) + frame_loss(es_again, batch.es)) / 2
        smooth = (smooth_loss(pair.there) + smooth_loss(pair.back)) / 2
        total = w.lambda_ncc * ncc + w.lambda_cycle * cycle + w.lambda_smooth * smooth
        terms = {"ncc": ncc.detach(), "cycle": cycle.detach(), "smooth": smooth.detach()}
        yield Phase(self.exported, total, terms)

    @property
    def network(self) -> UVINet:
        network = self.networks[self.exported]
        assert isinstance(network, UVINet)
        return network

    def frame_model(self, device: torch.device | str) -> FrameModel:
        network = self.network

        def one_frame(pair: Pair, gamma: float) -> tuple[Tensor, Tensor]:
            a = pair.first.new_full((len(pair.first),), gamma)
            return network(pair, a), gamma * pair.there

        return TorchFrames(one_frame, [network], device, network.pair)
