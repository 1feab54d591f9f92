"""The fast scan computes what the sequential definition says, forwards and backwards."""

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

from MambaSynthLib.layers.blocked_scan import selective_scan_blocked  # noqa: E402
from MambaSynthLib.layers.selective_scan import (  # noqa: E402
    selective_scan,
    selective_scan_sequential,
)

CUTS = [{}, {"lanes": 1, "block": 5}, {"lanes": 3}, {"lanes": 4, "block": 8}]


def scan_inputs(b, k, length, d, n, *, step=0.5, dtype=torch.float32):
    """u, delta, A, B, C, D with the ranges a trained network shows."""
    draw = torch.Generator().manual_seed(length)

    def normal(*shape):
        return torch.randn(*shape, generator=draw, dtype=dtype)

    delta = step * torch.rand(b, k, length, d, generator=draw, dtype=dtype)
    A = -16 * torch.rand(k, d, n, generator=draw, dtype=dtype) - 0.1
    tokens = (normal(b, k, length, n) for _ in "BC")
    return [normal(b, k, length, d), delta, A, *tokens, normal(k, d)]


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("length", [1, 7, 64, 333])
def test_any_cut_into_lanes_and_blocks_equals_the_definition(length, cut):
    inputs = scan_inputs(2, 4, length, 8, 6)
    expected = selective_scan_sequential(*inputs)
    torch.testing.assert_close(selective_scan_blocked(*inputs, **cut), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("cut", CUTS)
def test_the_backward_pass_is_the_derivative_of_the_forward_pass(cut):
    inputs = [x.requires_grad_() for x in scan_inputs(2, 2, 11, 3, 2, dtype=torch.float64)]
    assert torch.autograd.gradcheck(lambda *x: selective_scan_blocked(*x, **cut), inputs)


@pytest.mark.parametrize("cut", CUTS)
def test_gradients_in_single_precision_equal_those_of_the_definition(cut):
    inputs = [x.requires_grad_() for x in scan_inputs(1, 4, 150, 8, 6)]
    expected = selective_scan_sequential(*inputs)
    weight = torch.linspace(-1, 1, expected.numel()).view_as(expected)
    wanted = torch.autograd.grad((weight * expected).sum(), inputs)
    found = torch.autograd.grad((weight * selective_scan_blocked(*inputs, **cut)).sum(), inputs)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=3e-6 * float(b.abs().max()), rtol=0)


@pytest.mark.parametrize("step", [1e-6, 60.0, 1e4])
@pytest.mark.parametrize("cut", CUTS)
def test_tiny_and_huge_steps_stay_finite_and_exact(step, cut):
    inputs = scan_inputs(1, 2, 100, 4, 3, step=step)
    expected = selective_scan_sequential(*(x.double() for x in inputs))
    found = selective_scan_blocked(*inputs, **cut)
    torch.testing.assert_close(
        found.double(), expected, atol=1e-6 * float(expected.abs().max()), rtol=0
    )


def test_a_narrow_long_sequence_is_cut_into_lanes_without_being_told():
    inputs = scan_inputs(1, 1, 4096, 2, 4, step=0.05)
    expected = selective_scan_sequential(*(x.double() for x in inputs))
    torch.testing.assert_close(selective_scan(*inputs).double(), expected, atol=1e-5, rtol=0)


def test_channels_last_views_need_no_copy_by_the_caller():
    u, delta, *others = scan_inputs(2, 4, 30, 8, 6)
    views = [x.transpose(2, 3).contiguous().transpose(2, 3) for x in (u, delta)]
    torch.testing.assert_close(
        selective_scan_blocked(*views, *others), selective_scan_blocked(u, delta, *others)
    )


def test_autocast_and_compile_leave_the_scan_in_single_precision():
    inputs = scan_inputs(1, 2, 40, 4, 3)
    expected = selective_scan(*inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = selective_scan(*(x.bfloat16() for x in inputs))
        assert selective_scan(*inputs).equal(expected)
    assert found.dtype == torch.float32
    compiled = torch.compile(lambda *x: selective_scan(*x) * 2, backend="eager")
    assert compiled(*inputs).equal(2 * expected)


@pytest.mark.slow
def test_half_a_million_tokens_need_less_than_a_gigabyte():
    pytest.importorskip("resource", reason="peak memory is read from Unix's resource module")
    program = (
        "import resource, torch\n"
        "from MambaSynthLib.layers.blocked_scan import selective_scan_blocked\n"
        "L = 524_288\n"
        "u, delta, B, C = (torch.rand(1, 1, L, 16) for _ in range(4))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "with torch.no_grad():\n"
        "    selective_scan_blocked(u, delta, -torch.rand(1, 16, 16), B, C, torch.ones(1, 16))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    peak = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert int(peak.stdout) < 1_000_000  # KiB, of the whole process
