"""The runtimes that can compute a network. Each is one file, imported only when it is chosen.

``auto`` takes PyTorch where it is installed, being the faster of the two
(``Testing/benchmarks/network.py``), unless only ONNX Runtime can serve the GPU that is asked
for; and ONNX Runtime, which is much smaller, otherwise. Both read the same weights file and agree
to rounding.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import RequestError
from MambaSynthLib.provenance import Place

if TYPE_CHECKING:
    from MambaSynthLib.model.package import ModelPackage

Compute = Callable[[NDArray[np.float32]], NDArray[np.float32]]
GPUS = ("cuda", "mps", "coreml")
FILES = {"torch": "torch_backend", "onnxruntime": "onnx_backend"}
NEEDS = {"torch": ("torch",), "onnxruntime": ("onnxruntime", "onnx")}
EXTRAS = {"torch": "torch", "onnxruntime": "onnx"}


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
            f"backend {name}: is not installed; run pip install 'mambasynth[{EXTRAS[name]}]', or "
            "use --backend auto."
        )
    return cast(Backend, importlib.import_module(f"{__name__}.{FILES[name]}"))


def choose_backend(wanted: str = "auto", device: str = "auto") -> Backend:
    """The backend to use for ``device``; see the rule for ``auto`` above.

    Raises
    ------
    RequestError: the wanted one is unknown or not installed, or none is installed.
    """
    if wanted != "auto":
        return load_backend(wanted)
    installed = installed_backends()
    if not installed:
        raise RequestError(
            "no backend is installed; run pip install 'mambasynth[onnx]', or 'mambasynth[torch]' "
            "for GPUs and training."
        )
    if len(installed) > 1 and not _torch_has(device):
        return load_backend("onnxruntime")
    return load_backend(installed[0])


def _torch_has(wanted: str) -> bool:
    """Whether PyTorch sees the wanted device; it is imported only if a GPU is named."""
    kind = wanted.partition(":")[0]
    return kind not in GPUS or kind in load_backend("torch").available_devices()
