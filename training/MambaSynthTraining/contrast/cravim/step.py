"""One training iteration of CRAViM: six generator passes, the losses, two optimizer steps.

| symbol  | code            | meaning                                                            |
|---------|-----------------|--------------------------------------------------------------------|
| G_y, G_x| ``a_to_b``, ``b_to_a`` | generators of the two directions                            |
| D_x, D_y| ``of_a``, ``of_b``     | discriminators of the two contrasts                         |
| x_0, y_0| ``a``, ``b``    | acquired images (B,1,H,W) in [-1,1]                                |
| y_T     | ``start_a`` ..  | pure noise of the one-shot pass                                    |
| x_{t+1} | ``add_noise``   | an image at noise level t + 1, t uniform in 0..T-1 for each sample |

The printed method and the published code differ in what receives gradients; ``Wiring`` holds the
switches, ``OFFICIAL`` and ``PAPER`` their settings, ``PLAIN_CYCLE`` those of a row of Table 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from MambaSynthLib.methods.diffusion import Schedule
from MambaSynthTraining.contrast.cravim import losses
from MambaSynthTraining.contrast.cravim.losses import Weights
from MambaSynthTraining.contrast.cravim.neighbors import NONE, Neighbors


@dataclass(frozen=True)
class Wiring:
    """What the gradients pass through."""

    cycle_trains_both: bool  # False: the synthetic image enters the cycle detached
    denoiser_is_trained: bool  # False: the denoised image is a fixed target (no gradient)
    cycle_starts_from_noise: bool = False  # True: nothing of the answer is in the cycle's input


OFFICIAL = Wiring(cycle_trains_both=False, denoiser_is_trained=False)  # the published code
PAPER = Wiring(cycle_trains_both=True, denoiser_is_trained=True)  # Eq. 4 and "cycle consistency"
PLAIN_CYCLE = Wiring(  # a row of Table 2, our reading
    cycle_trains_both=True, denoiser_is_trained=False, cycle_starts_from_noise=True
)
WIRINGS = {"official": OFFICIAL, "paper": PAPER, "plain-cycle": PLAIN_CYCLE}


@dataclass
class Networks:
    """The two generators and two discriminators that are trained together."""

    a_to_b: nn.Module
    b_to_a: nn.Module
    of_a: nn.Module
    of_b: nn.Module

    def generator_parameters(self) -> Iterable[nn.Parameter]:
        return [*self.a_to_b.parameters(), *self.b_to_a.parameters()]

    def discriminator_parameters(self) -> Iterable[nn.Parameter]:
        return [*self.of_a.parameters(), *self.of_b.parameters()]


@dataclass(frozen=True)
class Draw:
    """The randomness of noising one batch: step t (B,), and two standard normal images."""

    t: Tensor
    eps: Tensor
    eps_next: Tensor


@dataclass(frozen=True)
class IterationNoise:
    """Everything random in one iteration, so that an iteration is a function of its arguments."""

    start_a: Tensor
    start_b: Tensor
    cycle_a: Draw
    cycle_b: Draw
    denoise_ab: Draw
    denoise_ba: Draw


def draw_noise(like: Tensor, schedule: Schedule, generator: torch.Generator) -> IterationNoise:
    """Fresh noise for a batch shaped (B,1,H,W). The published start is a mix of three Gaussians of
    unit total variance, so simply standard normal.
    """

    def normal() -> Tensor:
        return torch.randn(like.shape, generator=generator).to(like.device)

    def draw() -> Draw:
        t = torch.randint(0, schedule.steps, (len(like),), generator=generator).to(like.device)
        return Draw(t, normal(), normal())

    return IterationNoise(normal(), normal(), draw(), draw(), draw(), draw())


def add_noise(image: Tensor, draw: Draw, schedule: Schedule) -> Tensor:
    """x_{t+1} = a_{t+1} (sqrt(abar_t) x + sqrt(1 - abar_t) eps) + sigma_{t+1} eps'. (B,1,H,W)."""

    def per_sample(table: object, index: Tensor) -> Tensor:
        values = torch.as_tensor(table, dtype=image.dtype, device=image.device)
        return values[index].view(-1, 1, 1, 1)

    at_t = (
        per_sample(schedule.signal, draw.t) * image + per_sample(schedule.noise, draw.t) * draw.eps
    )
    a, sigma = per_sample(schedule.a, draw.t + 1), per_sample(schedule.sigma, draw.t + 1)
    return a * at_t + sigma * draw.eps_next


@dataclass(frozen=True)
class Terms:
    """The generator's loss terms of one iteration, scalars with gradients."""

    adv_a: Tensor
    adv_b: Tensor
    rdn_ab: Tensor
    rdn_ba: Tensor
    trans_forward_a: Tensor
    trans_forward_b: Tensor
    trans_backward_ab: Tensor
    trans_backward_ba: Tensor
    cyc_a: Tensor
    cyc_b: Tensor
    paired_ab: Tensor
    paired_ba: Tensor
    edge_ab: Tensor
    edge_ba: Tensor

    def total(self, weights: Weights) -> Tensor:
        """Eq. 5."""
        return (
            weights.lambda_adv * (self.adv_a + self.adv_b)
            + weights.lambda_rdn * (self.rdn_ab + self.rdn_ba)
            + weights.lambda_trans * (self.trans_forward_a + self.trans_forward_b)
            + weights.lambda_trans * (self.trans_backward_ab + self.trans_backward_ba)
            + weights.lambda_cyc * (self.cyc_a + self.cyc_b)
            + weights.lambda_paired * (self.paired_ab + self.paired_ba)
            + weights.lambda_edge * (self.edge_ab + self.edge_ba)
        )

    def detached(self) -> dict[str, Tensor]:
        return {field.name: getattr(self, field.name).detach() for field in fields(self)}


def generator_pass(
    networks: Networks,
    a: Tensor,
    b: Tensor,
    noise: IterationNoise,
    wiring: Wiring,
    schedule: Schedule,
    neighbors: Neighbors = NONE,
) -> tuple[Terms, Tensor, Tensor]:
    """All loss terms, and the synthetic images ab, ba (B,1,H,W) of the one-shot pass."""

    def through(generator: nn.Module, source: Tensor, noisy: Tensor) -> tuple[Tensor, Tensor]:
        carried, target = generator(neighbors.images(source, noisy)).split(1, dim=1)
        return carried, target

    carried_a, ab = through(networks.a_to_b, a, noise.start_a)
    carried_b, ba = through(networks.b_to_a, b, noise.start_b)

    cycle_ab = ab if wiring.cycle_trains_both else ab.detach()
    cycle_ba = ba if wiring.cycle_trains_both else ba.detach()
    if wiring.cycle_starts_from_noise:
        hint_a, hint_b = noise.cycle_a.eps, noise.cycle_b.eps
    else:
        hint_a = add_noise(a, noise.cycle_a, schedule)
        hint_b = add_noise(b, noise.cycle_b, schedule)
    carried_ab, back_a = through(networks.b_to_a, cycle_ab, hint_a)
    carried_ba, back_b = through(networks.a_to_b, cycle_ba, hint_b)

    with nullcontext() if wiring.denoiser_is_trained else torch.no_grad():
        denoised_ab = through(networks.a_to_b, a, add_noise(ab, noise.denoise_ab, schedule))[1]
        denoised_ba = through(networks.b_to_a, b, add_noise(ba, noise.denoise_ba, schedule))[1]

    terms = Terms(
        adv_a=losses.adversarial_loss(networks.of_a(ba)),
        adv_b=losses.adversarial_loss(networks.of_b(ab)),
        rdn_ab=losses.random_denoise_loss(ab, denoised_ab),
        rdn_ba=losses.random_denoise_loss(ba, denoised_ba),
        trans_forward_a=losses.transport_loss(carried_a, a),
        trans_forward_b=losses.transport_loss(carried_b, b),
        trans_backward_ab=losses.transport_loss(carried_ab, ab),
        trans_backward_ba=losses.transport_loss(carried_ba, ba),
        cyc_a=losses.cycle_loss(back_a, a),
        cyc_b=losses.cycle_loss(back_b, b),
        paired_ab=losses.paired_loss(ab, b),
        paired_ba=losses.paired_loss(ba, a),
        edge_ab=losses.edge_loss(ab, a),
        edge_ba=losses.edge_loss(ba, b),
    )
    return terms, ab, ba


def paired_pass(
    generator: nn.Module,
    a: Tensor,
    b: Tensor,
    noise: IterationNoise,
    from_noise: Tensor,
    schedule: Schedule,
    neighbors: Neighbors = NONE,
) -> tuple[Tensor, Tensor, Tensor]:
    """Paired, structural and transport loss of one generator, for registered pairs; not in the
    paper.

    ``from_noise`` (B,) says which samples start from pure noise, as in one-step sampling; the
    others see the acquired target at a random noise level, as in the later steps.
    """
    noisy_target = add_noise(b, noise.denoise_ab, schedule)
    noisy = torch.where(from_noise.view(-1, 1, 1, 1), noise.start_a, noisy_target)
    carried, target = generator(neighbors.images(a, noisy)).split(1, dim=1)
    return (
        losses.paired_loss(target, b),
        losses.structural_loss(target, b),
        losses.transport_loss(carried, a),
    )


def discriminator_pass(networks: Networks, a: Tensor, b: Tensor, ab: Tensor, ba: Tensor) -> Tensor:
    """The discriminators' summed loss on acquired against (detached) synthetic images."""
    return _of_both(networks.of_a, ba, a) + _of_both(networks.of_b, ab, b)


def _of_both(network: nn.Module, synthetic: Tensor, acquired: Tensor) -> Tensor:
    """In one batch, which takes two thirds of the time of two."""
    scores = [score.chunk(2) for score in network(torch.cat((synthetic.detach(), acquired)))]
    return losses.discriminator_loss(*zip(*scores, strict=True))
