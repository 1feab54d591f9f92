"""Weights -> Network on PyTorch: CUDA, Apple's MPS, or CPU."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from MambaSynthLib.backends import Compute, Network, PlacedNetwork
from MambaSynthLib.backends.checks import check_keys, telling_memory
from MambaSynthLib.backends.memory import FittingNetwork
from MambaSynthLib.errors import ModelError, RequestError
from MambaSynthLib.io.payload import shown
from MambaSynthLib.methods import METHODS
from MambaSynthLib.model.package import ModelPackage, Weights
from MambaSynthLib.provenance import Place

NAME = "torch"
PRECISIONS = ("auto", "fp32", "tf32", "fp16", "bf16")
LARGEST_CHECKPOINT = 4 * 1024**3  # bytes
GPU_PRECISION = "tf32"  # of the convolutions on CUDA, see Testing/benchmarks/precision.py
MOST_AT_ONCE = 32  # slices on a GPU; more are no faster
SLICE_MEMORY = 256 * 1024**2  # bytes, of a large slice of the largest network


def available_devices() -> dict[str, str]:
    """Device name -> what it is, the fastest first."""
    devices = {}
    if torch.cuda.is_available():
        devices["cuda"] = torch.cuda.get_device_name()
    if torch.backends.mps.is_available():
        devices["mps"] = "Apple GPU"
    devices["cpu"] = f"{torch.get_num_threads()} threads"
    return devices


def describe_devices() -> dict[str, str]:
    """Device name -> a line for people: every GPU by name with its free memory, then the CPU."""
    lines = {}
    for index in range(gpu_count()):
        free, total = (size / 1024**3 for size in torch.cuda.mem_get_info(index))
        name = torch.cuda.get_device_name(index)
        lines[f"cuda:{index}"] = f"{name}, {free:.1f} of {total:.1f} GB free"
    if torch.backends.mps.is_available():
        lines["mps"] = "Apple GPU"
    lines["cpu"] = f"CPU, {torch.get_num_threads()} threads"
    return lines


def choose_device(wanted: str = "auto") -> str:
    """The device to run on. Raises RequestError when the wanted one is not here."""
    devices = available_devices()
    if wanted == "auto":
        return next(iter(devices))
    if wanted.partition(":")[0] not in devices or not _exists(wanted):
        raise RequestError(
            f"device {wanted}: {why_not(wanted)}; available: {', '.join(devices)}. Use --device "
            "auto."
        )
    return wanted


def why_not(wanted: str) -> str:
    """What is missing where PyTorch does not see a device: its build, the driver or the device."""
    kind = wanted.partition(":")[0]
    here = f"the PyTorch {torch.__version__} installed here"
    if kind == "cuda" and torch.cuda.is_available():
        return f"PyTorch sees {torch.cuda.device_count()} CUDA devices on this machine, from cuda:0"
    if kind == "cuda" and not torch.backends.cuda.is_built():
        return f"{here} has no CUDA; install a build that has it, see pytorch.org"
    if kind == "cuda":
        return f"{here} has CUDA, but finds no NVIDIA GPU or driver"
    if kind == "mps" and torch.backends.mps.is_built():
        return f"{here} has MPS, but finds no Apple GPU"
    return f"{here} has no such device"


def _exists(name: str) -> bool:
    """Whether a name such as ``cuda:1`` is one of the devices of its kind."""
    kind, colon, index = name.partition(":")
    count = gpu_count() if kind == "cuda" else 1
    return not colon or index in map(str, range(count))


def gpu_count() -> int:
    """How many CUDA devices this process sees; CUDA_VISIBLE_DEVICES hides others."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def default_batch(device: str) -> int:
    """Slices per network call: one for each thread of a CPU; what fits the free memory of a GPU."""
    if device == "cpu":
        return torch.get_num_threads()
    if not device.startswith("cuda"):
        return 8
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(MOST_AT_ONCE, free // SLICE_MEMORY))


def load_network(package: ModelPackage, device: str, precision: str = "auto") -> Any:
    """The package's network on ``device``: images (B,C,H,W) float32 -> (B,C',H,W) float32.

    The target estimate is the last of the C' channels; the others may be left out. ``precision``
    of the convolutions is fp32, tf32, fp16 or bf16; ``auto`` is fp32, on CUDA ``GPU_PRECISION``.
    Where a GPU's memory ends, the images are taken in smaller batches, at last on the CPU.
    A method whose ``inference.py`` has a ``TorchNetwork`` gives that instead.

    Raises
    ------
    ModelError: the weights do not belong to the network that the card describes; names the first
        key that is missing, left over, of another shape or kind.
    RequestError: an unknown precision.
    """
    network = _trained(package)
    inference = METHODS[package.card.method].part("inference")
    if precision not in PRECISIONS:
        raise RequestError(f"precision {precision}: is unknown; use {', '.join(PRECISIONS)}.")
    if precision == "auto":
        precision = GPU_PRECISION if device.startswith("cuda") else "fp32"
    if hasattr(inference, "TorchNetwork"):
        guard = partial(telling_memory, device, remedy="another --device, or a coarser grid")
        return inference.TorchNetwork(network, device, guard)
    run = _runner(network, inference, device, precision)
    places = (Place(device, _precision_used(precision, device, inference)),)
    if device == "cpu":
        return PlacedNetwork(_one_thread_per_slice(run), places)

    def on_cpu() -> Network:
        network: Network = load_network(package, "cpu")
        return network

    return FittingNetwork(PlacedNetwork(run, places), on_cpu, torch.cuda.empty_cache)


def _precision_used(wanted: str, device: str, inference: Any) -> str:
    """What products are computed in. Only CUDA knows TF32; and without an ``inference.py`` a
    network is left to PyTorch's own setting of it.
    """
    if inference is None:
        wanted = "tf32" if torch.backends.cudnn.allow_tf32 else "fp32"
    return "fp32" if wanted == "tf32" and not device.startswith("cuda") else wanted


def _trained(package: ModelPackage) -> torch.nn.Module:
    """The method's network with the package's weights, for inference."""
    weights = package.read_weights()
    method = METHODS[package.card.method]
    network: torch.nn.Module = method.part("network").build(package.card.network)
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    check_keys(shapes, weights, package.folder)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    return network.eval().requires_grad_(False)


def _runner(network: torch.nn.Module, inference: Any, device: str, precision: str) -> Compute:
    """What the method's ``inference.py``, if any, makes of the network, from arrays to arrays."""
    placed = network.to(device)
    prepared = inference.prepare(placed, precision=precision) if inference else placed

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            result = prepared(torch.from_numpy(images).to(device))
            array: NDArray[np.float32] = result.float().cpu().numpy()
        return array

    return run


def _one_thread_per_slice(run: Compute) -> Compute:
    """The slices of a call side by side, each in a thread of its own that starts no others.

    That takes less time than all threads on one slice after the other, and no bit of a result
    depends on how many slices there are or how many threads.
    """
    workers = ThreadPoolExecutor(torch.get_num_threads(), "slice", initializer=_compute_alone)

    def run_all(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with telling_memory("cpu", images.shape):
            return np.concatenate(list(workers.map(run, images[:, None])))

    return run_all


def _compute_alone() -> None:
    """Settings of the calling thread; those of the program stay."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # numbers below 1e-38 are zero here, and slow elsewhere


def read_checkpoint(path: Path) -> Weights:
    """The arrays of a PyTorch state dict, read without executing anything in it.

    Raises
    ------
    ModelError: the file is missing, or holds anything but tensors by name.
    """
    name = shown(path)
    try:
        size = path.stat().st_size
        if not path.is_file() or size > LARGEST_CHECKPOINT:
            raise ModelError(
                f"{name}: is no file of at most {LARGEST_CHECKPOINT} bytes; not a checkpoint."
            )
        with warnings.catch_warnings(action="ignore"):  # one sentence is said about a bad file
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"{name}: cannot be read ({error.strerror}); check the path.") from error
    except ModelError:
        raise
    except Exception as error:  # a damaged or hostile pickle fails in many ways
        raise ModelError(
            f"{name}: is no plain PyTorch checkpoint ({type(error).__name__}); export the state "
            "dict with torch.save(network.state_dict(), ...)."
        ) from error
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items()
    ):
        raise ModelError(f"{name}: is no state dict (names and tensors only); export one first.")
    sizes = [value.numel() * value.element_size() for value in content.values()]
    if sum(sizes) > size or 0 in sizes:  # views can claim any shape
        raise ModelError(f"{name}: its tensors are empty or larger than the file; no checkpoint.")
    try:
        return {key: value.detach().numpy() for key, value in content.items()}
    except (TypeError, RuntimeError) as error:
        raise ModelError(
            f"{name}: holds tensors that NumPy does not know ({error}); export the state dict as "
            "float32 first."
        ) from error
