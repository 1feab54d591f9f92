"""CRAViM's training: losses by hand, noise by algebra, slices and batches."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import nn

from MambaSynthLib.image.intensity import EMPTY
from MambaSynthLib.methods.diffusion import Schedule
from MambaSynthTraining.contrast.cravim import losses
from MambaSynthTraining.contrast.cravim.discriminator import MultiScaleDiscriminator
from MambaSynthTraining.contrast.cravim.losses import Weights
from MambaSynthTraining.contrast.cravim.step import (
    PAPER,
    PLAIN_CYCLE,
    Draw,
    Networks,
    Terms,
    add_noise,
    draw_noise,
    generator_pass,
    paired_pass,
)
from MambaSynthTraining.data.slice_draws import Draws, draw_apart, draw_pairs
from MambaSynthTraining.data.slices import SlicePairs, StoredSlices


def some_slices(count=3, size=(72, 66), seed=0) -> SlicePairs:
    images = np.random.default_rng(seed).uniform(-0.8, 1, (2, count, *size)).astype(np.float32)
    return SlicePairs(list(images[0]), list(images[1]))


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values)


# ---- losses


def test_the_adversarial_loss_adds_the_scales_and_wants_ones():
    found = losses.adversarial_loss([t(1.0, 3.0), t(0.0)])
    assert float(found) == pytest.approx((0 + 4) / 2 + 1)


def test_the_discriminator_loss_wants_zeros_and_ones_without_a_half():
    found = losses.discriminator_loss([t(1.0, 3.0), t(2.0)], [t(1.0, 0.0), t(-1.0)])
    assert float(found) == pytest.approx((1 + 9) / 2 + (0 + 1) / 2 + 4 + 4)


def test_a_different_number_of_scales_is_an_error():
    with pytest.raises(ValueError):
        losses.discriminator_loss([t(1.0)], [t(1.0), t(1.0)])


@pytest.mark.parametrize(
    "loss",
    [losses.random_denoise_loss, losses.transport_loss, losses.cycle_loss, losses.paired_loss],
)
def test_image_losses_are_mean_absolute_differences(loss):
    assert float(loss(t(0.0, 1.0, -1.0), t(0.5, 1.0, 1.0))) == pytest.approx(2.5 / 3)


def test_the_total_weights_each_term_as_equation_5_does():
    values = dict(zip((f.name for f in fields(Terms)), 10.0 ** np.arange(14), strict=True))
    terms = Terms(**{name: torch.tensor(v, dtype=torch.float64) for name, v in values.items()})
    expected = (
        1 * (values["adv_a"] + values["adv_b"])
        + 5 * (values["rdn_ab"] + values["rdn_ba"])
        + values["trans_forward_a"] + values["trans_forward_b"]
        + values["trans_backward_ab"] + values["trans_backward_ba"]
        + 15 * (values["cyc_a"] + values["cyc_b"])
    )  # fmt: skip
    assert float(terms.total(Weights())) == pytest.approx(expected, rel=1e-12)
    paired = 2 * (values["paired_ab"] + values["paired_ba"])
    with_pairs = terms.total(Weights(lambda_paired=2.0))
    assert float(with_pairs) == pytest.approx(expected + paired, rel=1e-12)
    edges = 3 * (values["edge_ab"] + values["edge_ba"])
    with_edges = terms.total(Weights(lambda_edge=3.0))
    assert float(with_edges) == pytest.approx(expected + edges, rel=1e-12)
    assert {name: float(value) for name, value in terms.detached().items()} == values


# ---- the discriminator


def test_the_papers_discriminator_has_its_published_size_and_patches():
    with torch.device("meta"):
        network = MultiScaleDiscriminator()
        scores = network(torch.empty(2, 1, 256, 256))
    assert sum(p.numel() for p in network.parameters()) == 8_265_027
    assert [tuple(s.shape) for s in scores] == [(2, 1, 16, 16), (2, 1, 8, 8), (2, 1, 4, 4)]


def test_coarser_scales_average_without_darkening_the_border():
    network, seen = MultiScaleDiscriminator(2), []
    for part in network.cnns:
        part.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(torch.full((1, 1, 64, 64), 0.7))
    assert [tuple(x.shape[2:]) for x in seen] == [(64, 64), (32, 32), (16, 16)]
    assert all(torch.allclose(x, torch.tensor(0.7)) for x in seen)


# ---- noise


def test_the_noise_of_an_iteration_is_standard_normal_and_uniform_in_the_step():
    like = torch.empty(400, 1, 12, 12)
    noise = draw_noise(like, Schedule(), torch.Generator().manual_seed(0))
    draws = [noise.cycle_a, noise.cycle_b, noise.denoise_ab, noise.denoise_ba]
    images = [noise.start_a, noise.start_b]
    for draw in draws:
        assert torch.bincount(draw.t, minlength=4).min() > 70  # 100 expected of each
        assert draw.t.max() == 3
        images += [draw.eps, draw.eps_next]
    for image in images:
        assert image.shape == like.shape
        assert abs(image.mean()) < 0.02 and abs(image.std() - 1) < 0.02
    correlations = torch.corrcoef(torch.stack([image.flatten() for image in images]))
    assert (correlations - torch.eye(len(images))).abs().max() < 0.03


def test_the_noise_is_a_function_of_the_generators_seed():
    def start(seed: int) -> torch.Tensor:
        like = torch.empty(1, 1, 4, 4)
        return draw_noise(like, Schedule(), torch.Generator().manual_seed(seed)).start_a

    assert torch.equal(start(3), start(3))
    assert not torch.equal(start(3), start(4))


def test_noising_reaches_level_t_plus_one_of_the_closed_form_for_each_sample():
    schedule, steps = Schedule(), torch.tensor([2, 0, 3, 1])
    one, zero = torch.ones(4, 1, 2, 2, dtype=torch.float64), torch.zeros(4, 1, 2, 2).double()
    of_image = add_noise(one, Draw(steps, zero, zero), schedule)[:, 0, 0, 0].numpy()
    of_eps = add_noise(zero, Draw(steps, one, zero), schedule)[:, 0, 0, 0].numpy()
    of_next = add_noise(zero, Draw(steps, zero, one), schedule)[:, 0, 0, 0].numpy()
    level = steps.numpy() + 1
    np.testing.assert_allclose(of_image, schedule.signal[level], rtol=1e-12)
    np.testing.assert_allclose(of_eps**2 + of_next**2, schedule.noise[level] ** 2, rtol=1e-12)
    assert np.all(of_next > 0) and np.all(of_eps[[0, 2, 3]] > 0) and of_eps[1] == 0


# ---- slices and batches


def batch(groups, crop=(64, 64), size=4, seed=0, shares=None):
    shares = shares or [1.0] * len(groups)
    draws = Draws(crop, flip=0.5)
    return draw_pairs(groups, shares, size, draws, np.random.default_rng(seed))[0]


def test_a_batch_is_a_function_of_the_random_generator():
    group = some_slices()
    first, again, other = (batch([group], seed=seed) for seed in (5, 5, 6))
    assert first[0].shape == first[1].shape == (4, 1, 64, 64)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def ramp_group() -> SlicePairs:
    """Every pixel has a value of its own, and the target is the source minus 0.1."""
    ramp = np.linspace(-0.7, 0.9, 80 * 70, dtype=np.float32).reshape(80, 70)
    return SlicePairs([ramp], [ramp - np.float32(0.1)])


def test_crop_and_flip_are_the_same_for_both_images():
    a, b = batch([ramp_group()], size=30)
    torch.testing.assert_close(a - b, torch.full_like(a, 0.1), rtol=0, atol=1e-6)
    flipped = (a[:, 0, 0, 0] > a[:, 0, 0, -1]).tolist()
    assert 5 < sum(flipped) < 25
    assert len({float(image.min()) for image in a}) > 10  # many positions
    rows = a[:, 0, 1, 0] - a[:, 0, 0, 0]
    assert torch.all(rows > 0)  # never upside down


def test_images_smaller_than_the_crop_are_padded_with_background():
    group = some_slices(count=1, size=(40, 50))
    a, b = batch([group], crop=(64, 72))
    for found, (original,) in ((a, group.a), (b, group.b)):
        for image in found[:, 0].numpy():
            assert np.all(image[40:] == EMPTY)
            inside = image[:40][image[:40] != EMPTY]
            np.testing.assert_allclose(np.sort(inside), np.sort(original.ravel()), atol=1e-6)


def test_unpaired_batches_match_slices_of_different_places_and_say_so():
    levels = np.linspace(-0.6, 0.9, 40, dtype=np.float32)
    group = SlicePairs(*2 * ([np.full((64, 64), v) for v in levels],), [str(v) for v in levels])
    rng = np.random.default_rng(0)
    draws = Draws((64, 64))
    (a, b), _ = draw_pairs([group], [1.0], 20, draws, rng)
    assert torch.equal(a, b)
    (a, b), names = draw_apart([group], [group], [1.0], 20, draws, rng)
    assert (a[:, 0, 0, 0] == b[:, 0, 0, 0]).float().mean() < 0.3
    for name, source, target in zip(names, a, b, strict=True):
        found = [float(part) for part in name.split(" with ")]
        assert found == pytest.approx([float(source[0, 0, 0]), float(target[0, 0, 0])])


def test_stored_slices_of_several_people_count_through():
    stacks = [np.full((n, 4, 4), 10 * k) + np.arange(n)[:, None, None] for k, n in ((1, 3), (2, 2))]
    stored = StoredSlices(stacks)
    assert [int(stored[n][0, 0]) for n in range(len(stored))] == [10, 11, 12, 20, 21]
    assert stored[0].dtype == np.float32
    with pytest.raises(IndexError):
        stored[5]
    assert len(StoredSlices([])) == 0


def test_groups_are_drawn_by_their_shares():
    black, white = (SlicePairs([x], [x]) for x in (np.full((64, 64), v) for v in (-0.5, 0.5)))
    a, _ = batch([black, white], size=200, shares=[3, 1])
    assert 0.15 < float((a[:, 0, 0, 0] > 0).float().mean()) < 0.35
    a, _ = batch([black, white], size=50, shares=[0, 1])
    assert torch.all(a > 0)


def test_crops_without_tissue_are_drawn_again():
    image = np.full((64, 640), EMPTY, dtype=np.float32)
    image[:, :128] = 0.5  # a tissue of a fifth of all positions
    group = SlicePairs([image], [image])
    a, _ = batch([group], size=100)
    hits = float((a > 0).any(-1).any(-1).float().mean())
    assert hits > 0.5  # 0.22 without drawing again, 0.77 with five tries


# ---- the paired pass and losses of ours


def test_paired_samples_start_from_pure_noise_or_from_the_noised_target():
    seen = []

    def generator(images):
        seen.append(images)
        return images

    a, b = torch.rand(2, 1, 64, 64), torch.rand(2, 1, 64, 64)
    noise = draw_noise(a, Schedule(), torch.Generator().manual_seed(3))
    paired_pass(generator, a, b, noise, torch.tensor([True, False]), Schedule())
    source, noisy = seen[0].split(1, dim=1)
    assert torch.equal(source, a)
    assert torch.equal(noisy[0], noise.start_a[0])
    assert torch.equal(noisy[1], add_noise(b, noise.denoise_ab, Schedule())[1])


def test_the_structural_loss_is_that_of_an_independent_histogram():
    """Wide uniform bins against scikit-image's NMI: the smooth windows change it little."""
    from skimage.metrics import normalized_mutual_information

    rng = np.random.default_rng(0)
    target = np.repeat(np.repeat(rng.choice([-0.8, -0.2, 0.3, 0.8], (8, 8)), 8, 0), 8, 1)
    found = {}
    for noise in (0.0, 0.15, 0.6):
        image = np.clip(-target + noise * rng.normal(size=target.shape), -1, 1)
        pair = [torch.from_numpy(x).float().view(1, 1, 64, 64) for x in (image, target)]
        loss = float(losses.structural_loss(*pair))
        found[noise] = loss, 2 - normalized_mutual_information(image, target, bins=20)
    assert found[0.0][0] < found[0.15][0] < found[0.6][0]
    assert found[0.6][0] == pytest.approx(found[0.6][1], abs=0.1)


def test_the_structural_loss_has_the_gradient_of_finite_differences():
    generator = torch.Generator().manual_seed(1)
    fake = (torch.rand(1, 1, 5, 4, generator=generator) - 0.5).requires_grad_()
    target = torch.rand(1, 1, 5, 4, generator=generator) - 0.5
    losses.structural_loss(fake, target, bins=6).backward()
    bump = torch.zeros_like(target)
    bump[0, 0, 2, 1] = 1e-2
    with torch.no_grad():
        rise = losses.structural_loss(fake + bump, target, bins=6)
        fall = losses.structural_loss(fake - bump, target, bins=6)
    slope = float((rise - fall) / 2e-2)
    assert float(fake.grad[0, 0, 2, 1]) == pytest.approx(slope, rel=0.02, abs=1e-5)


def test_the_edge_loss_ignores_the_sign_of_edges_and_sees_missing_ones():
    """A square, the same square inverted, a flat image, and the square somewhere else."""
    square = torch.full((1, 1, 32, 32), -0.5)
    square[..., 8:20, 10:24] = 0.6
    assert float(losses.edge_loss(-square, square)) < 0.01
    assert float(losses.edge_loss(torch.zeros_like(square), square)) == pytest.approx(1, abs=1e-6)
    moved = losses.edge_loss(square.roll(3, dims=2), square)
    assert 0.2 < float(moved) < 0.9


def test_the_r1_penalty_is_the_squared_slope_at_acquired_images():
    class Slope(nn.Module):
        def forward(self, image):
            return [3 * image, image.flatten(1).sum(1).view(-1, 1, 1, 1)]

    image = torch.rand(2, 1, 2, 2)  # the first scale's mean has slope 3/4, the second's sum 1
    assert float(losses.r1_penalty(Slope(), image)) == pytest.approx(4 * (3 / 4 + 1) ** 2)


def test_spectral_norm_bounds_the_discriminators_layers():
    torch.manual_seed(0)
    network = MultiScaleDiscriminator(4, spectral_norm=True)
    for _ in range(30):
        network(torch.rand(1, 1, 64, 64))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            assert torch.linalg.matrix_norm(module.weight.flatten(1), 2) < 1.05


def test_the_plain_cycle_sees_nothing_of_the_answer():
    """Its way back gets pure noise where the others get the acquired image, noised."""
    seen: list[torch.Tensor] = []

    def generator(images):
        seen.append(images[:, 1:2])
        return images[:, :2]

    def scores(images):
        return [images]

    schedule, (a, b) = Schedule(), torch.rand(2, 2, 1, 8, 8)
    for wiring, plain in ((PAPER, False), (PLAIN_CYCLE, True)):
        seen.clear()
        networks = Networks(generator, generator, scores, scores)
        noise = draw_noise(a, schedule, torch.Generator().manual_seed(0))
        generator_pass(networks, a, b, noise, wiring, schedule)
        hints = (noise.cycle_a.eps, noise.cycle_b.eps) if plain else (
            add_noise(a, noise.cycle_a, schedule), add_noise(b, noise.cycle_b, schedule)
        )  # fmt: skip
        assert torch.equal(seen[2], hints[0]) and torch.equal(seen[3], hints[1])
