"""Weights -> Network on PyTorch: CUDA, Apple's MPS, or CPU."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from MambaSynthLib.backends import Network
from MambaSynthLib.backends.keys import check_keys
from MambaSynthLib.errors import ModelError, RequestError
from MambaSynthLib.methods import METHODS
from MambaSynthLib.package import ModelPackage, Weights

NAME = "torch"
LARGEST_CHECKPOINT = 4 * 1024**3  # bytes


def available_devices() -> dict[str, str]:
    """Device name -> what it is, the fastest first."""
    devices = {}
    if torch.cuda.is_available():
        devices["cuda"] = torch.cuda.get_device_name()
    if torch.backends.mps.is_available():
        devices["mps"] = "Apple GPU"
    devices["cpu"] = f"{torch.get_num_threads()} threads"
    return devices


def choose_device(wanted: str = "auto") -> str:
    """The device to run on. Raises RequestError when the wanted one is not here."""
    devices = available_devices()
    if wanted == "auto":
        return next(iter(devices))
    if wanted.partition(":")[0] not in devices or not _exists(wanted):
        raise RequestError(
            f"device {wanted}: is not available on this machine; available: "
            f"{', '.join(devices)}. Use --device auto."
        )
    return wanted


def _exists(name: str) -> bool:
    """Whether a name such as ``cuda:1`` is one of the devices of its kind."""
    kind, _, index = name.partition(":")
    count = torch.cuda.device_count() if kind == "cuda" else 1
    return not index or (index.isdigit() and int(index) < count)


def default_batch(device: str) -> int:
    """Slices per network call: a CPU's caches prefer one, a GPU wants to be filled."""
    return 1 if device == "cpu" else 8


def load_network(package: ModelPackage, device: str) -> Network:
    """The package's network on ``device``: images (B,C,H,W) float32 -> (B,C',H,W) float32.

    Raises
    ------
    ModelError: the weights do not belong to the network that the card describes; names the first
        key that is missing, left over or of another shape.
    """
    spec = METHODS[package.card.method]
    network: torch.nn.Module = importlib.import_module(f"{spec.folder}.network").build(
        package.card.network
    )
    weights = package.read_weights()
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    check_keys(shapes, weights, package.folder)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    network.eval().requires_grad_(False).to(device)

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            result = network(torch.from_numpy(images).to(device))
        array: NDArray[np.float32] = result.float().cpu().numpy()
        return array

    return run


def read_checkpoint(path: Path) -> Weights:
    """The arrays of a PyTorch state dict, read without executing anything in it.

    Raises
    ------
    ModelError: the file is missing, or holds anything but tensors by name.
    """
    try:
        if path.stat().st_size > LARGEST_CHECKPOINT:
            raise ModelError(
                f"{path}: is larger than {LARGEST_CHECKPOINT} bytes; not a checkpoint."
            )
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); check the path.") from error
    except ModelError:
        raise
    except Exception as error:  # a damaged or hostile pickle fails in many ways
        raise ModelError(
            f"{path}: is no plain PyTorch checkpoint ({type(error).__name__}); export the state "
            "dict with torch.save(network.state_dict(), ...)."
        ) from error
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in content.items()
    ):
        raise ModelError(f"{path}: is no state dict (names and tensors only); export one first.")
    return {name: value.numpy() for name, value in content.items()}
