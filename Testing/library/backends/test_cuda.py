"""What only a machine with an NVIDIA GPU can show; elsewhere these tests are skipped."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from MambaSynthLib.backends import torch_backend
from MambaSynthLib.engine import Engine
from MambaSynthLib.image.preparation import prepare
from MambaSynthLib.layers import selective_scan as scans
from MambaSynthLib.layers.selective_scan import selective_scan, selective_scan_sequential
from MambaSynthLib.model.package import read_package, shipped_models
from Testing.analytic_heads import analytic_head

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
SHAPES = [(2, 4, 100, 8, 16), (1, 4, 1024, 512, 16), (1, 1, 5000, 16, 16), (2, 3, 70, 33, 5)]


def scan_inputs(b, k, length, d, n):
    draw = torch.Generator().manual_seed(length)
    tokens = (torch.randn(b, k, length, n, generator=draw) for _ in "BC")
    delta = torch.rand(b, k, length, d, generator=draw) / 2
    A = -16 * torch.rand(k, d, n, generator=draw) - 0.1
    u = torch.randn(b, k, length, d, generator=draw)
    tensors = (u, delta, A, *tokens, torch.randn(k, d, generator=draw))
    return [x.cuda() for x in tensors]


def relative(found, expected):
    return float((found.double() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("backend", ["torch", "triton", "mamba_ssm"])
def test_every_scan_on_cuda_and_its_gradients_equal_the_sequential_one(shape, backend):
    if backend != "torch" and getattr(scans, f"_{backend}_scan")() is None:
        pytest.skip(f"{backend} does not import here")
    inputs = [x.requires_grad_() for x in scan_inputs(*shape)]
    exact = [x.detach().double().requires_grad_() for x in inputs]
    y, expected = selective_scan(*inputs, backend=backend), selective_scan_sequential(*exact)
    assert relative(y, expected) < 1e-5
    upstream = torch.randn(y.shape, device="cuda")
    found = torch.autograd.grad(y, inputs, upstream)
    wanted = torch.autograd.grad(expected, exact, upstream.double())
    for name, gradient, right in zip(("u", "delta", "A", "B", "C", "D"), found, wanted,
                                     strict=True):  # fmt: skip
        assert relative(gradient, right) < 2e-5, name


def test_triton_gives_the_same_bits_every_time():
    if scans._triton_scan() is None:
        pytest.skip("triton does not import here")
    inputs = [x.requires_grad_() for x in scan_inputs(1, 4, 300, 40, 16)]
    runs = []
    for _ in range(2):
        y = selective_scan(*inputs, backend="triton")
        runs.append([y, *torch.autograd.grad(y.square().sum(), inputs)])
    assert all(first.equal(second) for first, second in zip(*runs, strict=True))


@pytest.fixture(scope="module")
def package():
    return read_package(shipped_models() / "cravim-t1w-t2w-compact")


@pytest.fixture(scope="module")
def images(package):
    """Six slices of a whole head and noise, (6,2,192,160)."""
    card = package.card
    slices = prepare(analytic_head()["T1w"], card.grid, card.intensity).stack()
    chosen = slices[(np.linspace(0.25, 0.75, 6) * len(slices)).astype(int)]
    noise = np.random.default_rng(0).standard_normal(chosen.shape, dtype=np.float32)
    return np.stack([chosen, noise], axis=1)


@pytest.mark.parametrize(("precision", "most"), [("fp32", 1e-3), ("auto", 2e-2)])
def test_the_shipped_model_on_cuda_agrees_with_the_cpu_on_slices_of_a_head(
    precision, most, package, images
):
    expected = torch_backend.load_network(package, "cpu")(images)
    found = torch_backend.load_network(package, "cuda", precision)(images)
    assert np.abs(found[:, -1] - expected[:, -1]).max() < most
    if precision == "auto":
        assert np.abs(found[:, -1] - expected[:, -1]).mean() < 1e-3


@pytest.mark.parametrize("batch", [1, 2, 6])
def test_the_batch_size_changes_only_the_rounding(batch, package, images):
    network = torch_backend.load_network(package, "cuda", "fp32")
    parts = [network(part) for part in np.split(images, len(images) // batch)]
    np.testing.assert_allclose(np.concatenate(parts), network(images), atol=1e-4)


def test_a_gpu_that_is_full_hands_over_and_gives_the_same_result(package, images):
    network = torch_backend.load_network(package, "cuda", "fp32")
    expected = network(images)
    torch.cuda.empty_cache()
    try:
        torch.cuda.set_per_process_memory_fraction(0.0005)
        found = torch_backend.load_network(package, "cuda", "fp32")(images)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_whole_head_on_cuda_is_that_of_the_cpu(package):
    source = {"T1w": analytic_head()["T1w"]}
    options = {"steps": 1, "slices": (20, 24)}
    on_cpu, on_cuda = (
        Engine(package, device).synthesize(source, **options).volumes["T2w"].array
        for device in ("cpu", "cuda")
    )
    assert np.abs(on_cuda - on_cpu).max() < 0.02 * on_cpu.max()
