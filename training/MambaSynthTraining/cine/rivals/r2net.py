"""R2Net (Joshi & Hong, MedIA 2023): a flow grown by residual steps with a Lipschitz bound.

| symbol | code           | meaning                                                            |
|--------|----------------|--------------------------------------------------------------------|
| v_0    | ``start``      | half of what the U-Net says, (B,3,D,H,W) voxels                    |
| v_k+1  | ``trajectory`` | v_k + 0.5 tanh(conv1(LeakyReLU(conv3(v_k)))), k = 0..6             |

Each step's convolutions are spectrally normalized, so that x + v_k(x) stays invertible. That the
frame at k/7 uses v_k is our reading; between two steps the flow is interpolated.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from MambaSynthLib.methods.mstg.warp import jacobian_determinant, warp
from MambaSynthLib.model.settings import refuse_entries
from MambaSynthTraining.cine.rivals.frame_model import FrameModel, TorchFrames
from MambaSynthTraining.data.beats import BeatBatch
from MambaSynthTraining.method import CineMethod, Phase
from MambaSynthTraining.recipe import Optimization, Recipe

STEPS = 7
SHARE = 0.5  # of tanh: no step moves a voxel by more than half
LAMBDA_FOLDING = 1e-3  # of the summed negative Jacobians


class R2Net(nn.Module):
    """ED, ES (B,1,D,H,W) -> v_0 .. v_7. Sizes are multiples of 16."""

    def __init__(self) -> None:
        super().__init__()
        down = (16, 32, 32, 32)
        self.encoder = nn.ModuleList(
            nn.Conv3d(i, o, 3, stride=2, padding=1) for i, o in zip((2, *down), down, strict=False)
        )
        self.decoder = nn.ModuleList(
            nn.Conv3d(i, o, 3, padding=1) for i, o in ((32, 32), (64, 32), (64, 32), (48, 32))
        )
        self.up = nn.ConvTranspose3d(32, 8, 3, stride=2, padding=1, output_padding=1)
        self.fine = nn.Sequential(
            nn.Conv3d(10, 16, 3, padding=1), nn.LeakyReLU(0.2),
            nn.Conv3d(16, 16, 3, padding=1), nn.LeakyReLU(0.2),
        )  # fmt: skip
        self.flow = nn.Conv3d(16, 3, 3, padding=1)
        nn.init.normal_(self.flow.weight, 0, 1e-3)
        nn.init.zeros_(self.flow.bias)  # type: ignore[arg-type]
        self.steps = nn.ModuleList(_step() for _ in range(STEPS))

    def forward(self, ed: Tensor, es: Tensor) -> list[Tensor]:
        both = x = torch.cat([ed, es], dim=1)
        skips = []
        for conv in self.encoder:
            x = F.leaky_relu(conv(x), 0.2)
            skips.append(x)
        skips.pop()
        for conv in self.decoder[:-1]:
            x = F.interpolate(F.leaky_relu(conv(x), 0.2), scale_factor=2.0)
            x = torch.cat([x, skips.pop()], dim=1)
        x = self.up(F.leaky_relu(self.decoder[-1](x), 0.2))
        trajectory = [self.flow(self.fine(torch.cat([x, both], dim=1))).float() / 2]
        for step in self.steps:
            v = trajectory[-1]
            trajectory.append(v + SHARE * torch.tanh(step(v)))
        return trajectory


def _step() -> nn.Sequential:
    wide = spectral_norm(nn.Conv3d(3, 16, 3, padding=1))
    narrow = spectral_norm(nn.Conv3d(16, 3, 1))
    return nn.Sequential(wide, nn.LeakyReLU(0.2), narrow)


class R2NetTraining(CineMethod):
    """ED to ES: squared differences, and a penalty where the flow folds."""

    exported = "r2net"

    def __init__(self, optimization: Optimization) -> None:
        self.networks = nn.ModuleDict({self.exported: R2Net()})
        self.optimization = optimization

    @classmethod
    def build(cls, recipe: Recipe) -> Self:
        refuse_entries(network=recipe.network, weights=recipe.weights, options=recipe.options)
        return cls(recipe.optimization)

    def iteration(self, batch: BeatBatch, generator: Generator) -> Iterator[Phase]:
        field = self.networks[self.exported](batch.ed, batch.es)[-1]
        image = F.mse_loss(warp(batch.ed, field), batch.es)
        folding = F.relu(-jacobian_determinant(field)).sum() / len(field)
        total = image + LAMBDA_FOLDING * folding
        yield Phase(self.exported, total, {"mse": image.detach(), "folding": folding.detach()})

    def frame_model(self, device: torch.device | str) -> FrameModel:
        network = self.networks[self.exported]

        def shared(ed: Tensor, es: Tensor) -> tuple[Tensor, list[Tensor]]:
            return ed, network(ed, es)

        def one_frame(known: tuple[Tensor, list[Tensor]], gamma: float) -> tuple[Tensor, Tensor]:
            ed, trajectory = known
            k = min(int(gamma * STEPS), STEPS - 1)
            field = torch.lerp(trajectory[k], trajectory[k + 1], gamma * STEPS - k)
            return warp(ed, field), field

        return TorchFrames(one_frame, [network], device, shared)
