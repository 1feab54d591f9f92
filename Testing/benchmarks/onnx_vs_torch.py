"""How fast is ONNX Runtime beside the PyTorch network, on the CPU?

    python Testing/benchmarks/onnx_vs_torch.py [--rounds 5] [--sizes compact full]

Interleaved rounds, one thread each, processor time of the process, medians. The floor is the time
of the same number of multiplications as one matrix product in PyTorch. Only the ratios carry over
to other machines. Needs both backends; the weights are random.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np
import onnxruntime
import torch

from MambaSynthLib.backends.onnx_backend import declared_weights
from MambaSynthLib.methods.cravim import graph
from MambaSynthLib.methods.cravim.inference import prepare
from MambaSynthLib.methods.cravim.network import CRAViM, CRAViMConfig

SIZES = {  # config, rows x columns
    "compact": (CRAViMConfig(ngf=16, n_blocks=5), (192, 160)),
    "full": (CRAViMConfig(), (256, 256)),
}
MATRIX = 1024  # rows of the floor's matrices
Call = Callable[[], object]


def onnx_call(network: CRAViM, images: np.ndarray, winograd: bool) -> Call:
    """One inference on ONNX Runtime with one thread."""
    model = graph.build(asdict(network.config), winograd=winograd)
    values = {name: network.state_dict()[name].numpy() for name in declared_weights(model)}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    tensors = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in values.values()]
    options.add_external_initializers(list(values), tensors)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"images": images})[0]


def prepared_call(network: CRAViM, images: torch.Tensor) -> Call:
    """One inference on PyTorch as the engine does it, with one thread."""
    prepared = prepare(network)

    def call() -> object:
        with torch.inference_mode():
            return prepared(images)

    return call


def flops(network: CRAViM, images: torch.Tensor) -> int:
    """Floating point operations of the convolutions and matrix products."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(images)
    return int(counter.get_total_flops())


def floor_call(count: int) -> Call:
    """As many operations as ``count``, in square matrix products."""
    a, b = torch.randn(2, MATRIX, MATRIX).unbind(0)
    products = count / (2 * MATRIX**3)
    whole, rest = int(products), round((products % 1) * MATRIX)

    def call() -> None:
        for _ in range(whole):
            torch.mm(a, b)
        torch.mm(a[:rest], b)

    return call


def measure(calls: dict[str, Call], rounds: int) -> dict[str, float]:
    """Median processor seconds of each call, taken in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            started = time.process_time()
            call()
            seconds[name].append(time.process_time() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def compare(title: str, rounds: int) -> list[str]:
    """The rows of one network size."""
    config, size = SIZES[title]
    torch.manual_seed(0)
    network = CRAViM(config).eval().requires_grad_(False)
    images = torch.randn(1, 2, *size)
    calls: dict[str, Call] = {
        "matrix products (floor)": floor_call(flops(network, images)),
        "torch, plain": lambda: network(images),
        "torch, as used": prepared_call(network, images),
        "onnxruntime, plain": onnx_call(network, images.numpy(), winograd=False),
        "onnxruntime, as used": onnx_call(network, images.numpy(), winograd=True),
    }
    seconds = measure(calls, rounds)
    floor, ours = seconds["matrix products (floor)"], seconds["torch, plain"]
    with torch.inference_mode():
        expected = network(images).numpy()
    rows = []
    for name, value in seconds.items():
        error = None
        if "floor" not in name and value is not ours:
            error = np.abs(np.asarray(calls[name]())[:, -1] - expected[:, -1]).max()
        cells = [title, name, f"{value * 1000:.0f}", f"{value / ours:.2f}", f"{value / floor:.2f}"]
        rows.append(f"| {' | '.join(cells)} | {'' if error is None else f'{error:.1e}'} |")
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    print("| size | engine | CPU ms | / torch, plain | / floor | largest difference to it |")
    print("|---|---|---|---|---|---|")
    for title in options.sizes:
        print("\n".join(compare(title, options.rounds)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
