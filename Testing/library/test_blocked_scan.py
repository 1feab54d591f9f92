"""What the blocked scan adds to the definition: its choices by shape, and its bounded memory.

That it computes the same is tested in ``test_selective_scan.py``.
"""

import subprocess
import sys

import pytest
import torch

from MambaSynthLib.layers.blocked_scan import selective_scan_blocked
from MambaSynthLib.layers.selective_scan import selective_scan_sequential


def scan_inputs(b, k, length, d, n, *, step=0.5):
    """u, delta, A, B, C, D with the ranges a trained network shows."""
    draw = torch.Generator().manual_seed(length)

    def normal(*shape):
        return torch.randn(*shape, generator=draw)

    delta = step * torch.rand(b, k, length, d, generator=draw)
    A = -16 * torch.rand(k, d, n, generator=draw) - 0.1
    tokens = (normal(b, k, length, n) for _ in "BC")
    return [normal(b, k, length, d), delta, A, *tokens, normal(k, d)]


@pytest.mark.parametrize("shape", [(1, 1, 4096, 2, 4), (2, 4, 70, 96, 16), (1, 1, 130, 1, 1)])
@pytest.mark.parametrize("step", [0.05, 60.0])  # exponents down to -0.8 and to -960
def test_the_cut_chosen_by_the_shape_keeps_the_result(shape, step):
    inputs = scan_inputs(*shape, step=step)
    expected = selective_scan_sequential(*(x.double() for x in inputs)).float()
    largest = float(expected.abs().max())
    torch.testing.assert_close(
        selective_scan_blocked(*inputs), expected, atol=1e-6 * largest, rtol=0
    )


def test_one_huge_step_among_small_ones_is_exact():
    inputs = scan_inputs(1, 2, 40, 3, 4)
    inputs[1][0, 1, 17, 2] = 1e30
    expected = selective_scan_sequential(*(x.double() for x in inputs)).float()
    torch.testing.assert_close(selective_scan_blocked(*inputs), expected, rtol=1e-5, atol=1e-5)


def test_channels_first_views_are_accepted():
    u, delta, *others = scan_inputs(2, 4, 30, 8, 6)
    views = [x.transpose(2, 3).contiguous().transpose(2, 3) for x in (u, delta)]
    assert selective_scan_blocked(*views, *others).equal(selective_scan_blocked(u, delta, *others))


def test_torch_compile_takes_a_function_with_a_scan_in_it():
    inputs = scan_inputs(1, 2, 40, 4, 3)
    compiled = torch.compile(lambda *x: selective_scan_blocked(*x) * 2, backend="eager")
    assert compiled(*inputs).equal(2 * selective_scan_blocked(*inputs))


@pytest.mark.slow
def test_half_a_million_tokens_need_less_than_a_gigabyte():
    pytest.importorskip("resource", reason="peak memory is read from Unix's resource module")
    program = (
        "import resource, torch\n"
        "from MambaSynthLib.layers.blocked_scan import selective_scan_blocked\n"
        "L = 524_288\n"
        "u, delta, B, C = (torch.rand(1, 1, L, 16) for _ in range(4))\n"
        "with torch.no_grad():\n"
        "    selective_scan_blocked(u, delta, -torch.rand(1, 16, 16), B, C, torch.ones(1, 16))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert int(finished.stdout) < 1_000_000  # KiB, of the whole process
