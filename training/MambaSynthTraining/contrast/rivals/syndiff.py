"""SynDiff: adversarial diffusion in four steps, made unpaired by two plain translators.

| symbol        | code                | shape     | meaning                                        |
|---------------|---------------------|-----------|------------------------------------------------|
| y_0           | ``acquired``        | (B,1,H,W) | acquired image of a contrast, in [-1,1]        |
| y_t, y_{t+1}  | ``at_t``, ``noisy`` | (B,1,H,W) | the same at noise levels t and t + 1           |
| y~            | ``guide``           | (B,1,H,W) | its counterpart of the other contrast, by G_phi|
| G_theta       | ``to_<contrast>``   |           | diffusive: (guide, y_{t+1}, t, z) -> y_0       |
| G_phi         | ``translate_to_<contrast>`` |   | non-diffusive: ResNet-6                        |
| D_theta       | ``of_step_<contrast>`` |        | of (y_t, y_{t+1}, t)                           |
| D_phi         | ``of_<contrast>``   |           | of images                                      |

Ozbey et al., IEEE TMI 2023. Differences to the published code, beside those of its networks: one
Adam for all generators and one for all discriminators (the same for equal rates); the lazy
penalty R1 falls on a random tenth of the iterations rather than on every tenth, so that no counter
must survive a kill. Our reading: R1 is applied to D_theta only, and the diffusive losses also
reach G_phi through the guide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import l1_loss

from MambaSynthLib.methods.diffusion import Schedule
from MambaSynthLib.model.settings import settings
from MambaSynthTraining.contrast.rivals.adversarial import (
    non_saturating_discriminator,
    non_saturating_generator,
    r1_penalty,
)
from MambaSynthTraining.contrast.rivals.baseline import Baseline, weighted_phase
from MambaSynthTraining.contrast.rivals.diffusion_steps import denoised, noised_pair
from MambaSynthTraining.contrast.rivals.discriminators import PatchGAN, TimeDiscriminator
from MambaSynthTraining.contrast.rivals.generators import ResNetGenerator
from MambaSynthTraining.contrast.rivals.ncsnpp import NCSNpp, NCSNppConfig
from MambaSynthTraining.data.slices import SliceBatch
from MambaSynthTraining.method import Phase
from MambaSynthTraining.recipe import Optimization, Recipe

OTHER = {"source": "target", "target": "source"}


@dataclass(frozen=True)
class Sizes:
    """NCSN++ (39.73 M parameters), ResNet-6 (7.83 M), D_theta (27.7 M) and D_phi (2.76 M)."""

    diffusive: NCSNppConfig = NCSNppConfig()
    width: int = 64
    blocks: int = 6
    discriminator_width: int = 64
    halvings: int = 6


@dataclass(frozen=True)
class Weights:
    """Eq. 13: the two L1 terms count half."""

    lambda_adv: float = 1.0
    lambda_diffusive: float = 0.5
    lambda_cyc: float = 0.5
    r1_gamma: float = 1.0


@dataclass(frozen=True)
class Options:
    """R1 falls on one iteration of ``r1_every`` on average; 0 leaves it out."""

    r1_every: int = 10


@dataclass(frozen=True)
class Step:
    """One random step of one contrast's diffusion."""

    t: Tensor  # (B,)
    at_t: Tensor  # y_t of the acquired image
    noisy: Tensor  # y_{t+1} of the acquired image
    estimate: Tensor  # G_theta's y_0
    synthetic: Tensor  # y_t drawn from the posterior of the estimate


def diffusive_loss(estimate: Tensor, acquired: Tensor) -> Tensor:
    """Eq. 13, first half: L1 of the denoised image to the acquired one."""
    return l1_loss(estimate, acquired)


def cycle_loss(back: Tensor, acquired: Tensor) -> Tensor:
    """Eq. 13, second half: L1 of the twice translated image to the acquired one."""
    return l1_loss(back, acquired)


class SynDiff(Baseline):
    """Phases: discriminators, generators, each on draws of its own."""

    exported, exported_back = "to_target", "to_source"
    groups = {
        "generators": tuple(f"{role}_{c}" for c in OTHER for role in ("to", "translate_to")),
        "discriminators": tuple(f"{role}_{c}" for c in OTHER for role in ("of_step", "of")),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {
            "epochs": True,
            "optimization": {
                "learning_rates": {"generators": 1.6e-4, "discriminators": 1e-4},
                "betas": [0.5, 0.9],
                "decay": "cosine",
                "lr_end": 1e-5,
                "ema": 0.999,
            },
        }
    }

    def __init__(
        self,
        sizes: Sizes,
        weights: Weights,
        options: Options,
        schedule: Schedule,
        optimization: Optimization,
    ) -> None:
        self.weights, self.options = weights, options
        self.schedule, self.optimization = schedule, optimization
        self.latent = sizes.diffusive.latent
        self.networks = nn.ModuleDict()
        for c in OTHER:
            self.networks[f"to_{c}"] = NCSNpp(sizes.diffusive)
            self.networks[f"translate_to_{c}"] = ResNetGenerator(1, 1, sizes.width, sizes.blocks)
            self.networks[f"of_step_{c}"] = TimeDiscriminator(
                sizes.discriminator_width, sizes.halvings
            )
            self.networks[f"of_{c}"] = PatchGAN(1, sizes.discriminator_width)

    @classmethod
    def build(cls, recipe: Recipe) -> Self:
        return cls(
            settings(Sizes, recipe.network, "network"),
            settings(Weights, recipe.weights, "weights"),
            settings(Options, recipe.options, "options"),
            recipe.schedule,
            recipe.optimization,
        )

    def iteration(self, batch: SliceBatch, generator: Generator) -> Iterator[Phase]:
        source, target = batch
        acquired = {"source": source, "target": target}
        yield self._discriminators(acquired, generator)
        yield self._generators(acquired, generator)

    def _step(self, contrast: str, y_0: Tensor, guide: Tensor, generator: Generator) -> Step:
        """A step at a random level of each sample of ``y_0`` (B,1,H,W)."""
        t = torch.randint(self.schedule.steps, (len(y_0),), generator=generator).to(y_0.device)
        eps, eps_next, eps_back = (normal(y_0.shape, y_0, generator) for _ in range(3))
        z = normal((len(y_0), self.latent), y_0, generator)
        at_t, noisy = noised_pair(y_0, t, eps, eps_next, self.schedule)
        estimate = self.networks[f"to_{contrast}"](torch.cat([guide, noisy], dim=1), t, z)
        synthetic = denoised(estimate, noisy, t, eps_back, self.schedule)
        return Step(t, at_t, noisy, estimate, synthetic)

    def _discriminators(self, acquired: dict[str, Tensor], generator: Generator) -> Phase:
        n, w = self.networks, self.weights
        every = self.options.r1_every
        penalized = every > 0 and int(torch.randint(every, (), generator=generator)) == 0
        terms = {}
        for c, y_0 in acquired.items():
            with torch.no_grad():
                guide = n[f"translate_to_{OTHER[c]}"](y_0)
                step = self._step(c, y_0, guide, generator)
            at_t = step.at_t.requires_grad_(penalized)
            score = n[f"of_step_{c}"](at_t, step.noisy, step.t)
            of_synthetic = n[f"of_step_{c}"](step.synthetic, step.noisy, step.t)
            loss = non_saturating_discriminator(of_synthetic, score)
            terms[f"of_step_{c}"] = (w.lambda_adv, loss)
            r1 = r1_penalty(score, at_t, w.r1_gamma) if penalized else y_0.new_zeros(())
            terms[f"r1_{c}"] = (1.0, r1)
            other = n[f"of_{OTHER[c]}"]
            loss = non_saturating_discriminator(other(guide), other(acquired[OTHER[c]]))
            terms[f"of_{OTHER[c]}"] = (w.lambda_adv, loss)
        return weighted_phase("discriminators", **terms)

    def _generators(self, acquired: dict[str, Tensor], generator: Generator) -> Phase:
        n, w = self.networks, self.weights
        terms = {}
        for c, y_0 in acquired.items():
            guide = n[f"translate_to_{OTHER[c]}"](y_0)
            back = n[f"translate_to_{c}"](guide)
            step = self._step(c, y_0, guide, generator)
            score_of_step = n[f"of_step_{c}"](step.synthetic, step.noisy, step.t)
            score_of_guide = n[f"of_{OTHER[c]}"](guide)
            terms[f"adv_step_{c}"] = (w.lambda_adv, non_saturating_generator(score_of_step))
            terms[f"adv_{OTHER[c]}"] = (w.lambda_adv, non_saturating_generator(score_of_guide))
            terms[f"diffusive_{c}"] = (w.lambda_diffusive, diffusive_loss(step.estimate, y_0))
            terms[f"cyc_{c}"] = (w.lambda_cyc, cycle_loss(back, y_0))
        return weighted_phase("generators", **terms)

    def synthesize(self, source: Tensor, generator: Generator) -> Tensor:
        """(B,1,H,W) -> (B,1,H,W): from noise in T steps, the acquired source as guide."""
        current = normal(source.shape, source, generator)
        for level in reversed(range(self.schedule.steps)):
            t = torch.full((len(source),), level, device=source.device)
            z = normal((len(source), self.latent), source, generator)
            estimate = self.networks[self.exported](torch.cat([source, current], dim=1), t, z)
            eps = normal(source.shape, source, generator)
            current = denoised(estimate, current, t, eps, self.schedule)
        return current


def normal(shape: tuple[int, ...], like: Tensor, generator: Generator) -> Tensor:
    """Standard normal numbers, drawn on the CPU."""
    return torch.randn(shape, generator=generator).to(like)
