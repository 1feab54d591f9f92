"""The baselines' networks: published parameter counts, shapes, and layers against other means."""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.networks.schedulers import DDPMScheduler
from monai.networks.schedulers.scheduler import NoiseSchedules
from scipy import ndimage
from torch import nn

from MambaSynthLib.diffusion import Schedule
from training.baselines import fir, image_pool
from training.baselines.adversarial import (
    frozen,
    least_squares_discriminator,
    least_squares_generator,
    non_saturating_discriminator,
    non_saturating_generator,
    r1_penalty,
)
from training.baselines.diffusion_steps import denoised, noised_pair
from training.baselines.discriminators import PatchGAN, TimeDiscriminator, deviation_over_batch
from training.baselines.generators import AttentionGenerator, ResNetGenerator, UNetGenerator
from training.baselines.image_pool import ImagePool
from training.baselines.ncsnpp import NCSNpp, NCSNppConfig
from training.baselines.registration import RegistrationNetwork, misaligned, smoothness_loss, warp
from training.baselines.time_embedding import sinusoids

SMALL = NCSNppConfig(
    width=8, multipliers=(1, 2), blocks=1, attention_levels=(1,), latent=4, style=8
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (lambda: ResNetGenerator(), 11_365_633),
        (lambda: ResNetGenerator(2, 2), 11_371_906),  # "11.372 M (2 ch)"
        (lambda: ResNetGenerator(blocks=6), 7_825_153),  # "7.83 M"
        (lambda: AttentionGenerator(), 11_760_211),  # "11.76 M computed for 1 channel"
        (lambda: AttentionGenerator(3), 11_822_949),
        (lambda: PatchGAN(), 2_762_689),
        (lambda: RegistrationNetwork(), 2_058_018),
        (lambda: NCSNpp(), 39_725_250),  # "39.73 M"
        (lambda: NCSNpp(NCSNppConfig(latent=64, style=64)), 33_595_842),
        (lambda: TimeDiscriminator(), 27_736_705),  # "27.7 M"
    ],
)
def test_networks_of_full_size_have_the_published_number_of_parameters(new, expected):
    with torch.device("meta"):
        network = new()
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


def test_the_u_net_has_the_54_million_parameters_that_its_layers_sum_up_to():
    """No count is given for one channel; 3 channels are widely quoted as 54.4 M."""
    with torch.device("meta"):
        network = UNetGenerator(3, 3)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert round(count / 1e6, 1) == 54.4


@pytest.mark.parametrize(
    "network",
    [ResNetGenerator(1, 1, 4, 1), AttentionGenerator(1, 4, 1, 3), UNetGenerator(1, 1, 4, 4)],
)
@pytest.mark.parametrize("size", [(32, 32), (36, 44)])
def test_generators_keep_the_size_of_the_image(network, size):
    images = torch.rand(2, 1, *size)
    assert network(images).shape == images.shape


def test_the_attention_generator_returns_its_input_where_only_the_background_attends():
    network = AttentionGenerator(1, 4, 1, 3)
    with torch.no_grad():
        network.attention[-1].bias.copy_(torch.tensor([0.0, 0.0, 60.0]))
    images = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(network(images), images)


def test_the_patch_discriminator_looks_at_patches_of_70_pixels():
    network = PatchGAN(1, 2)
    images = torch.zeros(1, 1, 256, 256, requires_grad=True)
    hidden = images
    for layer in network.layers.children():  # norms would make every score see every pixel
        hidden = layer.conv(hidden)
    assert hidden.shape == network(images).shape == (1, 1, 30, 30)
    hidden[0, 0, 15, 15].backward()
    rows = images.grad[0, 0].abs().sum(1).nonzero()
    assert rows.max() - rows.min() + 1 == 70


def test_the_pooled_patch_discriminator_gives_the_mean_of_the_patches():
    pooled, patches = PatchGAN(1, 2, pooled=True), PatchGAN(1, 2)
    patches.load_state_dict(pooled.state_dict())
    images = torch.rand(3, 1, 64, 64)
    expected = patches(images).mean((1, 2, 3))
    torch.testing.assert_close(pooled(images).flatten(), expected)


def test_ncsnpp_estimates_one_image_for_each_and_of_any_size():
    network = NCSNpp(SMALL)
    found = network(torch.rand(3, 2, 30, 33), torch.tensor([0, 3, 1]), torch.randn(3, 4))
    assert found.shape == (3, 1, 30, 33)


def test_ncsnpp_knows_the_step_and_the_latent_but_not_the_latents_length():
    torch.manual_seed(0)
    network = NCSNpp(SMALL)
    for parameter in network.parameters():  # the last layers of all branches start at zero
        nn.init.normal_(parameter, 0.0, 0.2)
    image, z = torch.rand(1, 2, 16, 16), torch.randn(1, 4)
    first = network(image, torch.tensor([0]), z)
    assert (network(image, torch.tensor([2]), z) - first).abs().max() > 1e-4
    assert (network(image, torch.tensor([0]), -z) - first).abs().max() > 1e-4
    torch.testing.assert_close(network(image, torch.tensor([0]), 3 * z), first)


def test_every_parameter_of_ncsnpp_but_the_unused_channel_is_trained():
    torch.manual_seed(0)
    network = NCSNpp(SMALL)
    nn.init.normal_(network.last.weight)
    network(torch.rand(2, 2, 16, 16), torch.tensor([0, 3]), torch.randn(2, 4)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())
    assert network.last.weight.grad[0].abs().max() > 0
    assert network.last.weight.grad[1].abs().max() == 0


def test_a_width_that_ncsnpp_cannot_have_is_told():
    with pytest.raises(ValueError, match="width 6 of NCSN"):
        NCSNppConfig(width=6)


def test_the_time_discriminator_depends_on_each_of_its_arguments():
    torch.manual_seed(0)
    network = TimeDiscriminator(4, 2, 16)
    first, second, t = torch.rand(4, 1, 16, 16), torch.rand(4, 1, 16, 16), torch.tensor([0] * 4)
    scores = network(first, second, t)
    assert scores.shape == (4, 1)
    for other in ((second, second, t), (first, first, t), (first, second, t + 2)):
        assert (network(*other) - scores).abs().max() > 1e-5


def test_the_deviation_channel_is_taken_over_groups_of_the_batch():
    x = torch.randn(8, 3, 5, 6, generator=seeded())
    groups = [x[0::2], x[1::2]]  # 8 samples make two groups of 4, in turn
    expected = [float(group.numpy().std(axis=0).mean()) for group in groups] * 4
    found = deviation_over_batch(x)
    assert found.shape == (8, 1, 5, 6)
    np.testing.assert_allclose(found[:, 0, 2, 2], expected, rtol=1e-5)


def test_a_single_image_has_no_deviation_and_a_finite_gradient():
    x = torch.randn(1, 3, 4, 4, requires_grad=True)
    deviation_over_batch(x).sum().backward()
    assert deviation_over_batch(x).abs().max() < 1e-3
    assert torch.isfinite(x.grad).all()


def test_fir_resampling_is_the_filter_and_every_second_pixel():
    x = torch.randn(2, 3, 10, 12, dtype=torch.float64, generator=seeded())
    line = np.array([1, 3, 3, 1]) / 8
    smooth = x.numpy()
    for axis in (2, 3):  # scipy centers 4 taps so that the result at n sees n-2 .. n+1
        smooth = ndimage.correlate1d(smooth, line, axis, mode="constant")
    np.testing.assert_allclose(fir.halve(x)[:, :, :, :], smooth[:, :, 1::2, 1::2], atol=1e-12)
    adjoint = (fir.double(fir.halve(x)) * x).sum()  # doubling is 4 times the transpose of halving
    assert float(adjoint) == pytest.approx(4 * float(fir.halve(x).square().sum()))
    constant = fir.double(torch.ones(1, 1, 8, 8))[..., 2:-2, 2:-2]
    torch.testing.assert_close(constant, torch.ones_like(constant))
    assert fir.smooth_for_halving_conv(x).shape == (2, 3, 11, 13)


def test_sinusoids_start_at_sine_zero_and_cosine_one_and_separate_the_steps():
    found = sinusoids(torch.arange(4), 8)
    assert torch.equal(found[0], torch.tensor([0.0] * 4 + [1.0] * 4))
    assert found[1, 0] == pytest.approx(math.sin(1))
    assert found[3, 3] == pytest.approx(math.sin(3 / 10_000), rel=1e-4)


# ---- losses


def test_adversarial_losses_equal_their_formulas():
    fake, real = torch.tensor([0.5, -1.0]), torch.tensor([2.0, 0.0])
    assert least_squares_generator(fake) == pytest.approx((0.25 + 4) / 2)
    assert least_squares_discriminator(fake, real) == pytest.approx((0.25 + 1) / 2 + 1)
    cross_entropy = F.binary_cross_entropy_with_logits
    assert non_saturating_generator(fake) == pytest.approx(
        float(cross_entropy(fake, torch.ones(2)))
    )
    expected = cross_entropy(fake, torch.zeros(2)) + cross_entropy(real, torch.ones(2))
    assert non_saturating_discriminator(fake, real) == pytest.approx(float(expected))


def test_r1_is_half_the_squared_gradient_of_the_score():
    real = torch.randn(3, 1, 4, 4, generator=seeded(), requires_grad=True)
    score = (real**3).sum((1, 2, 3))
    expected = 0.5 * 2.0 * (3 * real.detach() ** 2).square().sum((1, 2, 3)).mean()
    torch.testing.assert_close(r1_penalty(score, real, gamma=2.0).detach(), expected)


def test_a_frozen_network_passes_gradients_on_without_keeping_any():
    layer, x = nn.Linear(3, 1), torch.ones(2, 3, requires_grad=True)
    with frozen(layer):
        loss = layer(x).sum()
    assert all(parameter.requires_grad for parameter in layer.parameters())
    loss.backward()
    assert layer.weight.grad is None
    torch.testing.assert_close(x.grad, layer.weight.detach().expand(2, 3))


# ---- pool


def test_a_pool_hands_on_what_it_is_given_until_it_is_full():
    pool = ImagePool(4)
    images = torch.arange(4.0).view(4, 1, 1, 1)
    assert torch.equal(pool.exchange(images, seeded()), images)


def test_a_full_pool_returns_new_images_and_earlier_ones_about_equally_often():
    pool, generator = ImagePool(20), seeded(5)
    pool.exchange(torch.full((20, 1, 2, 2), -1.0), generator)
    found = torch.cat(
        [pool.exchange(torch.full((1, 1, 2, 2), float(n)), generator) for n in range(400)]
    )[:, 0, 0, 0]
    is_new = found == torch.arange(400)
    assert 160 < int(is_new.sum()) < 240
    earlier = found[~is_new]
    assert (earlier < torch.arange(400)[~is_new]).all()
    assert len(earlier[earlier >= 0].unique()) == len(earlier[earlier >= 0])  # each left but once


def test_a_pool_of_none_returns_the_new_images():
    images = torch.rand(3, 1, 2, 2, requires_grad=True)
    found = ImagePool(0).exchange(images, seeded())
    assert torch.equal(found, images) and not found.requires_grad


def test_a_pool_restored_from_a_checkpoint_goes_on_bit_equal():
    original, generator = ImagePool(6), seeded(1)
    original.exchange(torch.rand(9, 1, 4, 4, generator=generator), generator)
    restored = ImagePool(6)
    restored.load_state_dict(original.state_dict())
    new = torch.rand(12, 1, 4, 4, generator=generator)
    assert torch.equal(original.exchange(new, seeded(2)), restored.exchange(new, seeded(2)))
    assert torch.equal(original.images, restored.images)


def test_two_processes_share_one_pool_as_one_process_with_both_batches(monkeypatch):
    rank, parts, barrier = threading.local(), {}, threading.Barrier(2)

    def all_gather(found, own):
        parts[rank.number] = own
        barrier.wait()
        for n, each in enumerate(found):
            each.copy_(parts[n])
        barrier.wait()

    monkeypatch.setattr(image_pool.dist, "is_initialized", lambda: hasattr(rank, "number"))
    monkeypatch.setattr(image_pool.dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(image_pool.dist, "get_rank", lambda: rank.number)
    monkeypatch.setattr(image_pool.dist, "all_gather", all_gather)
    images = torch.rand(20, 2, 3, 1, 4, 4, generator=seeded())  # iterations, processes, batch

    def process(number: int) -> tuple[list[torch.Tensor], ImagePool]:
        rank.number = number
        pool = ImagePool(8)
        return [pool.exchange(images[n, number], seeded(2 * n + number)) for n in range(20)], pool

    with ThreadPoolExecutor(2) as threads:
        (first, pool0), (second, pool1) = threads.map(process, range(2))
    alone = ImagePool(8)
    for n in range(20):
        assert torch.equal(alone.exchange(images[n, 0], seeded(2 * n)), first[n])
        assert torch.equal(alone.exchange(images[n, 1], seeded(2 * n + 1)), second[n])
    assert torch.equal(pool0.images, pool1.images) and torch.equal(alone.images, pool0.images)


def test_images_of_another_size_start_the_pool_anew():
    pool = ImagePool(3)
    pool.exchange(torch.rand(3, 1, 4, 4), seeded())
    assert pool.exchange(torch.rand(2, 1, 8, 8), seeded()).shape == (2, 1, 8, 8)
    assert pool.images.shape == (2, 1, 8, 8)


# ---- registration


def test_a_warp_draws_the_moving_image_at_the_displaced_pixel():
    moving = torch.rand(2, 1, 12, 15, generator=seeded())
    flow = torch.zeros(2, 2, 12, 15)
    flow[:, 0], flow[:, 1] = 2, -3  # two rows on, three columns back
    expected = moving[:, :, 2:, :12]
    torch.testing.assert_close(warp(moving, flow)[:, :, :10, 3:], expected, atol=2e-6, rtol=0)


def test_a_warp_by_less_than_a_pixel_agrees_with_another_library():
    moving = torch.rand(1, 1, 20, 20, generator=seeded(), dtype=torch.float32)
    flow = 0.8 * torch.randn(1, 2, 20, 20, generator=seeded(1))
    where = np.mgrid[:20, :20] + flow[0].numpy()
    expected = ndimage.map_coordinates(moving[0, 0].numpy(), where, order=1, mode="nearest")
    np.testing.assert_allclose(warp(moving, flow)[0, 0], expected, atol=1e-5)


def test_smoothness_is_the_mean_square_of_the_slopes():
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(8.0), indexing="ij")
    flow = torch.stack([0.5 * rows, 2 * columns])[None]
    assert smoothness_loss(flow) == pytest.approx((0.25 + 0) / 2 + (0 + 4) / 2)


def test_misalignment_is_random_small_and_that_of_an_affine_map():
    size = 128
    rows, columns = torch.meshgrid(*[torch.linspace(-1, 1, size)] * 2, indexing="ij")
    both = torch.stack([rows, columns])[:, None].repeat(30, 1, 1, 1)
    flags = misaligned(both, 1.0, seeded())
    moved = (flags - both)[:, :, 8:-8, 8:-8]
    assert 0.02 < float(moved.abs().max()) < 0.04 + 0.02 + math.radians(1) + 0.001
    bend = moved.diff(dim=2).diff(dim=2).abs().max()
    assert float(bend) < 1e-4  # linear coordinates stay linear
    assert misaligned(both, 0.0, seeded()) is both


def test_the_registration_recovers_a_known_shift():
    torch.manual_seed(1)
    network = RegistrationNetwork((8, 16, 16), bottleneck_blocks=1)
    adam = torch.optim.Adam(network.parameters(), 2e-3)
    blobs = F.interpolate(
        torch.rand(8, 1, 6, 6, generator=seeded(2)), size=(36, 36), mode="bicubic"
    )
    moving, fixed = blobs[:, :, 2:34, 2:34], blobs[:, :, 4:36, 1:33]  # +2 rows, -1 column
    assert network(moving, fixed).abs().max() < 1e-2
    before = F.l1_loss(moving, fixed)
    for _ in range(60):
        flow = network(moving, fixed)
        loss = F.l1_loss(warp(moving, flow), fixed) + 0.05 * smoothness_loss(flow)
        adam.zero_grad()
        loss.backward()
        adam.step()
    shift = flow[:, :, 4:-4, 4:-4].mean((0, 2, 3))
    assert F.l1_loss(warp(moving, flow), fixed) < 0.4 * before
    np.testing.assert_allclose(shift.detach(), [2, -1], atol=0.5)


# ---- diffusion


def ddpm(schedule: Schedule) -> DDPMScheduler:
    """MONAI's sampler on our betas."""
    if "vp4" not in NoiseSchedules:
        betas = torch.tensor(schedule.betas[1:])
        NoiseSchedules.add("vp4", "the VP-SDE of the tests", lambda num_train_timesteps: betas)
    return DDPMScheduler(
        schedule.steps, "vp4", prediction_type="sample", clip_sample=False,
        variance_type="fixed_small",
    )  # fmt: skip


@pytest.mark.parametrize("level", range(4))
def test_a_step_down_equals_monais_ddpm(level):
    schedule = Schedule()
    estimate, noisy = torch.randn(2, 3, 1, 5, 5, generator=seeded(), dtype=torch.float64)
    expected, _ = ddpm(schedule).step(estimate, level, noisy, generator=seeded(7))
    eps = torch.randn(estimate.shape, generator=seeded(7), dtype=torch.float64)
    found = denoised(estimate, noisy, torch.full((3,), level), eps, schedule)
    torch.testing.assert_close(found, expected.to(found.dtype), atol=1e-6, rtol=1e-6)


def test_each_sample_goes_down_by_its_own_step():
    estimate, noisy, eps = torch.randn(3, 4, 1, 2, 2, generator=seeded())
    t = torch.tensor([3, 0, 2, 1])
    together = denoised(estimate, noisy, t, eps, Schedule())
    for n in range(4):
        alone = denoised(estimate[n : n + 1], noisy[n : n + 1], t[n : n + 1], eps[n], Schedule())
        torch.testing.assert_close(together[n : n + 1], alone)
    assert torch.equal(together[1], estimate[1])  # the last step draws nothing


def test_noised_pairs_have_the_moments_of_the_schedule():
    schedule, count = Schedule(), 200_000
    clean = torch.full((count, 1, 1, 1), 0.7, dtype=torch.float64)
    for level in range(4):
        eps, eps_next = torch.randn(2, *clean.shape, generator=seeded(level), dtype=torch.float64)
        t = torch.full((count,), level)
        at_t, noisy = noised_pair(clean, t, eps, eps_next, schedule)
        for image, index in ((at_t, level), (noisy, level + 1)):
            assert float(image.mean()) == pytest.approx(0.7 * schedule.signal[index], abs=0.01)
            assert float(image.std()) == pytest.approx(schedule.noise[index], abs=0.01)
        kept = np.cov(at_t.flatten(), noisy.flatten())[0, 1]
        expected = schedule.a[level + 1] * schedule.noise[level] ** 2
        assert kept == pytest.approx(expected, abs=0.01)
