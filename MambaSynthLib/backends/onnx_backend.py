"""Weights -> Network on ONNX Runtime: CPU everywhere, CUDA and CoreML where its build has them.

The graph is built in memory from the sizes in the model card (``methods/<paper>/graph.py``), and
the values of the one weights file are handed to the session beside it: nothing is exported, cached
or shipped twice, and PyTorch is not needed.
"""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import count
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from MambaSynthLib.backends import Compute, Network, PlacedNetwork
from MambaSynthLib.backends.checks import COUNTER, check_keys, telling_memory
from MambaSynthLib.errors import RequestError
from MambaSynthLib.installation import how_to_install, version_of
from MambaSynthLib.layers.onnx_graph import Graph
from MambaSynthLib.methods import METHODS
from MambaSynthLib.model.package import ModelPackage, Weights, place_of
from MambaSynthLib.provenance import Place

LOG = logging.getLogger(__name__)
NAME = "onnxruntime"
CPU = "CPUExecutionProvider"
PROVIDERS = {"cuda": "CUDAExecutionProvider", "coreml": "CoreMLExecutionProvider", "cpu": CPU}
PRECISIONS = {"cuda": "tf32", "coreml": "CoreML's choice", "cpu": "fp32"}  # if none is asked for
PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml")  # share one folder
MOST_AT_ONCE = 16  # slices on the CPU, each with 30 to 150 MB of its own


@cache
def available_devices() -> dict[str, str]:
    """Device name -> its execution provider, the fastest first.

    A provider counts when a session really runs on it: that the package was built with CUDA does
    not mean that the driver and its libraries are here.
    """
    warn_of_two_packages()
    offered = onnxruntime.get_available_providers()
    return {
        device: provider
        for device, provider in PROVIDERS.items()
        if provider in offered and _runs_on(device)
    }


def describe_devices() -> dict[str, str]:
    """Device name -> a line for people."""
    titles = {"cuda": "NVIDIA GPU", "coreml": "Apple GPU, by CoreML", "cpu": "CPU"}
    return {device: f"{titles[device]}, ONNX Runtime" for device in available_devices()}


def _runs_on(device: str) -> bool:
    g = Graph("probe")
    probe = g.model(g.op("Relu", g.input("x", [1]))).SerializeToString()
    try:
        provider: str = _open_session(probe, {}, device).get_providers()[0]
    except Exception:  # ONNX Runtime has kinds of its own; whichever it is, the device is no use
        return False
    return provider == PROVIDERS[device.partition(":")[0]]


@cache
def gpu_count() -> int:
    """How many CUDA devices this process sees. ONNX Runtime has no such question: each is tried."""
    return next(index for index in count() if not _runs_on(f"cuda:{index}"))


def choose_device(wanted: str = "auto") -> str:
    """The device to run on: CUDA if it works, else the CPU; CoreML only on request.

    On CoreML the convolutions run there and the scan, which it lacks, on the CPU.

    Raises
    ------
    RequestError: the wanted one is not here.
    """
    devices = available_devices()
    if wanted == "auto":
        return "cuda" if "cuda" in devices else "cpu"
    kind, colon, index = wanted.partition(":")
    exists = index == "0" or (kind == "cuda" and index.isascii() and index.isdigit())
    if kind not in devices or (colon and not exists):
        raise RequestError(
            f"device {wanted}: {why_not(wanted)}; available: {', '.join(devices)}. Use --device "
            "auto."
        )
    return wanted if kind == "cuda" else kind


def why_not(wanted: str) -> str:
    """What is missing where ONNX Runtime cannot use a device: the provider, or what it needs."""
    kind = wanted.partition(":")[0]
    here = f"the ONNX Runtime {onnxruntime.__version__} installed here"
    if kind not in PROVIDERS:
        return f"{here} has no such device"
    if PROVIDERS[kind] not in onnxruntime.get_available_providers():
        other = ", which onnxruntime-gpu in its place has" if kind == "cuda" else ""
        return f"{here} has no {PROVIDERS[kind]}{other}"
    if kind in available_devices():
        return f"{here} finds no device of this number"
    return f"{here} has the {PROVIDERS[kind]}, but it finds no GPU, driver or library"


def default_batch(device: str) -> int:
    """Slices per network call: one for each processor, while a GPU wants to be filled."""
    return processors() if device == "cpu" else 8


def processors() -> int:
    """How many slices to compute at once on the CPU."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(here or 1, MOST_AT_ONCE)


def load_network(package: ModelPackage, device: str, precision: str = "auto") -> Network:
    """The package's network on ``device``: images (B,C,H,W) float32 -> (B,C',H,W) float32.

    Raises
    ------
    ModelError: the weights do not belong to the network that the card describes; names the first
        key that is missing, left over, of another shape or kind.
    RequestError: ONNX Runtime opened another device than the wanted one, cannot compute this
        method, or is asked for another precision than float32.
    """
    if precision not in ("auto", "fp32"):
        raise RequestError(f"precision {precision}: ONNX Runtime computes in fp32; use torch.")
    precision = PRECISIONS[device.partition(":")[0]] if precision == "auto" else precision
    warn_of_two_packages()
    graph = METHODS[package.card.method].part("graph")
    if graph is None:
        raise RequestError(
            f"{place_of(package.folder)}: the method {package.card.method} runs on PyTorch only; "
            f"{how_to_install('cine')} and use --backend torch."
        )
    plain: onnx.ModelProto = graph.build(package.card.network)
    weights = package.read_weights()
    counters = {name: array.shape for name, array in weights.items() if name.endswith(COUNTER)}
    check_keys(declared_weights(plain) | counters, weights, package.folder)
    # On GPUs the convolutions have fast algorithms of their own.
    model = graph.build(package.card.network, winograd=True) if device == "cpu" else plain
    needed = {name: weights[name].astype(np.float32) for name in declared_weights(model)}
    session = _open_session(model.SerializeToString(), needed, device, precision)
    provider = session.get_providers()[0]
    if provider != PROVIDERS[device.partition(":")[0]]:
        raise RequestError(
            f"device {device}: ONNX Runtime fell back to {provider}; use --device cpu, or install "
            "what its message above asks for."
        )

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with telling_memory(device, images.shape):
            result: NDArray[np.float32] = session.run(None, {"images": images})[0]
        return result

    compute = _each_slice_on_a_thread(run) if device == "cpu" else run
    return PlacedNetwork(compute, (Place(device, precision),))


def _each_slice_on_a_thread(run: Compute) -> Compute:
    """Slices side by side, one thread each.

    The scan is thousands of small steps. Threads that share one step mostly wait for each other,
    and burn twice the processor time doing so.
    """
    pool = ThreadPoolExecutor(processors())

    def run_all(images: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.concatenate(list(pool.map(run, np.split(images, len(images)))))

    return run_all


def declared_weights(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the weights whose values a graph takes from outside."""
    return {
        tensor.name: tuple(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    }


def _open_session(
    model: bytes, weights: Weights, device: str, precision: str = "auto"
) -> onnxruntime.InferenceSession:
    kind, _, index = device.partition(":")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; warnings are about which node runs where
    options.intra_op_num_threads = 1  # see _each_slice_on_a_thread
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
    options.add_external_initializers(list(weights), values)
    wanted = {"device_id": index} if index else {}
    if kind == "cuda" and precision == "fp32":
        wanted["use_tf32"] = "0"  # it is 1 by default
    providers: list[Any] = [(PROVIDERS[kind], wanted)]
    if kind != "cpu":
        providers.append(CPU)
    session = onnxruntime.InferenceSession(model, options, providers=providers)
    session.disable_fallback()  # a failing device must be an error, not a silent change
    return session


def warn_of_two_packages() -> None:
    """Two ONNX Runtime packages overwrite each other's files; which one wins is chance."""
    found = [name for name in PACKAGES if version_of(name)]
    if len(found) > 1:
        LOG.warning(
            "%s are installed together and overwrite each other; uninstall all of them, then "
            "install one.", " and ".join(found),
        )  # fmt: skip
