"""CycleGAN: two generators held together by the cycle (Zhu et al., ICCV 2017).

| symbol   | code                | meaning                                                     |
|----------|---------------------|-------------------------------------------------------------|
| x, y     | ``source, target``  | acquired images (B,1,H,W) in [-1,1], from any two subjects  |
| G, F     | ``source_to_target``, ``target_to_source`` | the two generators                   |
| D_X, D_Y | ``of_source``, ``of_target``               | the two discriminators               |
| G(x), F(y) | ``synthetic_target``, ``synthetic_source`` | synthetic images                 |

Differences to the published code: one channel; the pools draw from the training's own generator
and lie in the checkpoint. Row "cycle" of CRAViM's Table 2 is this method.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Generator, Tensor, nn
from torch.nn.functional import l1_loss

from MambaSynthTraining.contrast.rivals.adversarial import (
    least_squares_discriminator,
    least_squares_generator,
)
from MambaSynthTraining.contrast.rivals.baseline import (
    GENERATORS_AND_DISCRIMINATORS,
    Baseline,
    weighted_phase,
)
from MambaSynthTraining.contrast.rivals.discriminators import PatchGAN
from MambaSynthTraining.contrast.rivals.generators import ResNetGenerator
from MambaSynthTraining.contrast.rivals.image_pool import ImagePool
from MambaSynthTraining.data.slices import SliceBatch
from MambaSynthTraining.method import Phase
from MambaSynthTraining.recipe import Optimization

PUBLISHED_ADAM = {
    "learning_rates": {"generators": 2e-4, "discriminators": 2e-4},
    "betas": [0.5, 0.999],
    "decay": "linear",
}


@dataclass(frozen=True)
class Sizes:
    """Of one generator (11,365,633 parameters) and one discriminator (2,762,689)."""

    width: int = 64
    blocks: int = 9
    discriminator_width: int = 64

    def new_generator(self) -> nn.Module:
        return ResNetGenerator(width=self.width, blocks=self.blocks)


@dataclass(frozen=True)
class Weights:
    """Eq. 3 and Sec. 5.2; the identity loss counts ``lambda_idt`` times ``lambda_cyc``."""

    lambda_adv: float = 1.0
    lambda_cyc: float = 10.0
    lambda_idt: float = 0.5


@dataclass(frozen=True)
class Options:
    """Sec. 4: the number of earlier synthetic images that a discriminator may see again."""

    pool: int = 50


def cycle_loss(reconstructed: Tensor, acquired: Tensor) -> Tensor:
    """Eq. 2, one direction: L1 of F(G(x)) to x."""
    return l1_loss(reconstructed, acquired)


def identity_loss(synthetic: Tensor, acquired: Tensor) -> Tensor:
    """Sec. 5.2 (photo generation): L1 of G(y) to y; what is target already should stay."""
    return l1_loss(synthetic, acquired)


class CycleGAN(Baseline):
    """Phases: generators, discriminators."""

    parts = Sizes, Weights, Options
    exported_back = "target_to_source"
    groups = GENERATORS_AND_DISCRIMINATORS
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"epochs": True, "optimization": PUBLISHED_ADAM}
    }

    def __init__(
        self, sizes: Sizes, weights: Weights, options: Options, optimization: Optimization
    ) -> None:
        self.weights, self.optimization = weights, optimization
        self.pool_of_source, self.pool_of_target = ImagePool(options.pool), ImagePool(options.pool)
        self.networks = nn.ModuleDict(
            {
                "source_to_target": sizes.new_generator(),
                "target_to_source": sizes.new_generator(),
                "of_source": PatchGAN(1, sizes.discriminator_width),
                "of_target": PatchGAN(1, sizes.discriminator_width),
                "pool_of_source": self.pool_of_source,  # so that a checkpoint holds it
                "pool_of_target": self.pool_of_target,
            }
        )

    def iteration(self, batch: SliceBatch, generator: Generator) -> Iterator[Phase]:
        source, target = batch
        n = self.networks
        synthetic_target = n["source_to_target"](source)
        synthetic_source = n["target_to_source"](target)
        yield self._generators(source, target, synthetic_source, synthetic_target)
        pooled_source = self.pool_of_source.exchange(synthetic_source, generator)
        pooled_target = self.pool_of_target.exchange(synthetic_target, generator)
        yield weighted_phase(
            "discriminators",
            of_source=(
                0.5,  # "divide the objective by 2 while optimizing D" (App. 7.1)
                least_squares_discriminator(n["of_source"](pooled_source), n["of_source"](source)),
            ),
            of_target=(
                0.5,
                least_squares_discriminator(n["of_target"](pooled_target), n["of_target"](target)),
            ),
        )

    def _generators(
        self, source: Tensor, target: Tensor, synthetic_source: Tensor, synthetic_target: Tensor
    ) -> Phase:
        n, w = self.networks, self.weights
        back_source, back_target = (
            n["target_to_source"](synthetic_target),
            n["source_to_target"](synthetic_source),
        )
        terms = {
            "adv_source": (w.lambda_adv, least_squares_generator(n["of_source"](synthetic_source))),
            "adv_target": (w.lambda_adv, least_squares_generator(n["of_target"](synthetic_target))),
            "cyc_source": (w.lambda_cyc, cycle_loss(back_source, source)),
            "cyc_target": (w.lambda_cyc, cycle_loss(back_target, target)),
        }
        if w.lambda_idt:
            same_source, same_target = n["target_to_source"](source), n["source_to_target"](target)
            weight = w.lambda_idt * w.lambda_cyc
            terms["idt_source"] = (weight, identity_loss(same_source, source))
            terms["idt_target"] = (weight, identity_loss(same_target, target))
        return weighted_phase("generators", **terms)
