"""SelfRDB: a bridge of ten steps from source to target, each estimate refined by itself.

| symbol       | code               | shape     | meaning                                          |
|--------------|--------------------|-----------|--------------------------------------------------|
| x_0, y       | ``target, source`` | (B,1,H,W) | acquired images of one registered subject        |
| x_t, x_{t-1} | ``noisy, before``  | (B,1,H,W) | on the bridge, see ``bridge.py``                 |
| x_0^r        | ``estimate``       | (B,1,H,W) | the estimate after r recursions; the first is 0  |
| G            | ``to_target``      |           | NCSN++ of (x_t, y, x_0^r), t and a latent z      |
| D            | ``of_step``        |           | of (x_{t-1}, x_t, t)                             |

Arslan et al., Medical Image Analysis 2025. It needs registered pairs: an anchor beside the unpaired
methods, not one of CRAViM's rows. Differences to the published program: the networks are those of
our SynDiff; the posterior of ``bridge.py``; R1 on a random tenth of the iterations, as in
``syndiff.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import l1_loss

from MambaSynthTraining.contrast.rivals.adversarial import (
    non_saturating_discriminator,
    non_saturating_generator,
    r1_penalty,
)
from MambaSynthTraining.contrast.rivals.baseline import Baseline, weighted_phase
from MambaSynthTraining.contrast.rivals.bridge import Bridge
from MambaSynthTraining.contrast.rivals.discriminators import TimeDiscriminator
from MambaSynthTraining.contrast.rivals.ncsnpp import NCSNpp, NCSNppConfig
from MambaSynthTraining.contrast.rivals.syndiff import normal
from MambaSynthTraining.data.slices import SliceBatch
from MambaSynthTraining.method import Phase
from MambaSynthTraining.recipe import Optimization


@dataclass(frozen=True)
class Sizes:
    """NCSN++ and the discriminator of its steps."""

    diffusive: NCSNppConfig = NCSNppConfig()
    discriminator_width: int = 32
    halvings: int = 6


@dataclass(frozen=True)
class Weights:
    """The L1 counts half, as in SynDiff."""

    lambda_adv: float = 1.0
    lambda_rec: float = 0.5
    r1_gamma: float = 1.0


@dataclass(frozen=True)
class Options:
    """The bridge, and how often an estimate is refined."""

    bridge: Bridge = Bridge()
    recursions: int = 5  # at most, of a synthesis
    consistent: float = 0.01  # largest change of a pixel, mean over the batch, that ends them
    recursion_share: float = 0.5  # of the iterations that train on a refined estimate
    r1_every: int = 10

    def __post_init__(self) -> None:
        if self.recursions < 1 or not 0 <= self.recursion_share <= 1:
            raise ValueError(
                f"options: {self.recursions} recursions, a share of {self.recursion_share}; give "
                "at least 1 and a share from 0 to 1"
            )


def reconstruction_loss(estimate: Tensor, target: Tensor) -> Tensor:
    """L1 of the estimate to the acquired target."""
    return l1_loss(estimate, target)


class SelfRDB(Baseline):
    """Phases: discriminators, generators, each on draws of its own."""

    parts = Sizes, Weights, Options
    exported = "to_target"
    groups = {"generators": ("to_target",), "discriminators": ("of_step",)}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {
            "epochs": True,
            "optimization": {
                "learning_rates": {"generators": 1.6e-4, "discriminators": 1e-4},
                "betas": [0.5, 0.9],
                "decay": "cosine",
                "lr_end": 1e-5,
            },
        }
    }
    needs_pairs = True

    def __init__(
        self, sizes: Sizes, weights: Weights, options: Options, optimization: Optimization
    ) -> None:
        self.weights, self.options, self.optimization = weights, options, optimization
        self.bridge, self.latent = options.bridge, sizes.diffusive.latent
        self.networks = nn.ModuleDict(
            {
                "to_target": NCSNpp(sizes.diffusive, images=3),
                "of_step": TimeDiscriminator(sizes.discriminator_width, sizes.halvings),
            }
        )

    def iteration(self, batch: SliceBatch, generator: Generator) -> Iterator[Phase]:
        source, target = batch
        yield self._discriminator(source, target, generator)
        noisy, estimate, before, t = self._step(source, target, generator)
        score = self.networks["of_step"](before, noisy, t)
        yield weighted_phase(
            "generators",
            adv=(self.weights.lambda_adv, non_saturating_generator(score)),
            rec=(self.weights.lambda_rec, reconstruction_loss(estimate, target)),
        )

    def _step(
        self, source: Tensor, target: Tensor, generator: Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x_t at a random t of each sample, the estimate of x_0, x_{t-1} drawn from it, and t."""
        t = torch.randint(1, self.bridge.steps + 1, (len(source),), generator=generator)
        t = t.to(source.device)
        noisy = self.bridge.noised(target, source, t, normal(source.shape, source, generator))
        estimate = torch.zeros_like(source)
        if float(torch.rand((), generator=generator)) < self.options.recursion_share:
            with torch.no_grad():
                estimate = self._estimate(noisy, source, estimate, t, generator)
        estimate = self._estimate(noisy, source, estimate, t, generator)
        eps = normal(source.shape, source, generator)
        return noisy, estimate, self.bridge.previous(noisy, estimate, source, t, eps), t

    def _estimate(
        self, noisy: Tensor, source: Tensor, estimate: Tensor, t: Tensor, generator: Generator
    ) -> Tensor:
        """x_0^(r+1) = G(x_t, y, x_0^r)."""
        z = normal((len(source), self.latent), source, generator)
        images = torch.cat([noisy, source, estimate], dim=1)  # (B,3,H,W)
        return self.networks[self.exported](images, t - 1, z)

    def _discriminator(self, source: Tensor, target: Tensor, generator: Generator) -> Phase:
        every, network = self.options.r1_every, self.networks["of_step"]
        penalized = every > 0 and int(torch.randint(every, (), generator=generator)) == 0
        with torch.no_grad():
            noisy, _, before, t = self._step(source, target, generator)
            eps = normal(source.shape, source, generator)
            acquired = self.bridge.previous(noisy, target, source, t, eps)  # of the true x_0
        acquired = acquired.requires_grad_(penalized)
        score = network(acquired, noisy, t)
        loss = non_saturating_discriminator(network(before, noisy, t), score)
        r1 = r1_penalty(score, acquired, self.weights.r1_gamma) if penalized else loss.new_zeros(())
        return weighted_phase(
            "discriminators", of_step=(self.weights.lambda_adv, loss), r1=(1.0, r1)
        )

    def synthesize(self, source: Tensor, generator: Generator) -> Tensor:
        """(B,1,H,W) -> (B,1,H,W): T steps of the bridge, each with up to R network calls."""
        ends = torch.full((len(source),), self.bridge.steps, device=source.device)
        eps = normal(source.shape, source, generator)
        current = self.bridge.noised(torch.zeros_like(source), source, ends, eps)
        for level in reversed(range(1, self.bridge.steps + 1)):
            t = torch.full((len(source),), level, device=source.device)
            estimate = torch.zeros_like(source)
            for _ in range(self.options.recursions):
                former = estimate
                estimate = self._estimate(current, source, former, t, generator)
                if float((estimate - former).abs().mean(0).max()) < self.options.consistent:
                    break
            eps = normal(source.shape, source, generator)
            current = self.bridge.previous(current, estimate, source, t, eps)
        return current
