"""The baselines as training methods: who gets gradients, losses by hand, recipes, resuming."""

from __future__ import annotations

import copy

import pytest
import torch
from baseline_twins import FALLING, NCSNPP, TWINS, error, toy_pair, train, twin
from torch import Tensor, nn

from MambaSynthTraining.contrast.rivals.cycle_denoise import Sizes as CycleDenoiseSizes
from MambaSynthTraining.contrast.rivals.pix2pix import Sizes as Pix2PixSizes
from MambaSynthTraining.engine.recomputing import recompute_activations
from MambaSynthTraining.method import TrainingMethod

BASELINES = [name for name in TWINS if not name.startswith("cycle-denoise")]
BIDIRECT = {"options": {"bidirect": True, "misalignment": 0.5}}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def size_of(name: str) -> int:
    """CRAViM's discriminator halves the image six times."""
    return 64 if name.startswith("cycle-denoise") else 32


class Times(nn.Module):
    """A network that multiplies its input, or the last channel of it, by a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, images: Tensor, *_: Tensor) -> Tensor:
        return self.factor * images[:, -1:]


def phases_of(method: TrainingMethod, seed: int = 0) -> dict[str, tuple[Tensor, dict[str, Tensor]]]:
    """Loss and terms of an iteration's phases, without steps between them."""
    found = {}
    for phase in method.iteration(toy_pair(4, 1), seeded(seed)):
        found[phase.optimizer] = phase.loss.detach(), phase.terms
    return found


# ---- gradients


@pytest.mark.parametrize(
    ("name", "changes"),
    [*((name, {}) for name in BASELINES), ("reggan", BIDIRECT)],
)
def test_each_phase_reaches_all_networks_of_its_optimizer(name, changes):
    method = twin(name, **changes)
    steps = []
    for phase in method.iteration(toy_pair(2, 1), seeded()):
        method.networks.zero_grad()
        phase.loss.backward()
        for key in method.groups[phase.optimizer]:
            assert all(p.grad is not None for p in method.networks[key].parameters()), key
            assert any(p.grad.abs().max() > 0 for p in method.networks[key].parameters()), key
        steps.append(phase.optimizer)
    assert sorted(steps) == ["discriminators", "generators"]


@pytest.mark.parametrize("name", sorted({*BASELINES} - {"selfrdb"}))  # NCSN++ has no such blocks
def test_recomputed_activations_give_the_same_gradients(name):
    def gradients(recompute: bool) -> list[Tensor]:
        method, found = twin(name), []
        if recompute:
            assert recompute_activations(method.networks) > 0
        for phase in method.iteration(toy_pair(2, 1), seeded()):
            method.networks.zero_grad()
            phase.loss.backward()
            found += [p.grad.clone() for p in method.networks.parameters() if p.grad is not None]
        return found

    for kept, recomputed in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(recomputed, kept)


@pytest.mark.parametrize("name", TWINS)
def test_the_optimizers_hold_every_parameter_once(name):
    method = twin(name)
    held = [
        parameter
        for optimizer in method.optimizers().values()
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]
    assert len(held) == len({id(p) for p in held})
    assert {id(p) for p in held} == {id(p) for p in method.networks.parameters()}


def test_the_registration_is_trained_by_the_correction_alone_and_not_by_the_adversary():
    method = twin("reggan", weights={"lambda_corr": 0.0, "lambda_smooth": 0.0})
    phase = next(method.iteration(toy_pair(2, 1), seeded()))
    phase.loss.backward()
    gradients = [p.grad for p in method.networks["registration"].parameters()]
    assert all(gradient.abs().max() == 0 for gradient in gradients)


# ---- losses by hand


def test_cyclegans_losses_equal_their_formulas():
    method = twin("cyclegan", options={"pool": 0})
    x, y = toy_pair(4, 1)
    n = method.networks
    n["source_to_target"], n["target_to_source"] = Times(-1.0), Times(0.5)
    n["of_source"], n["of_target"] = Times(1.0), Times(1.0)
    found = phases_of(method)
    loss, terms = found["generators"]
    expected = {
        "adv_target": (-x - 1).square().mean(),
        "adv_source": (0.5 * y - 1).square().mean(),
        "cyc_source": 1.5 * x.abs().mean(),
        "cyc_target": 1.5 * y.abs().mean(),
        "idt_source": 0.5 * x.abs().mean(),
        "idt_target": 2.0 * y.abs().mean(),
    }
    assert {k: float(v) for k, v in terms.items()} == pytest.approx(
        {k: float(v) for k, v in expected.items()}, rel=1e-5
    )
    weights = {"adv": 1.0, "cyc": 10.0, "idt": 5.0}
    assert float(loss) == pytest.approx(
        float(sum(weights[k[:3]] * v for k, v in expected.items())), rel=1e-5
    )
    of_target = x.square().mean() + (y - 1).square().mean()
    of_source = (0.5 * y).square().mean() + (x - 1).square().mean()
    assert float(found["discriminators"][0]) == pytest.approx(
        0.5 * float(of_target + of_source), rel=1e-5
    )


def test_pix2pix_compares_with_the_paired_target_and_shows_the_source_to_the_discriminator():
    method = twin("pix2pix")
    x, y = toy_pair(4, 1)
    seen = []

    class Recording(Times):
        def forward(self, images: Tensor, *_: Tensor) -> Tensor:
            seen.append(images.detach())
            return super().forward(images)

    method.networks["source_to_target"], method.networks["of_pairs"] = Times(-1.0), Recording(1.0)
    loss, terms = phases_of(method)["generators"]
    l1 = (-x - y).abs().mean()
    adv = torch.log1p(torch.exp(x)).mean()  # softplus of minus the score -x
    assert float(terms["l1"]) == pytest.approx(float(l1), rel=1e-5)
    assert float(loss) == pytest.approx(float(adv + 100 * l1), rel=1e-5)
    for images, of_target in zip(seen, (-x, y, -x), strict=True):
        assert torch.equal(images, torch.cat([x, of_target], dim=1))


def test_without_displacement_reggan_compares_with_the_paired_target():
    method = twin("reggan", options={"misalignment": 0.0})
    x, y = toy_pair(4, 1)
    method.networks["source_to_target"] = Times(-1.0)
    nn.init.zeros_(method.networks["registration"].flow.weight)
    terms = phases_of(method)["generators"][1]
    assert float(terms["corr"]) == pytest.approx(float((-x - y).abs().mean()), rel=1e-4)
    assert float(terms["smooth"]) == 0


def test_reggan_trains_on_pairs_that_it_misaligns_differently():
    method = twin("reggan")
    seen = []

    class Recording(nn.Module):
        def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
            seen.append((moving.detach(), fixed))
            return torch.zeros(len(moving), 2, *moving.shape[2:])

    method.networks["source_to_target"], method.networks["registration"] = Times(1.0), Recording()
    x, _ = toy_pair(2, 1)
    next(method.iteration((x, x), seeded()))
    (moving, fixed) = seen[0]
    assert 0.001 < (moving - x).abs().mean() < 0.2
    assert (moving - fixed).abs().mean() > 0.001


def test_syndiffs_generator_sees_the_translated_guide_and_the_noised_image():
    method = twin("syndiff")
    x, y = toy_pair(4, 1)
    seen = {}

    class Recording(Times):
        def forward(self, images: Tensor, *rest: Tensor) -> Tensor:
            seen[len(seen)] = (images.detach(), *rest)
            return super().forward(images)

    n = method.networks
    n["to_target"], n["to_source"] = Recording(0.0), Times(0.0)
    n["translate_to_source"], n["translate_to_target"] = Times(-0.5), Times(0.25)
    _, terms = phases_of(method)["generators"]
    assert float(terms["diffusive_target"]) == pytest.approx(float(y.abs().mean()), rel=1e-5)
    assert float(terms["cyc_target"]) == pytest.approx(1.125 * float(y.abs().mean()), rel=1e-5)
    images, t, z = seen[1]  # 0 is of the discriminators' phase
    assert torch.equal(images[:, :1], -0.5 * y)
    assert ((t >= 0) & (t < 4)).all() and z.shape == (4, NCSNPP["latent"])


@pytest.mark.parametrize(("every", "penalized"), [(0, False), (1, True)])
def test_syndiffs_lazy_penalty_falls_as_often_as_asked(every, penalized):
    method = twin("syndiff", options={"r1_every": every})
    terms = phases_of(method)["discriminators"][1]
    assert (terms["r1_source"] > 0) == (terms["r1_target"] > 0) == penalized


def test_syndiffs_sampler_ends_with_the_networks_last_estimate():
    method = twin("syndiff")
    x, _ = toy_pair(2, 1)
    steps = []

    class Knowing(nn.Module):
        def forward(self, images: Tensor, t: Tensor, z: Tensor) -> Tensor:
            steps.append(int(t[0]))
            return images[:, :1] + t.view(-1, 1, 1, 1)

    method.networks["to_target"] = Knowing()
    assert torch.equal(method.synthesize(x, seeded()), x)
    assert steps == [3, 2, 1, 0]


# ---- randomness and state


@pytest.mark.parametrize("name", TWINS)
def test_an_iteration_is_a_function_of_its_generator_alone(name):
    images = toy_pair(2, 1, size_of(name))

    def losses(global_seed: int) -> list[float]:
        method = twin(name)
        torch.manual_seed(global_seed)
        return [float(phase.loss.detach()) for phase in method.iteration(images, seeded(4))]

    assert losses(1) == losses(2)


def test_a_restored_cyclegan_goes_on_bit_equal_with_its_pools():
    pairs = toy_pair(8, 1)
    method = twin("cyclegan", options={"pool": 3})
    train(method, pairs, 3, batch=2)
    stored = copy.deepcopy(method.networks.state_dict())
    assert stored["pool_of_target.images"].shape == (3, 1, 32, 32)
    other = twin("cyclegan", options={"pool": 3})
    other.networks.load_state_dict(stored)
    for each in (method, other):  # fresh optimizers in both
        train(each, pairs, 2, batch=2)
    left, right = method.networks.state_dict(), other.networks.state_dict()
    assert all(torch.equal(left[key], right[key]) for key in left)


# ---- recipes


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("cyclegan", {"network": {"widht": 8}}, "widht"),
        ("cyclegan", {"weights": {"lambda_cycl": 8.0}}, "lambda_cycl"),
        ("attentiongan", {"options": {"pols": 3}}, "pols"),
        ("reggan", {"options": {"bidirect": "yes"}}, "bidirect"),
        ("pix2pix", {"options": {"pool": 3}}, "pool"),
        ("pix2pix", {"network": {"generator": "resnext"}}, "'resnext' is none of unet, resnet"),
        ("cycle-denoise", {"network": {"generator": "unet"}}, "'unet' is none of resnet"),
        ("cycle-denoise", {"network": {}}, "lacks generator"),
        ("syndiff", {"network": {"diffusive": {"width": 6}}}, "width 6"),
    ],
)
def test_a_wrong_value_is_named(name, changes, told):
    with pytest.raises(ValueError, match=told):
        twin(name, **changes)


@pytest.mark.parametrize("name", BASELINES)
def test_the_papers_preset_states_the_rate_of_every_optimizer(name):
    method = type(twin(name))
    rates = method.presets["paper"]["optimization"]["learning_rates"]
    assert set(rates) == {"generators", "discriminators"}


def test_pix2pix_and_cycle_denoise_choose_their_generator_by_name():
    small = dict(width=4, blocks=1)
    names = {
        type(sizes.new_generator()).__name__
        for sizes in (
            Pix2PixSizes("resnet", **small),
            Pix2PixSizes("unet", width=4, levels=3),
            CycleDenoiseSizes("attention", **small),
        )
    }
    assert names == {"ResNetGenerator", "UNetGenerator", "AttentionGenerator"}


# ---- training: representatives of the few hundred iterations in test_baselines_phantom.py


@pytest.mark.parametrize("name", BASELINES)
def test_a_few_dozen_iterations_bring_the_synthetic_image_nearer_to_the_acquired_one(name):
    method, pairs, others = twin(name), toy_pair(12, 1), toy_pair(8, 2)
    before = error(method, others)
    history = train(method, pairs, 20, batch=2)
    assert error(method, others) < 0.75 * before
    for term in FALLING[name]:
        first, last = (sum(row[term] for row in rows) for rows in (history[:4], history[-4:]))
        assert last < 0.75 * first, term


def test_cycle_denoise_training_with_a_plain_generator_lowers_its_cycle_losses():
    history = train(twin("cycle-denoise-resnet"), toy_pair(12, 1, 64), 20, batch=2)
    for term in ("cyc_a", "cyc_b", "rdn_ab", "rdn_ba"):
        first, last = (sum(row[term] for row in rows) for rows in (history[:4], history[-4:]))
        assert last < 0.75 * first, term
