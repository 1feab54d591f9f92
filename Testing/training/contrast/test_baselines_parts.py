"""What the baselines are made of besides networks: losses, registration, diffusion steps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.networks.schedulers import DDPMScheduler
from monai.networks.schedulers.scheduler import NoiseSchedules
from scipy import ndimage

from MambaSynthLib.methods.diffusion import Schedule
from MambaSynthTraining.contrast.rivals.adversarial import (
    least_squares_discriminator,
    least_squares_generator,
    non_saturating_discriminator,
    non_saturating_generator,
    r1_penalty,
)
from MambaSynthTraining.contrast.rivals.diffusion_steps import denoised, noised_pair
from MambaSynthTraining.contrast.rivals.reggan_registration import (
    RegistrationNetwork,
    misaligned,
    smoothness_loss,
    warp,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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
