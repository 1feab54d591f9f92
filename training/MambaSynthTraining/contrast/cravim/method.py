"""CRAViM as a training method: the passes of ``step.py`` in the engine's phases.

Three objectives: ``cycle`` is the paper's (Eq. 5), all four networks; two are ours. ``paired``
trains the exported generator alone on registered pairs. ``inverted`` teaches both generators to
turn the brightness of their own source upside down, which needs no pairs: a first stage after
which the losses of the cycle begin on the right side (issue 16).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from MambaSynthLib.methods.cravim.network import CRAViM, CRAViMConfig
from MambaSynthLib.methods.diffusion import Schedule, levels, posterior
from MambaSynthLib.model.settings import settings
from MambaSynthTraining.contrast.cravim import losses
from MambaSynthTraining.contrast.cravim.discriminator import MultiScaleDiscriminator
from MambaSynthTraining.contrast.cravim.losses import Weights
from MambaSynthTraining.contrast.cravim.neighbors import NONE, Neighbors
from MambaSynthTraining.contrast.cravim.presets import PRESETS
from MambaSynthTraining.contrast.cravim.step import (
    WIRINGS,
    Networks,
    discriminator_pass,
    draw_noise,
    generator_pass,
    paired_pass,
)
from MambaSynthTraining.data.slices import SliceBatch
from MambaSynthTraining.method import ContrastMethod, Phase
from MambaSynthTraining.recipe import Optimization, Recipe, Stage


@dataclass(frozen=True)
class Options:
    """CRAViM's own switches in a recipe."""

    wiring: str = "official"  # or "paper" or "plain-cycle", see step.py
    discriminator_width: int = 64
    spectral_norm: bool = False  # of the discriminators
    steps: int = 4  # network calls of a validation synthesis; 1 is the one-shot output

    def __post_init__(self) -> None:
        if self.wiring not in WIRINGS:
            raise ValueError(f"the wiring {self.wiring!r} is none of {', '.join(WIRINGS)}")


class CRAViMTraining(ContrastMethod):
    """Generators ``a_to_b`` (source -> target), ``b_to_a``; discriminators ``of_a``, ``of_b``."""

    exported, exported_back = "a_to_b", "b_to_a"
    objectives: ClassVar[tuple[str, ...]] = ("cycle", "paired", "inverted")
    objective = "cycle"
    presets = PRESETS

    def __init__(
        self,
        new_generator: Callable[[], nn.Module],
        weights: Weights,
        options: Options,
        optimization: Optimization,
        schedule: Schedule,
        around: Neighbors = NONE,
    ) -> None:
        self.usual, self.options, self.schedule = weights, options, schedule
        self.around, self.neighbors = around, around.r
        self.weights = weights  # those of the current stage
        self.optimization = optimization
        width, spectral = options.discriminator_width, options.spectral_norm
        self.networks = nn.ModuleDict(
            {
                "a_to_b": new_generator(),
                "b_to_a": new_generator(),
                "of_a": MultiScaleDiscriminator(width, spectral_norm=spectral),
                "of_b": MultiScaleDiscriminator(width, spectral_norm=spectral),
            }
        )
        levels(schedule, options.steps)  # raises when there are not so many

    @classmethod
    def build(cls, recipe: Recipe) -> Self:
        config = settings(CRAViMConfig, recipe.network, "network")
        if config.neighbors and recipe.run < 2:
            raise ValueError("network.neighbors needs slices with neighbors; set run to 2 or more")
        return cls(
            lambda: CRAViM(config),
            settings(Weights, recipe.weights, "weights"),
            settings(Options, recipe.options, "options"),
            recipe.optimization,
            recipe.schedule,
            Neighbors(config.neighbors, recipe.run),
        )

    def begin(self, stage: Stage) -> None:
        super().begin(replace(stage, weights={}))
        self.weights = settings(Weights, {**asdict(self.usual), **stage.weights}, "weights")

    @property
    def trains_back(self) -> bool:
        return self.objective != "paired"

    @property
    def needs_pairs(self) -> bool:
        return self.objective == "paired" or self.weights.lambda_paired > 0

    @property
    def parts(self) -> Networks:
        return Networks(**dict(self.networks.items()))

    def optimizers(self) -> dict[str, Optimizer]:
        adam, parts = self.optimization.adam, self.parts
        return {
            "generators": adam("generators", parts.generator_parameters()),
            "discriminators": adam("discriminators", parts.discriminator_parameters()),
        }

    def iteration(self, batch: SliceBatch, generator: Generator) -> Iterator[Phase]:
        passes = {"cycle": self._cycle, "paired": self._paired, "inverted": self._inverted}
        return passes[self.objective](*batch, generator)

    def _cycle(self, a: Tensor, b: Tensor, generator: Generator) -> Iterator[Phase]:
        """Both generators, then both discriminators."""
        noise, parts = draw_noise(a, self.schedule, generator), self.parts
        wiring = WIRINGS[self.options.wiring]
        terms, ab, ba = generator_pass(parts, a, b, noise, wiring, self.schedule, self.around)
        yield Phase("generators", terms.total(self.weights), terms.detached())
        loss = discriminator_pass(parts, a, b, ab, ba)
        logged = {}
        if self.weights.lambda_r1:
            r1 = losses.r1_penalty(parts.of_a, a) + losses.r1_penalty(parts.of_b, b)
            loss = loss + self.weights.lambda_r1 / 2 * r1
            logged = {"r1": r1.detach()}
        yield Phase("discriminators", loss, logged)

    def _paired(self, a: Tensor, b: Tensor, generator: Generator) -> Iterator[Phase]:
        """The generator that is exported, alone. The other's gradient is none, so it stays."""
        paired, structure, transport = self._toward("a_to_b", a, b, generator)
        weights = self.weights
        loss = (
            weights.lambda_paired * paired
            + weights.lambda_structure * structure
            + weights.lambda_trans * transport
        )
        terms = {"paired_ab": paired, "structure_ab": structure, "trans_forward_a": transport}
        yield Phase("generators", loss, {name: value.detach() for name, value in terms.items()})

    def _inverted(self, a: Tensor, b: Tensor, generator: Generator) -> Iterator[Phase]:
        """Each generator alone, from its source to that source upside down: L1 and Eq. 3."""
        loss, terms = torch.zeros((), device=a.device), {}
        for name, source in (("a_to_b", a), ("b_to_a", b)):
            wanted = losses.inverted(source)
            inverted, _, transport = self._toward(name, source, wanted, generator)
            loss = loss + inverted + self.weights.lambda_trans * transport
            terms[f"inverted_{name}"] = inverted.detach()
        yield Phase("generators", loss, terms)

    def _toward(
        self, name: str, source: Tensor, target: Tensor, generator: Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """``paired_pass`` of one generator; half of the samples begin with pure noise."""
        noise = draw_noise(source, self.schedule, generator)
        from_noise = (torch.rand(len(source), generator=generator) < 0.5).to(source.device)
        return paired_pass(
            self.networks[name], source, target, noise, from_noise, self.schedule, self.around
        )

    def synthesize(self, source: Tensor, generator: Generator) -> Tensor:
        """The sampler of A.11, ``options.steps`` network calls. (B,1,H,W) -> same; a network with
        neighbors takes the batch for one run.
        """

        def normal() -> Tensor:
            return torch.randn(source.shape, generator=generator).to(source.device)

        noisy, around = normal(), replace(self.around, run=len(source))
        path = levels(self.schedule, self.options.steps)
        for high, low in zip(path, path[1:], strict=False):
            estimate = self.networks[self.exported](around.images(source, noisy))[:, 1:]
            step = posterior(self.schedule, high, low)
            noisy = step.of_estimate * estimate + step.of_current * noisy
            noisy = noisy + step.std * normal() if low else noisy
        return noisy
