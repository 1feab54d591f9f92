"""ONNX Runtime computes what PyTorch computes, from the same weights file and without PyTorch."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from MambaSynthLib import backends
from MambaSynthLib.backends import Network
from MambaSynthLib.errors import ModelError, RequestError
from MambaSynthLib.model.package import ModelPackage, read_package, shipped_models, write_package

pytest.importorskip("onnxruntime")
torch = pytest.importorskip("torch")

from MambaSynthLib.backends import onnx_backend, torch_backend  # noqa: E402
from MambaSynthLib.layers.onnx_graph import Graph  # noqa: E402
from MambaSynthLib.methods.cravim import graph  # noqa: E402
from MambaSynthLib.methods.cravim.network import CRAViM, CRAViMConfig  # noqa: E402
from MambaSynthLib.methods.cravim.winograd_graph import reflecting_conv  # noqa: E402
from Testing.model_packages import SIZES, contrast_card  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[3]
WIDE = SIZES | {"ngf": 32, "n_attentions": 3}  # enough channels for Winograd's convolutions
OTHERS = [
    SIZES,
    SIZES | {"ngf": 8, "n_blocks": 2, "n_attentions": 5},
    SIZES | {"ngf": 20, "n_attentions": 3},
    WIDE,
]


def random_weights(sizes: dict[str, int], seed: int = 0) -> dict[str, np.ndarray]:
    """Weights far from the initial ones: running statistics, gates and step sizes vary too."""
    torch.manual_seed(seed)
    network = CRAViM(CRAViMConfig(**sizes))
    generator = torch.Generator().manual_seed(seed)
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.3, 3, generator=generator)
        elif value.ndim == 1 and value.is_floating_point():
            value += 0.3 * torch.randn(value.shape, generator=generator)
    return {name: value.numpy().copy() for name, value in network.state_dict().items()}


def make_package(
    folder: Path, sizes: dict[str, int], weights: dict[str, np.ndarray] | None = None
) -> ModelPackage:
    weights = random_weights(sizes) if weights is None else weights
    return write_package(folder, contrast_card(network=sizes), weights, "# Random\n")


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 0.7, shape).astype(np.float32)


def largest_difference(package: ModelPackage, x: np.ndarray) -> float:
    return difference(both_networks(package), x)


def both_networks(package: ModelPackage) -> list[Network]:
    return [module.load_network(package, "cpu") for module in (onnx_backend, torch_backend)]


def difference(networks: list[Network], x: np.ndarray) -> float:
    """Of the target estimates, the last channel; a backend may leave out the other one. Networks
    with skips give several slices there.
    """
    results = [network(x)[:, -1] for network in networks]
    assert results[0].dtype == results[1].dtype == np.float32
    assert results[0].shape == results[1].shape
    assert (len(results[0]), *results[0].shape[-2:]) == (len(x), *x.shape[2:])
    assert np.ptp(results[1]) > 0.1  # something to compare
    return float(np.abs(results[0] - results[1]).max())


@pytest.mark.parametrize("sizes", OTHERS, ids=lambda sizes: f"ngf{sizes['ngf']}")
def test_both_backends_give_the_same_result_on_any_multiple_of_four(tmp_path, sizes):
    networks = both_networks(make_package(tmp_path / "p", sizes))
    for height, width in [(48, 64), (16, 16), (20, 28), (36, 44), (28, 40), (16, 100)]:
        assert difference(networks, images(2, 2, height, width)) < 1e-4, (height, width)


def test_one_network_takes_any_batch_and_size(tmp_path):
    network = onnx_backend.load_network(make_package(tmp_path / "p", SIZES), "cpu")
    x = images(5, 2, 36, 20)
    together = network(x)
    alone = np.concatenate([network(x[n : n + 1]) for n in range(len(x))])
    np.testing.assert_array_equal(together, alone)
    assert network(images(1, 2, 64, 16)).shape == (1, 2, 64, 16)


def test_large_and_tiny_step_sizes_stay_finite_and_exact(tmp_path):
    weights = random_weights(SIZES)
    for name, array in weights.items():
        if name.endswith("dt_projs_bias"):
            array[:] = np.where(np.arange(array.size).reshape(array.shape) % 2, 60.0, -30.0)
    package = make_package(tmp_path / "p", SIZES, weights)
    assert largest_difference(package, images(1, 2, 64, 64)) < 1e-4


def test_half_precision_weights_are_read_alike(tmp_path):
    weights = {
        name: array.astype(np.float16) if array.dtype == np.float32 else array
        for name, array in random_weights(SIZES).items()
    }
    package = make_package(tmp_path / "p", SIZES, weights)
    assert largest_difference(package, images(1, 2, 16, 16)) < 1e-4


def test_the_shipped_models_of_contrasts_give_the_same_result():
    packages = [read_package(card.parent) for card in shipped_models().glob("*/model.json")]
    packages = [package for package in packages if package.card.method == "cravim"]
    assert packages
    for package in packages:
        seen = package.card.network["input_channels"] + 2 * package.card.neighbors
        x = np.clip(images(1, seen, *package.card.grid.size), -1, 1)
        assert largest_difference(package, x) < 1e-4


def test_the_graph_is_valid_and_holds_no_weights():
    import onnx

    for winograd in (False, True):
        model = graph.build(CRAViMConfig().__dict__, winograd=winograd)
        assert len(model.SerializeToString()) < 300_000
        operators = {node.op_type for node in model.graph.node}
        assert "Scan" in operators
        assert {node.domain for node in model.graph.node} == {""}, "standard operators only"
        assert all(onnx.defs.has(operator) for operator in operators)


@pytest.mark.parametrize("height, width", [(2, 3), (4, 4), (5, 9), (13, 16)])
def test_winograd_equals_the_plain_convolution(height, width):
    import onnxruntime

    g = Graph("test")
    x = g.input("x", [None, 3, None, None])
    weight = g.input("weight", [5, 3, 3, 3])
    model = g.model(reflecting_conv(g, x, weight, channels=3, out=5))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    values = {"x": images(2, 3, height, width), "weight": images(5, 3, 3, 3)}
    expected = torch.nn.functional.conv2d(
        torch.nn.functional.pad(torch.from_numpy(values["x"]), (1, 1, 1, 1), mode="reflect"),
        torch.from_numpy(values["weight"]),
    )
    np.testing.assert_allclose(session.run(None, values)[0], expected, atol=2e-5)


# --- refusals ----------------------------------------------------------------------------------


def test_tampered_weights_are_refused(tmp_path):
    package = make_package(tmp_path / "p", SIZES)
    file = package.folder / "weights.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(ModelError, match="sha256"):
        onnx_backend.load_network(package, "cpu")


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda w: w.pop("resnet_blocks.0.conv1.bias"), "resnet_blocks.0.conv1.bias is missing"),
        (lambda w: w.update(extra=np.zeros(3, np.float32)), "extra is left over"),
        (lambda w: w.update({"conv1.bias": np.zeros(9, np.float32)}), r"conv1.bias has shape \(9"),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path, change, message):
    weights = random_weights(WIDE)  # whose fast convolutions leave some biases unused
    change(weights)
    package = make_package(tmp_path / "p", WIDE, weights)
    with pytest.raises(ModelError, match=message):
        onnx_backend.load_network(package, "cpu")


@pytest.mark.parametrize("device", ["cuda:x", "coreml:1", "tpu", "", "cpu:", "cpu:²"])
def test_a_device_that_is_not_here_is_refused_with_those_that_are(device):
    with pytest.raises(RequestError, match="available: .*cpu"):
        onnx_backend.choose_device(device)


def test_a_provider_that_does_not_open_is_no_device(monkeypatch):
    """A build for CUDA on a machine without its libraries falls back silently."""
    offered = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnx_backend.onnxruntime, "get_available_providers", lambda: offered)
    cpu_only = SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(onnx_backend, "_open_session", lambda *arguments: cpu_only)
    onnx_backend.available_devices.cache_clear()
    try:
        assert onnx_backend.available_devices() == {"cpu": "CPUExecutionProvider"}
        assert onnx_backend.choose_device("auto") == "cpu"
    finally:
        onnx_backend.available_devices.cache_clear()


def test_a_fallback_while_loading_is_an_error(tmp_path, monkeypatch):
    cpu_only = SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(onnx_backend, "_open_session", lambda *arguments: cpu_only)
    with pytest.raises(RequestError, match="fell back to CPUExecutionProvider"):
        onnx_backend.load_network(make_package(tmp_path / "p", SIZES), "cuda")


@pytest.mark.parametrize(
    "error", [MemoryError(), Exception("Failed to allocate memory for requested buffer")]
)
def test_exhausted_memory_is_told_with_the_remedy(tmp_path, monkeypatch, error):
    def greedy(*arguments):
        raise error

    session = SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"], run=greedy)
    monkeypatch.setattr(onnx_backend, "_open_session", lambda *arguments: session)
    network = onnx_backend.load_network(make_package(tmp_path / "p", SIZES), "cpu")
    with pytest.raises(RequestError, match="memory of cpu is not enough.*--batch 1"):
        network(images(1, 2, 16, 16))


def test_the_provider_is_the_one_of_the_session():
    assert onnx_backend.available_devices()["cpu"] == "CPUExecutionProvider"


@pytest.mark.parametrize("both", [True, False])
def test_two_onnxruntime_packages_are_warned_of(monkeypatch, caplog, both):
    here = {"onnxruntime", "onnxruntime-gpu"} if both else {"onnxruntime"}
    monkeypatch.setattr(onnx_backend, "version_of", lambda name: name if name in here else None)
    with caplog.at_level(logging.WARNING):
        onnx_backend.warn_of_two_packages()
    assert ("onnxruntime and onnxruntime-gpu are installed together" in caplog.text) == both


# --- the choice --------------------------------------------------------------------------------


def pretend(monkeypatch: pytest.MonkeyPatch, installed: list[str], gpus: tuple[str, ...]) -> None:
    monkeypatch.setattr(backends, "_is_installed", lambda name: name in installed)
    for backend, kind in ((torch_backend, ""), (onnx_backend, "onnx:")):
        here = [gpu.removeprefix("onnx:") for gpu in gpus if gpu.startswith("onnx:") == bool(kind)]
        devices = dict.fromkeys((*here, "cpu"), "pretended")
        monkeypatch.setattr(backend, "available_devices", lambda devices=devices: devices)


@pytest.mark.parametrize(
    "installed, gpus, device, expected",
    [
        (["torch", "onnxruntime"], (), "auto", "torch"),
        (["torch", "onnxruntime"], ("cuda",), "cpu", "torch"),
        (["torch", "onnxruntime"], ("cuda",), "cuda:0", "torch"),
        (["torch", "onnxruntime"], ("mps",), "mps", "torch"),
        (["torch", "onnxruntime"], ("onnx:cuda",), "cuda", "onnxruntime"),
        (["torch", "onnxruntime"], ("mps", "onnx:coreml"), "coreml", "onnxruntime"),
        (["torch"], (), "cuda", "torch"),
        (["onnxruntime"], (), "auto", "onnxruntime"),
    ],
)
def test_auto_takes_torch_if_it_is_here_and_sees_the_wanted_gpu(
    monkeypatch, installed, gpus, device, expected
):
    pretend(monkeypatch, installed, gpus)
    assert backends.choose_backend("auto", device).NAME == expected


@pytest.mark.parametrize(
    "installed, wanted, message",
    [
        ([], "auto", r"no backend is installed; run pip install .*\[synthesize\]"),
        (["onnxruntime"], "torch", r"not installed; run pip install .*\[cine\]"),
        (["torch"], "onnxruntime", r"not installed; run pip install .*\[synthesize\]"),
        (["torch"], "tensorrt", "unknown; use auto, torch or onnxruntime"),
    ],
)
def test_a_backend_that_is_not_here_is_refused_with_the_remedy(
    monkeypatch, installed, wanted, message
):
    pretend(monkeypatch, installed, ())
    with pytest.raises(RequestError, match=message):
        backends.choose_backend(wanted)


def refusal(backend, device: str) -> str:
    with pytest.raises(RequestError) as caught:
        backend.choose_device(device)
    return str(caught.value)


@pytest.mark.parametrize(
    "built, seen, message",
    [
        (False, False, "installed here has no CUDA; install a build that has it"),
        (True, False, "installed here has CUDA, but finds no NVIDIA GPU or driver"),
        (True, True, "PyTorch sees 2 CUDA devices on this machine, from cuda:0"),
    ],
)
def test_pytorch_says_what_cuda_lacks(monkeypatch, built, seen, message):
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: built)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: seen)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "pretended")
    assert message in refusal(torch_backend, "cuda:7")


def test_onnx_runtime_says_what_cuda_lacks(monkeypatch):
    cpu, cuda = "CPUExecutionProvider", "CUDAExecutionProvider"
    monkeypatch.setattr(onnx_backend, "available_devices", lambda: {"cpu": cpu})
    for offered, message in (
        ([cpu], f"has no {cuda}, which onnxruntime-gpu in its place has"),
        ([cuda, cpu], f"has the {cuda}, but it finds no GPU, driver or library"),
    ):
        monkeypatch.setattr(
            onnx_backend.onnxruntime, "get_available_providers", lambda here=offered: here
        )
        said = refusal(onnx_backend, "cuda")
        assert message in said and "PyTorch" not in said
    assert "installed here has no such device" in refusal(onnx_backend, "mps")


def test_where_no_backend_has_the_device_each_is_blamed_for_its_own(monkeypatch):
    pretend(monkeypatch, ["torch", "onnxruntime"], ())
    with pytest.raises(RequestError) as caught:
        backends.choose_backend("auto", "cuda")
    said = str(caught.value)
    assert "the PyTorch" in said and "the ONNX Runtime" in said and "--device auto" in said


# --- without torch -----------------------------------------------------------------------------

WITHOUT = """
import sys
for name in {blocked}:
    sys.modules[name] = None  # importing it fails, as if it were not installed
from MambaSynthLib.cli import main
sys.exit(main({arguments}))
"""


def run_without(blocked: list[str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = WITHOUT.format(blocked=blocked, arguments=[str(argument) for argument in arguments])
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=REPOSITORY, timeout=120
    )


@pytest.fixture
def head_file(tmp_path: Path) -> Path:
    nibabel = pytest.importorskip("nibabel")
    array = np.zeros((12, 14, 10), np.float32)
    array[2:10, 2:12, 2:8] = np.random.default_rng(0).uniform(200, 500, (8, 10, 6))
    affine = np.diag([2.0, 2, 3, 1])
    nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / "head.nii.gz")
    return tmp_path / "head.nii.gz"


def test_synthesize_needs_neither_torch_nor_what_only_pictures_need(tmp_path, head_file):
    package = make_package(tmp_path / "p", SIZES)
    out = tmp_path / "out.nii.gz"
    blocked = ["torch", "scipy", "skimage", "matplotlib", "SimpleITK"]
    done = run_without(
        blocked, "synthesize", head_file, "--to", "T2w", "--model", package.folder, "-o", out,
        "--json", "--force",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert out.is_file()
    provenance = json.loads(done.stdout)["provenance"]
    assert (provenance["Backend"], provenance["Device"]) == ("onnxruntime", "cpu")


def test_models_verify_and_info_work_without_torch(tmp_path):
    package = make_package(tmp_path / "p", SIZES)
    verified = run_without(["torch"], "models", "verify", package.folder)
    assert verified.returncode == 0 and "sound" in verified.stdout, verified.stderr
    info = json.loads(run_without(["torch"], "info", "--json").stdout)
    assert info["devices"]["cpu"] == "onnxruntime: CPUExecutionProvider"
    assert info["scan"] == {"cpu": "ONNX's Scan operator"}


def test_a_report_without_matplotlib_is_refused_before_computing(tmp_path, head_file):
    package = make_package(tmp_path / "p", SIZES)
    out = tmp_path / "out.nii.gz"
    done = run_without(
        ["matplotlib"], "synthesize", head_file, "--to", "T2w", "--model", package.folder, "-o",
        out, "--report", tmp_path / "report.png",
    )  # fmt: skip
    assert done.returncode == 2
    assert "--report needs matplotlib; run pip install" in done.stderr and "[report]" in done.stderr
    assert not out.exists()


def test_both_backends_give_the_same_volume_from_the_command_line(tmp_path, head_file):
    import nibabel

    from MambaSynthLib.cli import main

    package = make_package(tmp_path / "p", SIZES)
    arrays = []
    for name in backends.FILES:
        out = tmp_path / f"{name}.nii.gz"
        arguments = ["synthesize", head_file, "--to", "T2w", "--model", package.folder, "-o", out,
                     "--backend", name, "--device", "cpu", "--force"]  # fmt: skip
        assert main([str(argument) for argument in arguments]) == 0
        arrays.append(nibabel.load(out).get_fdata())
    assert np.ptp(arrays[0]) > 10
    np.testing.assert_allclose(*arrays, atol=0.1)  # of a range of 1000


def test_the_environment_says_what_auto_is_and_a_wish_still_counts(monkeypatch):
    """3D Slicer's module has the child leave alone a PyTorch that does not fit."""
    choose = backends.choose_backend
    monkeypatch.setenv("MAMBASYNTH_BACKEND", "onnxruntime")
    assert choose().NAME == choose("auto", "cpu").NAME == "onnxruntime"
    assert list(choose().describe_devices().values())[-1] == "CPU, ONNX Runtime"
    assert choose("torch").NAME == "torch"
    monkeypatch.setenv("MAMBASYNTH_BACKEND", "abacus")
    with pytest.raises(RequestError, match="backend abacus: is unknown"):
        choose()
