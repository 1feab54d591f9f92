"""A conditional GAN (Mirza & Osindero 2014) as 3-D pix2pix (Isola et al., CVPR 2017).

MSTG's paper compares with "CGAN" and does not say which; this is our reading. Generator: a U-Net
on (ED, ES, gamma map) gives the frame. Discriminator: patches of (ED, ES, gamma map, frame).
Networks and adversarial loss are MONAI's. It learns from the frames between the ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from monai.losses import PatchAdversarialLoss
from monai.networks.nets import PatchDiscriminator, UNet
from torch import Generator, Tensor, nn

from MambaSynthLib.model.settings import refuse_entries, settings
from MambaSynthTraining.cine.rivals.conditions import conditions
from MambaSynthTraining.cine.rivals.frame_model import FrameModel, TorchFrames
from MambaSynthTraining.data.beats import BeatBatch
from MambaSynthTraining.method import CineMethod, Phase
from MambaSynthTraining.recipe import Optimization, Recipe

LAMBDA_L1 = 100.0


@dataclass(frozen=True)
class Sizes:
    width: int = 16


class CGANTraining(CineMethod):
    """Least-squares GAN plus 100 times the mean absolute difference."""

    exported = "cgan"

    def __init__(self, width: int, optimization: Optimization) -> None:
        widths = tuple(width * 2**level for level in range(4))
        self.networks = nn.ModuleDict(
            {
                self.exported: UNet(3, 3, 1, widths, (2, 2, 2), norm="INSTANCE", act="LEAKYRELU"),
                "discriminator": PatchDiscriminator(
                    3, width, 4, num_layers_d=2, norm="INSTANCE", bias=True
                ),
            }
        )
        self.optimization = optimization
        # the default would put a LeakyReLU behind the scores
        self._adversarial = PatchAdversarialLoss(no_activation_leastsq=True)

    @classmethod
    def build(cls, recipe: Recipe) -> Self:
        refuse_entries(weights=recipe.weights, options=recipe.options)
        return cls(settings(Sizes, recipe.network, "network").width, recipe.optimization)

    def iteration(self, batch: BeatBatch, generator: Generator) -> Iterator[Phase]:
        given = conditions(batch.ed, batch.es, batch.gamma)
        frame = self._generate(given)
        on_acquired = self._adversarial(self._judge(given, 2 * batch.frame - 1), True, True)
        on_synthetic = self._adversarial(self._judge(given, frame.detach()), False, True)
        d_loss = (on_acquired + on_synthetic) / 2
        yield Phase("discriminator", d_loss, {"discriminator": d_loss.detach()})
        fooled = self._adversarial(self._judge(given, frame), True, False)
        l1 = F.l1_loss(frame, 2 * batch.frame - 1)
        g_loss = fooled + LAMBDA_L1 * l1
        yield Phase(self.exported, g_loss, {"fooled": fooled.detach(), "l1": l1.detach()})

    def _generate(self, given: Tensor) -> Tensor:
        return torch.tanh(self.networks[self.exported](given))

    def _judge(self, given: Tensor, frame: Tensor) -> Tensor:
        return self.networks["discriminator"](torch.cat([given, frame], dim=1))[-1]

    def frame_model(self, device: torch.device | str) -> FrameModel:
        def one_frame(ed: Tensor, es: Tensor, gamma: float) -> tuple[Tensor, None]:
            frame = self._generate(conditions(ed, es, ed.new_tensor([gamma])))
            return (frame + 1) / 2, None

        return TorchFrames(one_frame, [self.networks[self.exported]], device)
