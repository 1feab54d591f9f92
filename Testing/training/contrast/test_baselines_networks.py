"""The baselines' networks: published parameter counts, shapes, and layers against other means."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from MambaSynthTraining.contrast.rivals import fir
from MambaSynthTraining.contrast.rivals.discriminators import (
    PatchGAN,
    TimeDiscriminator,
    deviation_over_batch,
)
from MambaSynthTraining.contrast.rivals.generators import (
    AttentionGenerator,
    ResNetGenerator,
    UNetGenerator,
)
from MambaSynthTraining.contrast.rivals.ncsnpp import NCSNpp, NCSNppConfig
from MambaSynthTraining.contrast.rivals.reggan_registration import RegistrationNetwork
from MambaSynthTraining.contrast.rivals.time_embedding import sinusoids

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
