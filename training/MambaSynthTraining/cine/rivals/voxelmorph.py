"""VoxelMorph with a stationary velocity field (Dalca et al., MedIA 2019), scaled linearly in time.

v = U-Net(ED, ES); frame(gamma) = ED warped by exp(gamma v), in 7 squarings. The network is
MONAI's. It never sees a frame between the ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import torch
from monai.networks.nets import VoxelMorphUNet
from torch import Generator, Tensor, nn

from MambaSynthLib.methods.mstg.warp import exponential, warp
from MambaSynthLib.model.settings import refuse_entries
from MambaSynthTraining.cine.mstg.losses import ncc_loss, smooth_loss
from MambaSynthTraining.cine.rivals.frame_model import FrameModel, TorchFrames
from MambaSynthTraining.data.beats import BeatBatch
from MambaSynthTraining.method import CineMethod, Phase
from MambaSynthTraining.recipe import Optimization, Recipe

SQUARINGS = 7
LAMBDA_SMOOTH = 1.0  # beside the NCC's 1: the published 3-D setting


def field_network() -> VoxelMorphUNet:
    """Two images (B,2,D,H,W) -> a field (B,3,D,H,W) in voxels. Sizes are multiples of 16."""
    network = VoxelMorphUNet(
        spatial_dims=3,
        in_channels=2,
        unet_out_channels=32,
        channels=(16, 32, 32, 32, 32, 32),
        final_conv_channels=(16, 16),
    )
    last = [m for m in network.modules() if isinstance(m, nn.Conv3d)][-1]
    nn.init.normal_(last.weight, 0, 1e-5)  # begin without motion, as published
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    return network


class VoxelMorphTraining(CineMethod):
    """ED to ES: NCC and the smoothness of v."""

    exported = "voxelmorph"

    def __init__(self, optimization: Optimization) -> None:
        self.networks = nn.ModuleDict({self.exported: field_network()})
        self.optimization = optimization

    @classmethod
    def build(cls, recipe: Recipe) -> Self:
        refuse_entries(network=recipe.network, weights=recipe.weights, options=recipe.options)
        return cls(recipe.optimization)

    def iteration(self, batch: BeatBatch, generator: Generator) -> Iterator[Phase]:
        velocity = self._velocity(batch.ed, batch.es)
        ncc = ncc_loss(warp(batch.ed, exponential(velocity, SQUARINGS)), batch.es)
        smooth = smooth_loss(velocity)
        total = ncc + LAMBDA_SMOOTH * smooth
        yield Phase(self.exported, total, {"ncc": ncc.detach(), "smooth": smooth.detach()})

    def frame_model(self, device: torch.device | str) -> FrameModel:
        def shared(ed: Tensor, es: Tensor) -> tuple[Tensor, Tensor]:
            return ed, self._velocity(ed, es)

        def one_frame(known: tuple[Tensor, Tensor], gamma: float) -> tuple[Tensor, Tensor]:
            field = exponential(gamma * known[1], SQUARINGS)
            return warp(known[0], field), field

        return TorchFrames(one_frame, [self.networks[self.exported]], device, shared)

    def _velocity(self, ed: Tensor, es: Tensor) -> Tensor:
        return self.networks[self.exported](torch.cat([ed, es], dim=1)).float()
