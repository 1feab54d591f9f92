"""The prepared generator is the trained one: every step alone, and all together, at odd sizes."""

from dataclasses import fields, replace

import pytest
import torch

from MambaSynthLib.methods.cravim.evss import EVSSBlock
from MambaSynthLib.methods.cravim.evss_inference import PreparedEVSS
from MambaSynthLib.methods.cravim.inference import (
    CPU_STEPS,
    GPU_STEPS,
    Steps,
    prepare,
)
from MambaSynthLib.methods.cravim.network import CRAViM, CRAViMConfig
from MambaSynthLib.methods.cravim.winograd import WinogradConv

NO_STEPS = Steps(winograd=False, merge_decoders=False, shifted_head=False)
STEPS = [field.name for field in fields(Steps)]
COMPACT = CRAViMConfig(ngf=16, n_blocks=2)
FULL = CRAViMConfig(n_blocks=2)


def trained(config):
    """A generator with the statistics and scales of a trained one, not of a fresh one."""
    torch.manual_seed(7)
    network = CRAViM(config).eval().requires_grad_(False)
    for name, value in network.named_buffers():
        if name.endswith("running_mean"):
            value.normal_()
        elif name.endswith("running_var"):
            value.uniform_(0.3, 3)
    for name, value in network.named_parameters():
        if name.endswith("bias"):
            value += 0.3 * torch.randn_like(value)
    return network


def slices(height, width, count=1):
    return torch.randn(count, 2, height, width, generator=torch.Generator().manual_seed(3))


def assert_same_function(network, steps, images):
    expected = network.double()(images.double()).float()
    found = prepare(network.float(), steps)(images)
    assert found.shape == (len(images), 1, *images.shape[2:])
    torch.testing.assert_close(found, expected[:, -1:], atol=1e-4, rtol=0)


@pytest.mark.parametrize("step", STEPS)
def test_each_step_alone_keeps_the_function(step):
    assert_same_function(trained(COMPACT), replace(NO_STEPS, **{step: True}), slices(64, 48))


@pytest.mark.parametrize("step", STEPS)
def test_the_function_stays_when_one_step_is_left_out(step):
    steps = replace(Steps(), **{step: False})
    assert_same_function(trained(COMPACT), steps, slices(36, 44))  # features 9 x 11


@pytest.mark.parametrize("steps", [NO_STEPS, CPU_STEPS, GPU_STEPS, Steps()])
@pytest.mark.parametrize("size", [(16, 16), (36, 44), (52, 28)])
def test_the_full_width_agrees_at_odd_feature_sizes(steps, size):
    assert_same_function(trained(FULL), steps, slices(*size))


def test_the_batch_size_changes_no_bit():
    prepared, images = prepare(trained(COMPACT)), slices(40, 36, count=3)
    together = prepared(images)
    assert together.equal(torch.cat([prepared(image) for image in images.split(1)]))


def test_batches_in_one_piece_as_on_a_gpu_agree_too():
    network, images = trained(COMPACT), slices(40, 36, count=3)
    found = prepare(network, GPU_STEPS)._forward(images)
    torch.testing.assert_close(found, network(images)[:, 1:], atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [(4, 4), (9, 7), (16, 12), (1, 5)])
def test_winograd_equals_the_direct_convolution_at_any_size(size):
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(24, 16, 3, 3, generator=draw, dtype=torch.float64) / 12
    x = torch.randn(2, 16, size[0] + 2, size[1] + 2, generator=draw, dtype=torch.float64)
    expected = torch.nn.functional.conv2d(x, weight)
    torch.testing.assert_close(WinogradConv(weight)(x), expected)
    single = WinogradConv(weight.float())(x.float())
    torch.testing.assert_close(single.double(), expected, atol=3e-5, rtol=0)


def test_the_prepared_evss_block_equals_the_trained_one():
    block = trained(COMPACT).VSS1[1]
    x = torch.randn(2, 9, 7, 64, generator=torch.Generator().manual_seed(1))
    assert isinstance(block, EVSSBlock)
    torch.testing.assert_close(PreparedEVSS(block)(x), block(x), atol=1e-5, rtol=0)
