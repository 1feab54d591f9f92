"""The order in which the EVSS block reads an image, and the parts around its scan."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from MambaSynthLib.methods.cravim import evss
from MambaSynthLib.methods.cravim.evss import ES2D, ChannelGate, EVSSBlock, merge, skip_sample

SIZES = [(1, 1), (1, 4), (2, 2), (3, 5), (4, 4), (4, 7), (9, 7), (10, 3)]


def ramp(rows: int, columns: int, first: int = 0) -> torch.Tensor:
    """(1,rows,columns,1) first, first + 1, ... row by row."""
    return torch.arange(first, first + rows * columns).view(1, rows, columns, 1).float()


def orders(image: torch.Tensor) -> list[list[int]]:
    return skip_sample(image)[0, :, :, 0].int().tolist()


def test_a_4x4_ramp_is_read_in_the_published_order():
    assert orders(ramp(4, 4)) == [[0, 2, 8, 10], [4, 12, 6, 14], [1, 3, 9, 11], [5, 13, 7, 15]]


def test_a_3x5_ramp_is_padded_with_zeros_at_the_bottom_and_right():
    assert orders(ramp(3, 5, first=1)) == [
        [1, 3, 5, 11, 13, 15],
        [6, 0, 8, 0, 10, 0],
        [2, 4, 0, 12, 14, 0],
        [7, 0, 9, 0, 0, 0],
    ]


@pytest.mark.parametrize("size", SIZES)
def test_every_pixel_is_visited_exactly_once(size):
    visited = [value for order in orders(ramp(*size, first=1)) for value in order if value]
    assert sorted(visited) == list(range(1, 1 + size[0] * size[1]))


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 12), columns=st.integers(1, 12))
def test_merging_undoes_the_sampling(rows, columns):
    image = torch.from_numpy(np.random.default_rng(0).standard_normal((2, rows, columns, 3)))
    sequences = skip_sample(image)
    assert sequences.shape == (2, 4, math.ceil(rows / 2) * math.ceil(columns / 2), 3)
    assert torch.equal(merge(sequences, rows, columns), image)


def test_gradients_flow_through_sampling_and_merging():
    image = ramp(5, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: merge(skip_sample(x) * 2, 5, 4), image)


@pytest.mark.parametrize("size", [(4, 4), (5, 3), (1, 2)])
def test_a_block_keeps_the_shape_of_even_and_odd_images(size):
    block = EVSSBlock(16).eval()
    x = torch.randn(2, *size, 16)
    y = block(x)
    assert y.shape == x.shape
    assert torch.isfinite(y).all()


def test_images_of_a_batch_do_not_influence_each_other_when_evaluating():
    block = EVSSBlock(16).eval()
    x = torch.randn(3, 4, 6, 16, generator=torch.Generator().manual_seed(0))
    together = block(x)
    alone = torch.cat([block(one) for one in x.split(1)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_one_gate_serves_both_branches():
    block, seen = EVSSBlock(16), []
    block.se.register_forward_hook(lambda *_: seen.append(1))
    block(torch.randn(1, 4, 4, 16))
    assert len(seen) == 2


def test_the_gate_scales_whole_channels_by_a_number_between_zero_and_one():
    t = torch.randn(2, 5, 6, 16)
    factor = ChannelGate(16)(t) / t
    assert torch.all((factor > 0) & (factor < 1))
    torch.testing.assert_close(factor, factor[:, :1, :1].expand_as(factor), rtol=1e-4, atol=1e-5)


def test_initial_step_sizes_lie_between_a_thousandth_and_a_tenth():
    steps = torch.nn.functional.softplus(ES2D(32).dt_projs_bias)
    assert 0.99e-3 < steps.min() < 2e-3 and 0.07 < steps.max() < 0.101
    assert abs(steps.log10().mean() + 2) < 0.1  # log-uniform: the mean of log10 lies at -2


def test_initial_decay_rates_are_one_to_sixteen():
    scan = ES2D(16)
    assert torch.allclose(torch.exp(scan.A_logs), torch.arange(1.0, 17).expand(4 * 32, 16))
    assert torch.equal(scan.Ds, torch.ones(4 * 32))


def test_autocast_scans_in_float32_and_returns_the_networks_type(monkeypatch):
    seen = []

    def spy(*arguments):
        seen.extend(x.dtype for x in arguments)
        return original(*arguments)

    original = evss.selective_scan
    monkeypatch.setattr(evss, "selective_scan", spy)
    scan = ES2D(16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = scan(torch.randn(1, 4, 4, 16))
    assert seen and set(seen) == {torch.float32}
    assert y.dtype == torch.bfloat16
