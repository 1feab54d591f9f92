"""CRAViM against arrays computed with the published networks, and its gradients against calculus.

The reference arrays belong to one stated set of weights: sines of small amplitude. The parts agree
to 1e-5. The whole generator cannot: under these weights instance normalization divides by very
small deviations, so that rounding in float32 moves its result by 1e-4 to 4e-4 on average, by other
amounts on other processors. Whole networks are therefore evaluated here in float64, which gives
the same on every machine; what is left is the rounding of the published arithmetic and of the
stored inputs, see Testing/data/parity/README.md. Sums of gradients move by a factor of up to two
for the same reason; what they can show exactly is where gradients flow and where they do not. That
the gradients are right is shown at the end, by finite differences of a well-conditioned network.
"""

from __future__ import annotations

import lzma
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from MambaSynthLib.methods.cravim.config import Sampling
from MambaSynthLib.methods.cravim.evss import EVSSBlock
from MambaSynthLib.methods.cravim.network import CRAViM, CRAViMConfig
from MambaSynthLib.methods.cravim.synthesis import synthesize
from MambaSynthLib.methods.diffusion import Schedule, posterior
from MambaSynthTraining.contrast.cravim import losses
from MambaSynthTraining.contrast.cravim.discriminator import MultiScaleDiscriminator
from MambaSynthTraining.contrast.cravim.losses import Weights
from MambaSynthTraining.contrast.cravim.step import (
    OFFICIAL,
    PAPER,
    Draw,
    IterationNoise,
    Networks,
    add_noise,
    discriminator_pass,
    draw_noise,
    generator_pass,
)

TERMS = (
    "cyc_a", "cyc_b", "trans_forward_a", "trans_forward_b", "trans_backward_ab",
    "trans_backward_ba", "rdn_ab", "rdn_ba", "adv_a", "adv_b",
)  # fmt: skip
STARTS = {"cyc_a": "a", "cyc_b": "b", "rdn_ab": "a", "rdn_ba": "b"}


def filled(network: nn.Module) -> nn.Module:
    """Element j of the k-th tensor becomes 0.05 sin(0.37 j + 1.7 k), with a few exceptions."""
    weights = network.state_dict()
    names = [n for n in weights if not n.endswith(("running_mean", "running_var", "tracked"))]
    for k, name in enumerate(names):
        shape = weights[name].shape
        value = 0.05 * np.sin(0.37 * np.arange(shape.numel()) + 1.7 * k).reshape(shape)
        if name.endswith("A_logs"):
            value = np.broadcast_to(np.log(np.arange(1, 17)), shape)
        elif name.endswith("Ds"):
            value = np.ones(shape)
        elif name.endswith("dt_projs_bias"):
            value = value - 4
        elif name.endswith(("norm.weight", "norm2.weight", "conv_branch.1.weight")):
            value = value + 1
        weights[name] = torch.tensor(value, dtype=torch.float32)
    network.load_state_dict(weights)
    return network


@pytest.fixture(scope="module")
def reference(parity) -> dict[str, Tensor]:
    with lzma.open(parity / "cravim_parity.npz.xz") as content, np.load(content) as arrays:
        return {name: torch.from_numpy(np.asarray(arrays[name])) for name in arrays}


def sines(channels: int, height: int, width: int) -> Tensor:
    """(1,C,H,W) the images that the reference networks were given."""
    c, h, w = np.meshgrid(*map(np.arange, (channels, height, width)), indexing="ij")
    return torch.tensor(np.sin(0.05 * h * (c + 1) + 0.11 * w)[None], dtype=torch.float32)


@pytest.fixture(scope="module")
def generator() -> nn.Module:
    return filled(CRAViM()).eval().requires_grad_(False).double()


def worst(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape
    return float((found - expected).abs().max())


# ---- the parts


def test_the_evss_block_and_its_scan_agree_with_the_published_ones(reference):
    block = filled(EVSSBlock(256)).eval()
    x = sines(256, 9, 7).permute(0, 2, 3, 1)
    with torch.no_grad():
        scanned, found = block.op(block.norm(x)), block(x)
    assert worst(scanned[..., ::16], reference["es2d_out_every_16th"]) < 1e-5
    assert worst(found[..., ::16], reference["evss_out_every_16th"]) < 1e-5
    # the sums that belong to all 256 channels
    assert float(scanned.double().abs().sum()) == pytest.approx(4989.893311, rel=1e-6)
    assert float(found.double().abs().sum()) == pytest.approx(11061.014359, rel=1e-6)


def test_the_discriminator_and_its_losses_agree_with_the_published_ones(reference):
    discriminator = filled(MultiScaleDiscriminator())
    x = sines(1, 128, 128)
    with torch.no_grad():
        of_fake, of_real = discriminator(x), discriminator(-x)
    for scale, score in enumerate(of_fake):
        assert worst(score, reference[f"discriminator_out_scale{scale}"]) < 1e-5
    found = losses.discriminator_loss(of_fake, of_real)
    assert float(found) == pytest.approx(float(reference["discriminator_loss_D"]), abs=1e-5)
    found = losses.adversarial_loss(of_fake)
    assert float(found) == pytest.approx(float(reference["discriminator_loss_G"]), abs=1e-5)


@pytest.mark.parametrize(
    ("ours", "name"),
    [("betas", "betas"), ("a", "a"), ("sigma", "sigma"), ("signal", "acum"), ("noise", "scum")],
)
def test_the_schedule_agrees_with_the_published_one(ours, name, reference):
    found = torch.from_numpy(getattr(Schedule(), ours))
    assert worst(found[1:], reference[f"schedule_{name}"][1:].double()) < 1e-6
    # level 0 holds the published floor of 1e-8, which we leave out of the products
    assert worst(found[:1], reference[f"schedule_{name}"][:1].double()) < 2e-4


def test_the_posterior_agrees_with_the_published_one(reference):
    found = [posterior(Schedule(), t + 1, t) for t in range(4)]
    for name, ours in (
        ("c1", [q.of_estimate for q in found]),
        ("c2", [q.of_current for q in found]),
        ("var", [q.std**2 for q in found]),
    ):
        assert worst(torch.tensor(ours), reference[f"posterior_{name}"]) < 1e-6, name


# ---- the whole generator: see the head of this file for the tolerances


def test_the_generator_agrees_with_the_published_one(generator, reference):
    difference = (generator(sines(2, 40, 56).double()) - reference["generator_out_40x56"]).abs()
    assert float(difference.mean()) < 5e-4 and float(difference.max()) < 5e-3


def test_every_step_of_the_sampler_agrees_when_fed_the_published_estimates(generator, reference):
    """Teacher-forced, since the estimate of one step becomes the input of the next."""
    source = reference["sampling_source"][:, 0].double().numpy()
    estimates = reference["sampling_x0_per_step"][:, :, 0].double().numpy()
    noise = torch.stack(
        [reference["sampling_noise_initial"], *reference["sampling_noise_steps_t3_t2_t1"]]
    )[:, :, 0].double().numpy()  # fmt: skip
    differences = []

    def network(images: np.ndarray) -> np.ndarray:
        published = estimates[len(differences)]
        found = generator(torch.from_numpy(images)).numpy()
        differences.append(np.abs(found[:, 1] - published).mean())
        return np.stack([found[:, 0], published], axis=1)

    sampling = Sampling(4, 0.1, 20.0, default_steps=4, default_samples=1)
    result = synthesize(network, source[:, None], noise, sampling)[:, 0, 0]
    assert len(differences) == 4
    assert max(differences) < 2e-3, differences
    assert np.abs(result - estimates[-1]).max() < 1e-6


# ---- one training iteration


def published_iteration(reference: dict[str, Tensor], kind: torch.dtype):
    """The published networks, and the loss terms and synthetic images of their iteration."""
    of_images = filled(MultiScaleDiscriminator()).requires_grad_(False)
    networks = Networks(filled(CRAViM()).train(), filled(CRAViM()).train(), of_images, of_images)
    with torch.no_grad():
        for parameter in networks.b_to_a.parameters():
            parameter.mul_(0.9)
    for network in vars(networks).values():
        network.to(kind)

    def given(name: str) -> Tensor:
        return reference[f"train_{name}"].to(kind)

    def draw(name: str) -> Draw:
        first = given(f"noise_{STARTS[name]}")  # one array serves twice: see the arrays' README
        return Draw(reference[f"train_t_{name}"], first, given(f"{name}_eps_next"))

    noise = IterationNoise(given("noise_a"), given("noise_b"), *(draw(name) for name in STARTS))
    images = given("x_a"), given("x_b")
    return networks, images, generator_pass(networks, *images, noise, OFFICIAL, Schedule())


@pytest.fixture(scope="module")
@torch.no_grad()
def iteration(reference):
    """Loss terms, synthetic images and the discriminators' loss, evaluated in float64."""
    networks, images, (terms, ab, ba) = published_iteration(reference, torch.float64)
    return terms, ab, ba, discriminator_pass(networks, *images, ab, ba)


@pytest.fixture(scope="module")
def gradient_sums(reference) -> dict[str, list[float]]:
    """For each term, sum |gradient| over the A -> B generator and over the B -> A generator."""
    networks, _, (terms, *_) = published_iteration(reference, torch.float32)
    sides = [list(networks.a_to_b.parameters()), list(networks.b_to_a.parameters())]

    def sums(term: Tensor) -> list[float]:
        found = torch.autograd.grad(
            term, [*sides[0], *sides[1]], retain_graph=True, allow_unused=True
        )
        sizes = [0.0 if g is None else float(g.double().abs().sum()) for g in found]
        return [sum(sizes[: len(sides[0])]), sum(sizes[len(sides[0]) :])]

    return {name: sums(getattr(terms, name)) for name in TERMS}


def test_the_synthetic_images_of_the_iteration_agree(iteration, reference):
    for name, found in zip(("ab", "ba"), iteration[1:3], strict=True):
        expected = reference[f"train_x_{name}_every_4th"]
        assert float((found[..., ::4, ::4] - expected).abs().mean()) < 1e-3


@pytest.mark.parametrize("name", TERMS)
def test_each_loss_term_agrees_with_the_published_iteration(name, iteration, reference):
    found = float(getattr(iteration[0], name))
    assert found == pytest.approx(float(reference[f"train_loss_{name}"]), abs=1e-3)


def test_the_total_losses_agree_with_the_published_iteration(iteration, reference):
    terms, _, _, loss_d = iteration
    total = float(terms.total(Weights()))
    assert total == pytest.approx(float(reference["train_loss_total_G"]), rel=1e-3)
    assert float(loss_d) == pytest.approx(float(reference["train_loss_total_D"]), rel=1e-3)


@pytest.mark.parametrize("name", TERMS)
def test_each_term_trains_exactly_the_generators_that_it_trains_in_the_published_code(
    name, gradient_sums, reference
):
    published = reference[f"train_gradsum_A2B_B2A_{name}"].tolist()
    assert [found > 0 for found in gradient_sums[name]] == [sum_ > 0 for sum_ in published]


@pytest.mark.parametrize("name", TERMS)
def test_gradient_sums_have_the_published_size_within_a_factor_of_three(
    name, gradient_sums, reference
):
    """The factor is loose because rounding alone moves these sums by up to two."""
    published = reference[f"train_gradsum_A2B_B2A_{name}"].tolist()
    for found, expected in zip(gradient_sums[name], published, strict=True):
        assert expected / 3 <= found <= expected * 3


# ---- the gradients, at a well-conditioned network


class Case:
    """Small generators at their default start in float64, images, and an iteration's noise."""

    def __init__(self) -> None:
        torch.manual_seed(3)
        sizes = CRAViMConfig(ngf=4, n_blocks=1, n_attentions=3)
        self.networks = Networks(
            CRAViM(sizes).double(),
            CRAViM(sizes).double(),
            MultiScaleDiscriminator(2, scales=1).double(),
            MultiScaleDiscriminator(2, scales=1).double(),
        )
        self.a, self.b = torch.rand(2, 2, 1, 16, 20, dtype=torch.float64) * 2 - 1
        noise = draw_noise(self.a, Schedule(), torch.Generator().manual_seed(5))
        self.noise = IterationNoise(*(as_double(getattr(noise, f.name)) for f in fields(noise)))
        self.parameters = list(self.networks.generator_parameters())
        self.direction = [torch.randn_like(p) for p in self.parameters]
        # unequal, so that no error in one term hides behind another
        self.weights = Weights(1.1, 5.3, 0.7, 14.9, 2.3)

    def loss(self, wiring) -> Tensor:
        terms, *_ = generator_pass(self.networks, self.a, self.b, self.noise, wiring, Schedule())
        return terms.total(self.weights)

    def slope(self, loss: Tensor) -> float:
        """The derivative of ``loss`` along the direction, by autograd."""
        gradients = torch.autograd.grad(loss, self.parameters)
        return sum(float((g * d).sum()) for g, d in zip(gradients, self.direction, strict=True))

    def finite_difference(self, loss, width: float = 1e-8) -> float:
        """(f(w + h d) - f(w - h d)) / 2h of a function of the networks.

        The width is small because |x| and ReLU have kinks, which a wider step would cross.
        """
        values = []
        for sign in (1, -2):
            with torch.no_grad():
                for parameter, d in zip(self.parameters, self.direction, strict=True):
                    parameter.add_(d, alpha=sign * width)
                values.append(float(loss()))
        with torch.no_grad():
            for parameter, d in zip(self.parameters, self.direction, strict=True):
                parameter.add_(d, alpha=width)
        return (values[0] - values[1]) / (2 * width)


def as_double(value: Tensor | Draw) -> Tensor | Draw:
    if isinstance(value, Draw):
        return Draw(value.t, value.eps.double(), value.eps_next.double())
    return value.double()


def test_the_papers_wiring_has_the_gradient_that_finite_differences_find():
    case = Case()
    assert case.slope(case.loss(PAPER)) == pytest.approx(
        case.finite_difference(lambda: case.loss(PAPER)), rel=1e-5
    )


def test_the_official_wiring_has_the_gradient_with_the_detached_images_held_constant():
    """What the published code detaches is computed once, then enters as plain numbers."""
    case, schedule = Case(), Schedule()
    n, w, noise, a, b = case.networks, case.weights, case.noise, case.a, case.b

    def run(network: nn.Module, source: Tensor, noisy: Tensor) -> tuple[Tensor, Tensor]:
        result = network(torch.cat([source, noisy], 1))
        return result[:, :1], result[:, 1:]

    with torch.no_grad():
        fixed_ab = run(n.a_to_b, a, noise.start_a)[1]
        fixed_ba = run(n.b_to_a, b, noise.start_b)[1]
        target_ab = run(n.a_to_b, a, add_noise(fixed_ab, noise.denoise_ab, schedule))[1]
        target_ba = run(n.b_to_a, b, add_noise(fixed_ba, noise.denoise_ba, schedule))[1]

    def loss() -> Tensor:
        carried_a, ab = run(n.a_to_b, a, noise.start_a)
        carried_b, ba = run(n.b_to_a, b, noise.start_b)
        carried_ab, back_a = run(n.b_to_a, fixed_ab, add_noise(a, noise.cycle_a, schedule))
        carried_ba, back_b = run(n.a_to_b, fixed_ba, add_noise(b, noise.cycle_b, schedule))
        return (
            w.lambda_adv * sum((s - 1).pow(2).mean() for s in n.of_a(ba) + n.of_b(ab))
            + w.lambda_rdn * ((ab - target_ab).abs().mean() + (ba - target_ba).abs().mean())
            + w.lambda_trans * ((carried_a - a).abs().mean() + (carried_b - b).abs().mean())
            + w.lambda_trans * ((carried_ab - ab).abs().mean() + (carried_ba - ba).abs().mean())
            + w.lambda_cyc * ((back_a - a).abs().mean() + (back_b - b).abs().mean())
            + w.lambda_paired * ((ab - b).abs().mean() + (ba - a).abs().mean())
        )

    official = case.loss(OFFICIAL)
    assert float(official.detach()) == pytest.approx(float(loss().detach()), rel=1e-12)
    assert case.slope(official) == pytest.approx(case.finite_difference(loss), rel=1e-5)


def test_the_wirings_have_the_same_loss_and_different_gradients():
    case = Case()
    official, paper = case.loss(OFFICIAL), case.loss(PAPER)
    assert float(official.detach()) == pytest.approx(float(paper.detach()), rel=1e-12)
    assert abs(case.slope(official) / case.slope(paper) - 1) > 1e-3
