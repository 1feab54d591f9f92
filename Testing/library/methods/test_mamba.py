"""The Mamba layer against the formulas written out, token by token, and its memory."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from MambaSynthLib.methods.mstg.mamba import Mamba


def by_the_formulas(layer: Mamba, tokens: np.ndarray) -> np.ndarray:
    """(L,C) -> (L,C) in float64 NumPy loops, one channel and one state at a time."""
    w = {name: value.detach().double().numpy() for name, value in layer.state_dict().items()}
    inner = len(w["D"])

    def silu(x):
        return x / (1 + np.exp(-x))

    projected = tokens @ w["in_proj.weight"].T
    x, z = projected[:, :inner], projected[:, inner:]
    near = np.zeros_like(x)
    for token in range(len(x)):
        for lag in range(4):  # weight 3 meets the token itself, weight 0 the one 3 before
            if token - lag >= 0:
                near[token] += w["conv1d.weight"][:, 0, 3 - lag] * x[token - lag]
    x = silu(near + w["conv1d.bias"])
    parameters = x @ w["x_proj.weight"].T
    rank = parameters.shape[1] - 32
    delta = np.log1p(np.exp(parameters[:, :rank] @ w["dt_proj.weight"].T + w["dt_proj.bias"]))
    B, C = parameters[:, rank : rank + 16], parameters[:, rank + 16 :]
    y = np.zeros_like(x)
    for channel in range(inner):
        h = np.zeros(16)
        for token in range(len(x)):
            decay = np.exp(delta[token, channel] * -np.exp(w["A_log"][channel]))
            h = decay * h + delta[token, channel] * B[token] * x[token, channel]
            y[token, channel] = C[token] @ h + w["D"][channel] * x[token, channel]
    return (y * silu(z)) @ w["out_proj.weight"].T


def layer_and_tokens(channels: int, length: int, both_ways: bool = False):
    torch.manual_seed(channels)
    layer = Mamba(channels, both_ways)
    with torch.no_grad():
        layer.D.normal_()
        layer.A_log.add_(0.3 * torch.randn_like(layer.A_log))
    return layer, torch.randn(2, length, channels)


@pytest.mark.parametrize(("channels", "length"), [(4, 1), (8, 90), (20, 37)])
def test_the_layer_equals_the_formulas_written_out(channels, length):
    layer, tokens = layer_and_tokens(channels, length)
    found = layer(tokens).detach().numpy()
    for sample, result in zip(tokens.double().numpy(), found, strict=True):
        np.testing.assert_allclose(result, by_the_formulas(layer, sample), atol=2e-5)


def test_both_ways_is_the_mean_with_the_reversed_sequence():
    layer, tokens = layer_and_tokens(8, 50, both_ways=True)
    sample = tokens[0].double().numpy()
    expected = (by_the_formulas(layer, sample) + by_the_formulas(layer, sample[::-1])[::-1]) / 2
    np.testing.assert_allclose(layer(tokens)[0].detach().numpy(), expected, atol=2e-5)


def test_one_way_no_token_sees_a_later_one_and_both_ways_every_token_sees_all():
    layer, tokens = layer_and_tokens(8, 40)
    changed = tokens.clone()
    changed[:, 30:] += 1
    assert torch.equal(layer(tokens)[:, :30], layer(changed)[:, :30])
    layer.both_ways = True
    assert (layer(tokens)[:, :30] != layer(changed)[:, :30]).any(dim=-1).all()


def test_the_first_step_sizes_spread_over_two_decades():
    torch.manual_seed(0)
    steps = torch.nn.functional.softplus(Mamba(512).dt_proj.bias.detach())
    assert 0.9e-3 < steps.min() < 1.2e-3 and 0.8e-1 < steps.max() < 1.1e-1
    assert float(steps.log10().mean()) == pytest.approx(-2, abs=0.1)


MEASURED = """
import sys, torch
from MambaSynthLib.methods.mstg.mamba import Mamba
layer = Mamba(8)
with torch.inference_mode():
    y = layer(torch.randn(1, int(sys.argv[1]), 8))
assert torch.isfinite(y).all()
# Not ru_maxrss: that starts with what the process that called this one had in memory.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_all_tokens_of_a_128_128_32_volume_need_less_than_one_and_a_half_gigabytes():
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "524288"], capture_output=True, text=True, check=True
    )
    assert 50_000 < int(done.stdout) < 1_500_000  # kB
