"""CRAViM's training with a plain generator: rows "ResNet" and "AttGAN", cycle-denoise, of Table 2.

Zhang & Jiang, MICCAI 2025. Losses, discriminators, wiring and sampling are those of
``MambaSynthTraining/contrast/cravim``, with its notation; the generator takes (source, noisy
target) (B,2,H,W) and gives (carried source, target) (B,2,H,W), as CRAViM's does. The rows "cycle"
of the same generators are the methods ``cyclegan`` and ``attentiongan``. No code of these rows is
published.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from torch import nn

from MambaSynthLib.model.settings import settings
from MambaSynthTraining.contrast.cravim.losses import Weights
from MambaSynthTraining.contrast.cravim.method import CRAViMTraining, Options
from MambaSynthTraining.contrast.rivals.generators import AttentionGenerator, ResNetGenerator
from MambaSynthTraining.recipe import Recipe

GENERATORS = ("resnet", "attention")


@dataclass(frozen=True)
class Sizes:
    """ResNet-9 with two channels: 11,371,906 parameters; attention: 11,791,580."""

    generator: str
    width: int = 64
    blocks: int = 9
    n_attentions: int = 10

    def __post_init__(self) -> None:
        if self.generator not in GENERATORS:
            raise ValueError(f"the generator {self.generator!r} is none of {', '.join(GENERATORS)}")

    def new_generator(self) -> nn.Module:
        if self.generator == "resnet":
            return ResNetGenerator(2, 2, self.width, self.blocks)
        return AttentionGenerator(2, self.width, self.blocks, self.n_attentions)


class CycleDenoise(CRAViMTraining):
    """Phases, objectives and presets are CRAViM's."""

    @classmethod
    def build(cls, recipe: Recipe) -> Self:
        return cls(
            settings(Sizes, recipe.network, "network").new_generator,
            settings(Weights, recipe.weights, "weights"),
            settings(Options, recipe.options, "options"),
            recipe.optimization,
            recipe.schedule,
        )
