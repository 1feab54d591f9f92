"""RegGAN: misaligned pairs as noisy labels; a registration network takes the misalignment up.

| symbol | code               | meaning                                                         |
|--------|--------------------|-----------------------------------------------------------------|
| x, y~  | ``source, target`` | acquired images (B,1,H,W) in [-1,1] of one subject, unregistered |
| G      | ``source_to_target`` | the generator, ResNet-9                                       |
| R      | ``registration``   | (G(x), y~) -> displacement phi                                   |
| D      | ``of_target``      | the discriminator; its patch scores are averaged to one         |
| F, D_X | ``target_to_source``, ``of_source`` | with ``bidirect`` only                         |

Kong et al., NeurIPS 2021, mode "NC+R" (pix2pix-like with registration), or with ``bidirect`` mode
"C+R" (CycleGAN with registration). **It compares with the paired target**: it is weakly
supervised, not unpaired, and its row of a table must say so.

Differences to the published code: generator and registration share one Adam, which for equal rates
is the same as two; without ``bidirect`` as with it the discriminators see no pool.
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
from MambaSynthTraining.contrast.rivals.baseline import Baseline, weighted_phase
from MambaSynthTraining.contrast.rivals.cyclegan import cycle_loss
from MambaSynthTraining.contrast.rivals.discriminators import PatchGAN
from MambaSynthTraining.contrast.rivals.generators import ResNetGenerator
from MambaSynthTraining.contrast.rivals.reggan_registration import (
    WIDTHS,
    RegistrationNetwork,
    misaligned,
    smoothness_loss,
    warp,
)
from MambaSynthTraining.data.slices import SliceBatch
from MambaSynthTraining.method import Phase
from MambaSynthTraining.recipe import Optimization


@dataclass(frozen=True)
class Sizes:
    """Of a generator (11,365,633 parameters), a discriminator and the registration (2,058,018)."""

    width: int = 64
    blocks: int = 9
    discriminator_width: int = 64
    registration_widths: tuple[int, ...] = WIDTHS
    registration_blocks: int = 3


@dataclass(frozen=True)
class Weights:
    """Eq. 7; ``lambda_cyc`` with ``bidirect`` only."""

    lambda_adv: float = 1.0
    lambda_corr: float = 20.0
    lambda_smooth: float = 10.0
    lambda_cyc: float = 10.0


@dataclass(frozen=True)
class Options:
    """``misalignment`` 1: pairs are turned by up to 1 degree, shifted and scaled by up to 2 %."""

    bidirect: bool = False
    misalignment: float = 1.0


def correction_loss(registered: Tensor, acquired_target: Tensor) -> Tensor:
    """Eq. 5: L1 of the warped synthetic image to the misaligned target."""
    return l1_loss(registered, acquired_target)


class RegGAN(Baseline):
    """Phases: generators (with the registration), discriminators."""

    parts = Sizes, Weights, Options
    needs_pairs = True
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {
            "epochs": True,
            "optimization": {
                "learning_rates": {"generators": 1e-4, "discriminators": 1e-4},
                "betas": [0.5, 0.999],
            },
        }
    }

    def __init__(
        self, sizes: Sizes, weights: Weights, options: Options, optimization: Optimization
    ) -> None:
        self.weights, self.options, self.optimization = weights, options, optimization

        self.networks = nn.ModuleDict(
            {
                "registration": RegistrationNetwork(
                    sizes.registration_widths, sizes.registration_blocks
                )
            }
        )

        def add(generator: str, discriminator: str) -> None:
            self.networks[generator] = ResNetGenerator(width=sizes.width, blocks=sizes.blocks)
            self.networks[discriminator] = PatchGAN(1, sizes.discriminator_width, pooled=True)

        add("source_to_target", "of_target")
        if options.bidirect:
            add("target_to_source", "of_source")
            self.exported_back = "target_to_source"
        discriminators = [key for key in self.networks if key.startswith("of_")]
        others = [key for key in self.networks if key not in discriminators]
        self.groups = {"generators": tuple(others), "discriminators": tuple(discriminators)}

    def iteration(self, batch: SliceBatch, generator: Generator) -> Iterator[Phase]:
        n, level = self.networks, self.options.misalignment
        source, target = (misaligned(images, level, generator) for images in batch)
        synthetic = {"target": n["source_to_target"](source)}
        if self.options.bidirect:
            synthetic["source"] = n["target_to_source"](target)
        acquired = {"source": source, "target": target}
        yield self._generators(acquired, synthetic)
        yield weighted_phase(
            "discriminators",
            **{
                f"of_{contrast}": (
                    self.weights.lambda_adv,
                    least_squares_discriminator(
                        n[f"of_{contrast}"](image.detach()), n[f"of_{contrast}"](acquired[contrast])
                    ),
                )
                for contrast, image in synthetic.items()
            },
        )

    def _generators(self, acquired: dict[str, Tensor], synthetic: dict[str, Tensor]) -> Phase:
        n, w = self.networks, self.weights
        flow = n["registration"](synthetic["target"], acquired["target"])
        registered = warp(synthetic["target"], flow)
        terms = {
            "corr": (w.lambda_corr, correction_loss(registered, acquired["target"])),
            "smooth": (w.lambda_smooth, smoothness_loss(flow)),
        }
        for contrast, image in synthetic.items():
            score = n[f"of_{contrast}"](image)
            terms[f"adv_{contrast}"] = (w.lambda_adv, least_squares_generator(score))
        if self.options.bidirect:
            back_source = n["target_to_source"](synthetic["target"])
            back_target = n["source_to_target"](synthetic["source"])
            terms["cyc_source"] = (w.lambda_cyc, cycle_loss(back_source, acquired["source"]))
            terms["cyc_target"] = (w.lambda_cyc, cycle_loss(back_target, acquired["target"]))
        return weighted_phase("generators", **terms)
