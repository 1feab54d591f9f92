"""The scan against an independent float64 loop, its gradients, its memory and its backends."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from MambaSynthLib.layers import selective_scan as module
from MambaSynthLib.layers.selective_scan import (
    selective_scan,
    selective_scan_blocked,
    selective_scan_sequential,
)

NAMES = ("u", "delta", "A", "B", "C", "D")
SHAPES = [  # batch, sequences, tokens, channels, states
    (1, 1, 1, 1, 1),
    (2, 4, 7, 3, 2),
    (1, 4, 8, 2, 16),
    (2, 1, 9, 5, 4),
    (1, 2, 65, 4, 3),
    (2, 3, 200, 2, 5),
]


def arguments(shape, dtype=torch.float32, seed=0, step=1.0) -> tuple[Tensor, ...]:
    """u, delta, A, B, C, D with delta around ``step`` and every decay rate negative."""
    b, k, length, d, n = shape
    rng = np.random.default_rng(seed)
    drawn = (
        rng.standard_normal((b, k, length, d)),
        step * rng.uniform(0.05, 1, (b, k, length, d)),
        -rng.uniform(0.1, 3, (k, d, n)),
        rng.standard_normal((b, k, length, n)),
        rng.standard_normal((b, k, length, n)),
        rng.standard_normal((k, d)),
    )
    return tuple(torch.from_numpy(x).to(dtype) for x in drawn)


def by_the_formula(u, delta, A, B, C, D) -> np.ndarray:
    """One scalar at a time, in float64, as the recurrence is printed."""
    u, delta, A, B, C, D = (x.double().numpy() for x in (u, delta, A, B, C, D))
    y = np.zeros_like(u)
    for b, k, d in np.ndindex(u.shape[0], u.shape[1], u.shape[3]):
        for n in range(A.shape[2]):
            h = 0.0
            for t in range(u.shape[2]):
                dt = delta[b, k, t, d]
                h = np.exp(dt * A[k, d, n]) * h + dt * B[b, k, t, n] * u[b, k, t, d]
                y[b, k, t, d] += C[b, k, t, n] * h
        y[b, k, :, d] += D[k, d] * u[b, k, :, d]
    return y


def assert_close(found: Tensor, expected, relative: float) -> None:
    """Within ``relative`` of the largest expected value, and finite."""
    expected = torch.as_tensor(np.asarray(expected), dtype=torch.float64)
    assert found.shape == expected.shape
    assert torch.isfinite(found).all()
    error = (found.double() - expected).abs().max()
    assert error <= relative * max(1.0, expected.abs().max()), f"off by {error:.3g}"


@pytest.mark.parametrize("shape", SHAPES)
def test_the_sequential_scan_is_the_printed_recurrence(shape):
    inputs = arguments(shape, torch.float64)
    assert_close(selective_scan_sequential(*inputs), by_the_formula(*inputs), 1e-12)


@pytest.mark.parametrize("lanes", [None, 1, 2, 5])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_blocked_scan_equals_the_sequential_one(shape, lanes):
    inputs = arguments(shape, seed=1)
    expected = selective_scan_sequential(*(x.double() for x in inputs))
    found = selective_scan_blocked(*inputs, lanes=lanes)
    assert found.dtype == torch.float32
    assert_close(found, expected, 1e-5)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(
        st.integers(1, 2), st.integers(1, 4), st.integers(1, 70), st.integers(1, 4),
        st.integers(1, 4),
    ),
    block=st.integers(1, 17),
    lanes=st.integers(1, 9),
    seed=st.integers(0, 999),
)  # fmt: skip
def test_neither_block_size_nor_lanes_change_the_result(shape, block, lanes, seed):
    inputs = arguments(shape, torch.float64, seed)
    found = selective_scan_blocked(*inputs, block=block, lanes=lanes)
    assert_close(found, selective_scan_sequential(*inputs), 1e-12)


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("step", [1e-12, 1e-6, 1e2, 1e5, 1e9])
def test_tiny_and_huge_steps_stay_finite_and_exact(step, lanes):
    inputs = arguments((1, 2, 40, 3, 4), step=step)
    assert_close(selective_scan_blocked(*inputs, lanes=lanes) / max(step, 1),
                 by_the_formula(*inputs) / max(step, 1), 1e-5)  # fmt: skip


@pytest.mark.parametrize("step", [1e-12, 1e5])
def test_gradients_of_tiny_and_huge_steps_stay_finite_and_exact(step):
    inputs = arguments((1, 2, 40, 3, 4), torch.float64, step=step)
    compare_gradients(inputs, lanes=3, relative=1e-9)


def test_a_state_that_does_not_decay_is_kept_over_all_lanes():
    u = torch.zeros(1, 1, 300, 1)
    u[0, 0, 0] = 1.0
    one = torch.ones(1, 1, 300, 1)
    y = selective_scan_blocked(u, one, torch.zeros(1, 1, 1), one, one, torch.zeros(1, 1), lanes=4)
    assert torch.equal(y, one)


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_gradients_pass_the_finite_difference_check(lanes):
    inputs = [x.requires_grad_() for x in arguments((1, 2, 11, 2, 2), torch.float64, seed=3)]
    assert torch.autograd.gradcheck(
        lambda *x: selective_scan_blocked(*x, block=3, lanes=lanes), inputs
    )


def compare_gradients(inputs, lanes, relative, block=8) -> None:
    leaves = [x.clone().requires_grad_() for x in inputs]
    upstream = torch.from_numpy(np.random.default_rng(9).standard_normal(inputs[0].shape))
    upstream = upstream.to(inputs[0].dtype)
    by_autograd = torch.autograd.grad(selective_scan_sequential(*leaves), leaves, upstream)
    by_hand = torch.autograd.grad(
        selective_scan_blocked(*leaves, lanes=lanes, block=block), leaves, upstream
    )
    for name, found, expected in zip(NAMES, by_hand, by_autograd, strict=True):
        scale = float(expected.abs().max())
        assert torch.isfinite(found).all(), name
        assert (found - expected).abs().max() <= relative * scale + 1e-200, name


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_equal_those_that_autograd_finds_for_the_sequential_scan(shape, lanes):
    compare_gradients(arguments(shape, torch.float64, seed=4), lanes, 1e-10, block=4)


def test_gradients_in_float32_are_accurate():
    compare_gradients(arguments((1, 4, 150, 6, 4), seed=5), lanes=2, relative=2e-5)


def test_only_inputs_that_want_gradients_get_them():
    inputs = arguments((1, 1, 9, 2, 2))
    inputs[0].requires_grad_()
    selective_scan_blocked(*inputs).sum().backward()
    assert inputs[0].grad is not None
    assert all(x.grad is None for x in inputs[1:])


def test_training_never_keeps_the_states_of_all_tokens():
    b, k, length, d, n = shape = (1, 4, 256, 32, 16)
    inputs = [x.requires_grad_() for x in arguments(shape)]
    saved: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        selective_scan_blocked(*inputs).sum().backward()
    all_states = b * k * length * n * d
    assert saved, "the hook saw nothing"
    assert max(saved) <= all_states / 8
    assert sum(saved) < all_states / 2


def test_a_second_derivative_is_refused_instead_of_being_wrong():
    inputs = [x.requires_grad_() for x in arguments((1, 1, 9, 2, 2))]
    loss = selective_scan_blocked(*inputs).square().sum()
    gradient = torch.autograd.grad(loss, inputs, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_autocast_leaves_the_scan_in_float32():
    inputs = arguments((1, 2, 40, 4, 3))
    plain = selective_scan(*inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = selective_scan(*inputs)
        assert torch.matmul(inputs[3], inputs[4].mT).dtype == torch.bfloat16  # it is switched on
    assert inside.dtype == torch.float32
    assert torch.equal(inside, plain)


def test_autocast_around_the_backward_pass_leaves_it_in_float32():
    def gradients(enabled: bool) -> list[Tensor]:
        inputs = [x.requires_grad_() for x in arguments((1, 2, 40, 4, 3))]
        y = selective_scan(*inputs)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            y.backward(torch.ones_like(y))
        return [x.grad for x in inputs]

    for name, inside, plain in zip(NAMES, gradients(True), gradients(False), strict=True):
        assert torch.equal(inside, plain), name


def test_half_precision_inputs_are_scanned_in_float32():
    inputs = arguments((1, 2, 40, 4, 3))
    halves = tuple(x.half() for x in inputs)
    found = selective_scan(*halves)
    assert found.dtype == torch.float32
    assert_close(found, by_the_formula(*halves), 1e-5)


def test_double_precision_is_kept():
    inputs = arguments((1, 2, 20, 4, 3), torch.float64)
    assert_close(selective_scan(*inputs), by_the_formula(*inputs), 1e-12)
    assert selective_scan(*inputs).dtype == torch.float64


def test_an_unknown_backend_is_refused():
    with pytest.raises(ValueError, match="'cuda'.*auto, mamba_ssm, triton, torch"):
        selective_scan(*arguments((1, 1, 2, 1, 1)), backend="cuda")


@pytest.mark.parametrize("backend", ["mamba_ssm", "triton"])
def test_cuda_kernels_are_refused_for_tensors_on_the_cpu(backend):
    with pytest.raises(RuntimeError, match=f"{backend} scan needs a float32 CUDA tensor"):
        selective_scan(*arguments((1, 1, 2, 1, 1)), backend=backend)


def naive_selective_scan_fn(u, delta, A, B, C, D=None) -> Tensor:
    """In mamba-ssm's layout: u, delta (B,KD,L); A (KD,N); B, C (B,K,N,L); D (KD,)."""
    batch, channels, length = u.shape
    assert delta.shape == u.shape
    assert len(A) == channels and D.shape == (channels,)
    assert all(x.is_contiguous() for x in (u, delta, A, B, C, D))
    group = channels // B.shape[1]
    B, C = (x.repeat_interleave(group, dim=1) for x in (B, C))  # (B,KD,N,L)
    y = torch.zeros_like(u)
    for b in range(batch):
        for c in range(channels):
            h = torch.zeros_like(A[c])
            for t in range(length):
                h = torch.exp(delta[b, c, t] * A[c]) * h
                h = h + delta[b, c, t] * B[b, c, :, t] * u[b, c, t]
                y[b, c, t] = (h * C[b, c, :, t]).sum() + D[c] * u[b, c, t]
    return y


@pytest.fixture
def fake_mamba_ssm(monkeypatch):
    interface = ModuleType("mamba_ssm.ops.selective_scan_interface")
    interface.selective_scan_fn = naive_selective_scan_fn
    monkeypatch.setitem(sys.modules, "mamba_ssm", ModuleType("mamba_ssm"))
    monkeypatch.setitem(sys.modules, "mamba_ssm.ops", ModuleType("mamba_ssm.ops"))
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    module._mamba_ssm_scan.cache_clear()
    yield
    module._mamba_ssm_scan.cache_clear()


def test_the_kernel_of_mamba_ssm_is_called_in_its_own_layout(fake_mamba_ssm):
    inputs = arguments((2, 4, 10, 3, 2), torch.float64)
    assert module._choose("auto", on_cuda=True) is module._mamba_ssm_scan()
    assert_close(module._mamba_ssm_scan()(*inputs), by_the_formula(*inputs), 1e-12)


def test_tensors_on_the_cpu_are_scanned_without_the_kernel(fake_mamba_ssm, monkeypatch):
    def forbidden(*_: object) -> None:
        raise AssertionError("the CUDA kernel was called for a CPU tensor")

    monkeypatch.setattr(module, "_scan_with_kernel", forbidden)
    inputs = arguments((1, 2, 10, 3, 2))
    assert_close(selective_scan(*inputs), by_the_formula(*inputs), 1e-5)


@pytest.mark.parametrize("failure", [ImportError, OSError, RuntimeError])
def test_kernels_that_do_not_import_count_as_absent(failure, monkeypatch):
    class Broken:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name.startswith(("mamba_ssm", "triton")):
                raise failure("built for another torch")

    monkeypatch.setattr(sys, "meta_path", [Broken, *sys.meta_path])
    for name in list(sys.modules):
        if name.startswith(("mamba_ssm", "triton", "MambaSynthLib.layers.triton")):
            monkeypatch.delitem(sys.modules, name)
    loaders = module._mamba_ssm_scan, module._triton_scan
    for load in loaders:
        load.cache_clear()
    assert module._choose("auto", on_cuda=True) is selective_scan_blocked
    for load in loaders:
        load.cache_clear()
