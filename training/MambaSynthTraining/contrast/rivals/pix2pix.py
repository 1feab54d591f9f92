"""Pix2Pix: the paired upper bound (Isola et al., CVPR 2017).

| symbol | code             | meaning                                                            |
|--------|------------------|--------------------------------------------------------------------|
| x, y   | ``source, target`` | acquired images (B,1,H,W) in [-1,1] of one registered subject    |
| G      | ``source_to_target`` | the generator: U-Net, or ResNet as in the MR literature        |
| D      | ``of_pairs``     | the discriminator of (x, y) against (x, G(x))                       |

Differences to the published code: instance norm (equal to its batch norm at batch 1), and no
dropout, so that the synthetic image is a function of the source: the paper found that the network
ignores that noise anyway (Sec. 3.1). Not among CRAViM's rows; it needs registered pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import l1_loss

from MambaSynthLib.model.settings import NoOptions
from MambaSynthTraining.contrast.rivals.adversarial import (
    non_saturating_discriminator,
    non_saturating_generator,
)
from MambaSynthTraining.contrast.rivals.baseline import Baseline, weighted_phase
from MambaSynthTraining.contrast.rivals.cyclegan import PUBLISHED_ADAM
from MambaSynthTraining.contrast.rivals.discriminators import PatchGAN
from MambaSynthTraining.contrast.rivals.generators import ResNetGenerator, UNetGenerator
from MambaSynthTraining.data.slices import SliceBatch
from MambaSynthTraining.method import Phase
from MambaSynthTraining.recipe import Optimization

GENERATORS = ("unet", "resnet")


@dataclass(frozen=True)
class Sizes:
    """``levels`` are the U-Net's halvings (8: 54.4 M parameters), ``blocks`` the ResNet's."""

    generator: str = "unet"
    width: int = 64
    levels: int = 8
    blocks: int = 9
    discriminator_width: int = 64

    def __post_init__(self) -> None:
        if self.generator not in GENERATORS:
            raise ValueError(f"the generator {self.generator!r} is none of {', '.join(GENERATORS)}")

    def new_generator(self) -> nn.Module:
        if self.generator == "unet":
            return UNetGenerator(width=self.width, levels=self.levels)
        return ResNetGenerator(width=self.width, blocks=self.blocks)


@dataclass(frozen=True)
class Weights:
    """Eq. 4; Sec. 3.3."""

    lambda_adv: float = 1.0
    lambda_l1: float = 100.0


def reconstruction_loss(synthetic: Tensor, acquired_target: Tensor) -> Tensor:
    """Eq. 3: L1 of G(x) to y."""
    return l1_loss(synthetic, acquired_target)


class Pix2Pix(Baseline):
    """Phases: discriminators, generators, in the published order."""

    parts = Sizes, Weights, NoOptions
    groups = {"generators": ("source_to_target",), "discriminators": ("of_pairs",)}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"epochs": True, "optimization": PUBLISHED_ADAM}
    }
    needs_pairs = True

    def __init__(
        self, sizes: Sizes, weights: Weights, options: NoOptions, optimization: Optimization
    ) -> None:
        self.weights, self.optimization = weights, optimization
        self.networks = nn.ModuleDict(
            {
                "source_to_target": sizes.new_generator(),
                "of_pairs": PatchGAN(2, sizes.discriminator_width),
            }
        )

    def iteration(self, batch: SliceBatch, generator: Generator) -> Iterator[Phase]:
        source, target = batch
        n, w = self.networks, self.weights

        def score(of_target: Tensor) -> Tensor:
            scores: Tensor = n["of_pairs"](torch.cat([source, of_target], dim=1))
            return scores

        synthetic = n["source_to_target"](source)
        loss = non_saturating_discriminator(score(synthetic.detach()), score(target))
        yield weighted_phase("discriminators", of_pairs=(0.5, loss))  # 1/2: Sec. 3.3
        yield weighted_phase(
            "generators",
            adv=(w.lambda_adv, non_saturating_generator(score(synthetic))),
            l1=(w.lambda_l1, reconstruction_loss(synthetic, target)),
        )
