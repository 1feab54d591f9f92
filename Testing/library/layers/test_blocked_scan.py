"""What the blocked scan adds to the definition: choices by shape, threads, and bounded memory.

That it computes the same is tested in ``test_selective_scan.py``.
"""

import os
import subprocess
import sys

import pytest
import torch

from MambaSynthLib.layers import blocked_scan
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


@pytest.fixture
def threads(monkeypatch):
    """Sets the number of threads that share even the smallest scan."""
    before = torch.get_num_threads()
    monkeypatch.setattr(blocked_scan, "LEAST_SHARED", 0)
    yield torch.set_num_threads
    torch.set_num_threads(before)


def result_and_gradients(inputs, lanes):
    leaves = [x.clone().requires_grad_() for x in inputs]
    y = selective_scan_blocked(*leaves, lanes=lanes)
    return [y.detach(), *torch.autograd.grad(y.square().sum(), leaves)]


@pytest.mark.parametrize("lanes", [1, 5])
def test_the_number_of_threads_changes_no_bit(threads, lanes):
    inputs = scan_inputs(1, 4, 70, 6, 4)
    threads(1)
    expected = result_and_gradients(inputs, lanes)
    for count in (2, 3, 9):  # more than there are sequences, too
        threads(count)
        for found, alone in zip(result_and_gradients(inputs, lanes), expected, strict=True):
            assert found.equal(alone)
        assert torch.get_num_threads() == count


def test_threads_are_shared_in_inference_mode_too(threads):
    threads(2)
    with torch.inference_mode():
        inputs = scan_inputs(1, 4, 70, 6, 4)
        y = selective_scan_blocked(*inputs)
        assert y.is_inference()
        torch.testing.assert_close(y, selective_scan_sequential(*inputs), rtol=1e-5, atol=1e-5)


def test_what_fails_in_a_thread_fails_in_the_caller(threads):
    threads(2)
    u, delta, A, B, C, D = scan_inputs(1, 4, 70, 6, 4)
    with pytest.raises(RuntimeError, match="size"):
        selective_scan_blocked(u, delta, A, B, C[..., :3], D)
    assert torch.get_num_threads() == 2


SCAN_PROGRAM = """
import hashlib, os, sys, torch
from MambaSynthLib.layers import blocked_scan
blocked_scan.LEAST_SHARED = 0
torch.set_num_threads(2)
torch.manual_seed(0)
u, delta, B, C = (torch.rand(1, 4, 70, 16) for _ in range(4))
leaves = [u.requires_grad_(), delta, -torch.rand(4, 16, 16), B, C, torch.ones(4, 16)]

def digest():
    y = blocked_scan.selective_scan_blocked(*leaves)
    gradient, = torch.autograd.grad(y.sum(), u)
    return hashlib.sha256(y.detach().numpy().tobytes() + gradient.numpy().tobytes()).hexdigest()

"""


def digest_of(program: str, **environment: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", SCAN_PROGRAM + program], capture_output=True, text=True,
        timeout=120, check=True, env=os.environ | environment,
    )  # fmt: skip
    return finished.stdout.strip()


def test_the_loops_are_the_same_in_plain_python():
    program = (
        "print(digest(), isinstance(blocked_scan.scan_loops.outputs, torch.jit.ScriptFunction))"
    )
    scripted, script = digest_of(program).split()
    plain, no_script = digest_of(program, PYTORCH_JIT="0").split()
    assert (script, no_script) == ("True", "False")
    assert plain == scripted


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_starts_threads_of_its_own():
    forked = """
before = digest()
child = os.fork()
if child == 0:
    os._exit(0 if digest() == before else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert digest_of(forked) == "0"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_half_a_million_tokens_need_less_than_a_gigabyte():
    program = (
        "import torch\n"
        "from MambaSynthLib.layers.blocked_scan import selective_scan_blocked\n"
        "L = 524_288\n"
        "u, delta, B, C = (torch.rand(1, 1, L, 16) for _ in range(4))\n"
        "with torch.no_grad():\n"
        "    selective_scan_blocked(u, delta, -torch.rand(1, 16, 16), B, C, torch.ones(1, 16))\n"
        # Not ru_maxrss: that starts with what the process that called this one had in memory.
        "status = open('/proc/self/status').read().split()\n"
        "print(status[status.index('VmHWM:') + 1])\n"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert 50_000 < int(finished.stdout) < 1_000_000  # kB, of the whole process
