"""One weights file, one answer: the shipped model on slices of a head, whoever computes it.

The plain float32 network is the reference. ``test_cuda.py`` has the same for a GPU.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from MambaSynthLib.backends import torch_backend
from MambaSynthLib.image.preparation import prepare
from MambaSynthLib.methods.cravim import inference, network
from MambaSynthLib.methods.cravim.inference import GPU_STEPS
from MambaSynthLib.model.package import read_package, shipped_models
from Testing.analytic_heads import analytic_head

CLOSE = 1e-4


@pytest.fixture(scope="module")
def package():
    return read_package(shipped_models() / "cravim-t1w-t2w-compact")


@pytest.fixture(scope="module")
def images(package):
    """Three slices of a whole head, from neck to vertex, each with noise: (3,2,192,160)."""
    card = package.card
    stack = prepare(analytic_head()["T1w"], card.grid, card.intensity).stack()
    slices = stack[(np.array([0.3, 0.5, 0.7]) * len(stack)).astype(int)]
    noise = np.random.default_rng(0).standard_normal(slices.shape, dtype=np.float32)
    return np.stack([slices, noise], axis=1)


@pytest.fixture(scope="module")
def plain(package):
    """The network of ``network.py`` with the weights as they are."""
    built = network.build(package.card.network)
    weights = package.read_weights()
    built.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    return built.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def reference(plain, images):
    with torch.inference_mode():
        return plain(torch.from_numpy(images))[:, -1].numpy()


def assert_agree(found, reference):
    assert found.shape[0] == len(reference)
    assert np.abs(found[:, -1] - reference).max() < CLOSE


def test_the_slices_are_of_a_head_and_the_network_answers_to_them(images, reference):
    assert (images[:, 0] > -0.9).mean() > 0.2
    assert reference.std() > 0.1


@pytest.mark.parametrize("batch", [1, 3])
def test_torch_on_the_cpu_in_any_batch(batch, package, images, reference):
    compute = torch_backend.load_network(package, "cpu")
    parts = [compute(part) for part in np.split(images, len(images) // batch)]
    assert_agree(np.concatenate(parts), reference)


@pytest.mark.parametrize("batch", [1, 3])
def test_onnx_runtime_on_the_cpu_in_any_batch(batch, package, images, reference):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from MambaSynthLib.backends import onnx_backend

    compute = onnx_backend.load_network(package, "cpu")
    parts = [compute(part) for part in np.split(images, len(images) // batch)]
    assert_agree(np.concatenate(parts), reference)


def test_the_path_of_a_gpu_taken_on_the_cpu(plain, images, reference):
    prepared = inference.prepare(plain, GPU_STEPS)
    with torch.inference_mode():
        found = prepared._forward(torch.from_numpy(images))
    assert_agree(found.numpy(), reference)


@pytest.mark.parametrize(("precision", "most"), [("fp16", 2e-2), ("bf16", 2e-1)])
def test_short_operands_change_little_and_norms_and_scan_stay_float32(
    precision, most, plain, images, reference, monkeypatch
):
    scanned = []

    def watched(u, *others):
        scanned.append(u.dtype)
        return scan(u, *others)

    from MambaSynthLib.methods.cravim import evss_inference

    scan = evss_inference.selective_scan
    monkeypatch.setattr(evss_inference, "selective_scan", watched)
    prepared = inference.prepare(plain, GPU_STEPS, precision)
    with torch.inference_mode():
        found = prepared._forward(torch.from_numpy(images[:1])).numpy()
    assert found.dtype == np.float32 and scanned == [torch.float32] * 2
    error = np.abs(found[:, -1] - reference[:1])
    assert 1e-5 < error.max() < most


def test_an_unknown_precision_is_refused(package):
    from MambaSynthLib.errors import RequestError

    with pytest.raises(RequestError, match="precision fp8: is unknown; use auto, fp32"):
        torch_backend.load_network(package, "cpu", "fp8")


def test_the_onnx_graph_is_of_standard_operators_of_which_only_scan_is_foreign_to_coreml(package):
    """CoreML's provider computes the rest and leaves the two scans to the CPU."""
    pytest.importorskip("onnx", reason="onnx is not installed")
    from MambaSynthLib.methods.cravim import graph

    for winograd in (False, True):
        nodes = graph.build(package.card.network, winograd=winograd).graph.node
        kinds = [node.op_type for node in nodes]
        assert all(node.domain == "" for node in nodes)
        assert kinds.count("Scan") == 2 and not {"Loop", "If"} & set(kinds)
