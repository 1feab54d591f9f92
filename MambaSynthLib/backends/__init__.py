"""The runtimes that can compute a network. Each is one file, imported only when it is chosen.

``auto`` takes PyTorch where it is installed, being the faster of the two
(``Testing/benchmarks/network.py``), unless only ONNX Runtime can serve the GPU that is asked
for; and ONNX Runtime, which is much smaller, otherwise. Both read the same weights file and agree
to rounding.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import RequestError
from MambaSynthLib.installation import how_to_install
from MambaSynthLib.provenance import Place

if TYPE_CHECKING:
    from MambaSynthLib.model.package import ModelPackage

Compute = Callable[[NDArray[np.float32]], NDArray[np.float32]]
GPUS = ("cuda", "mps", "coreml")
FILES = {"torch": "torch_backend", "onnxruntime": "onnx_backend"}
NEEDS = {"torch": ("torch",), "onnxruntime": ("onnxruntime", "onnx")}
PREFERRED = "MAMBASYNTH_BACKEND"  # environment variable: what ``auto`` means
EXTRAS = {"torch": "cine", "onnxruntime": "synthesize"}


class Network(Protocol):
    """Images (B,C,H,W) -> (B,C',H,W), float32, that says where it computes them."""

    @property
    def places(self) -> tuple[Place, ...]:
        """Where the latest call was computed; before the first one, where it will be."""

    def __call__(self, images: NDArray[np.float32], /) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class PlacedNetwork:
    """A ``Network`` that computes in one place."""

    compute: Compute
    places: tuple[Place, ...]

    def __call__(self, images: NDArray[np.float32], /) -> NDArray[np.float32]:
        return self.compute(images)


class Backend(Protocol):
    """What a backend file provides."""

    NAME: str

    def available_devices(self) -> dict[str, str]:
        """Device name -> what it is, the fastest first."""

    def choose_device(self, wanted: str = "auto") -> str:
        """The device to run on. Raises RequestError when the wanted one is not here."""

    def describe_devices(self) -> dict[str, str]:
        """Device name -> a line for people."""

    def why_not(self, wanted: str) -> str:
        """What is missing here for a device that cannot be chosen."""

    def gpu_count(self) -> int:
        """How many CUDA devices this process sees."""

    def default_batch(self, device: str) -> int:
        """Slices per network call."""

    def load_network(self, package: ModelPackage, device: str, precision: str = "auto") -> Network:
        """Images (B,C,H,W) float32 -> (B,C',H,W) float32. Raises ModelError, RequestError."""


def installed_backends() -> list[str]:
    """The names of the backends whose packages are here; nothing is imported to find out."""
    return [name for name in FILES if _is_installed(name)]


def _is_installed(name: str) -> bool:
    return all(find_spec(package) is not None for package in NEEDS[name])


def load_backend(name: str) -> Backend:
    """The backend of that name. Raises RequestError when it is unknown or not installed."""
    if name not in FILES:
        raise RequestError(f"backend {name}: is unknown; use auto, {' or '.join(FILES)}.")
    if not _is_installed(name):
        raise RequestError(
            f"backend {name}: is not installed; {how_to_install(EXTRAS[name])}, or use --backend "
            "auto."
        )
    return cast(Backend, importlib.import_module(f"{__name__}.{FILES[name]}"))


def choose_backend(wanted: str = "auto", device: str = "auto") -> Backend:
    """The backend to use for ``device``; see the rule for ``auto`` above.

    Raises
    ------
    RequestError: the wanted one is unknown or not installed, none is installed, or none of several
        has the device.
    """
    if wanted == "auto":
        wanted = os.environ.get(PREFERRED) or "auto"
    if wanted != "auto":
        return load_backend(wanted)
    installed = installed_backends()
    if not installed:
        raise RequestError(
            f"no backend is installed; {how_to_install('synthesize')}, or with [cine] instead for "
            "hearts and GPUs."
        )
    kind = device.partition(":")[0]
    if kind not in GPUS or len(installed) == 1:
        return load_backend(installed[0])  # torch, the slow one to import, only if it comes first
    asked = []
    for name in installed:
        backend = load_backend(name)
        if kind in backend.available_devices():
            return backend
        asked.append(backend)
    reasons = "; ".join(backend.why_not(device) for backend in asked)
    raise RequestError(f"device {device}: {reasons}. Use --device auto.")
