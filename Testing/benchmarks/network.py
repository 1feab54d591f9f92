"""CRAViM's generator: plain, prepared, compiled, in ONNX Runtime, and the floor of its products.

    python -m Testing.benchmarks.network [--rounds 5] [--threads 1] [--ngf 64] [--size 256 256]
        [--steps-apart] [--compile] [--others]

F1 is the time of as many float32 multiplications in matrix products of 1024 x 1024 as the network
has (103.9 GFLOP at full size), measured in the same run. With several threads, ``ours`` is what the
engine does on a CPU: as many slices at once, a thread each; its times are those of one slice.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import asdict, fields, replace
from functools import partial
from importlib.util import find_spec

import onnxruntime
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from MambaSynthLib.backends.onnx_backend import declared_weights
from MambaSynthLib.layers.selective_scan import selective_scan
from MambaSynthLib.methods.cravim import graph
from MambaSynthLib.methods.cravim.inference import CPU_STEPS, GPU_STEPS, prepare
from MambaSynthLib.methods.cravim.network import CRAViM, CRAViMConfig
from Testing.benchmarks.others import DiffusionUNet, resnet_generator
from Testing.benchmarks.race import Row, arguments, peak_memory, race, report
from Testing.benchmarks.scan import inputs_of

SIDE = 1024  # of the matrices that set the floor
ONE_SLICE = (
    "ours",
    "ONNX Runtime",
    "ONNX Runtime without winograd",
    "scans of ours",
)  # that a thread of the engine computes alone
Call = Callable[[Tensor], Tensor]


def flop_of(network: CRAViM, images: Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(images)
    return int(counter.get_total_flops())


def matrix_products(flop: int, device: str) -> Callable[[], object]:
    a = torch.randn(SIDE, SIDE, device=device)
    times = max(1, round(flop / (2 * SIDE**3)))

    def run() -> None:
        for _ in range(times):
            torch.mm(a, a)

    return run


def scans(images: Tensor, ngf: int) -> Callable[[], object]:
    """The selective scans of one call: two of four sequences."""
    tokens = images.shape[2] // 8 * (images.shape[3] // 8)
    inputs = inputs_of((4, tokens, 8 * ngf, 16), str(images.device))

    def run() -> None:
        with torch.inference_mode():
            for _ in range(2):
                selective_scan(*inputs)

    return run


def in_onnxruntime(network: CRAViM, winograd: bool = True) -> Call:
    """The generator in a session of one CPU thread, as the engine builds it with ``winograd``."""
    model = graph.build(asdict(network.config), winograd=winograd)
    weights = network.state_dict()
    values = {name: weights[name].numpy() for name in declared_weights(model)}
    tensors = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in values.values()]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_external_initializers(list(values), tensors)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def side_by_side(run: Callable[[], object], threads: int) -> Callable[[], object]:
    """``run`` in each thread at once, which starts no others."""
    if threads == 1:
        return run
    workers = ThreadPoolExecutor(threads, initializer=lambda: torch.set_num_threads(1))

    def run_all() -> None:
        for future in [workers.submit(run) for _ in range(threads)]:
            future.result()

    return run_all


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--ngf", type=int, default=64)
    parser.add_argument("--size", type=int, nargs=2, default=(256, 256))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps-apart", action="store_true", help="leave out one step at a time")
    parser.add_argument("--compile", action="store_true", help="also torch.compile, slow to start")
    parser.add_argument("--others", action="store_true", help="also other papers' networks")
    options = parser.parse_args()

    torch.manual_seed(0)
    network = CRAViM(CRAViMConfig(ngf=options.ngf)).eval().requires_grad_(False)
    images = torch.randn(options.batch, 2, *options.size)
    exact = deepcopy(network).double()(images.double())[:, -1:]
    network, images = network.to(options.device), images.to(options.device)
    networks = _networks(network, options)
    runs = {"F1": matrix_products(flop_of(network, images), options.device)}
    runs |= {name: partial(inference, call, images) for name, call in networks.items()}
    if options.others:
        runs |= {
            name: partial(inference, other.to(options.device).eval(), images)
            for name, other in _others().items()
        }
    runs["scans of ours"] = scans(images, options.ngf)
    workers = options.threads if options.device == "cpu" else 1
    together = [name for name in ONE_SLICE if name in runs]
    if workers > 1:
        runs["ours, all threads on one slice"] = runs["ours"]
        runs |= {name: side_by_side(runs[name], workers) for name in together}

    seconds = race(runs, options.rounds, options.threads, options.device)
    seconds |= {name: seconds[name] / workers for name in together}
    rows: list[Row] = []
    for name, value in seconds.items():
        call = networks.get(name)
        error = None if call is None else error_of(call, images, exact)
        memory = peak_memory(runs[name]) if options.device == "cpu" else None
        rows.append({"network": name, "ms": 1e3 * value, "times F1": value / seconds["F1"],
                     "times plain": value / seconds["plain"], "times ours": value / seconds["ours"],
                     "peak MB": memory, "max error": error})  # fmt: skip
    size = "x".join(map(str, options.size))
    report(f"network ngf {options.ngf} {size} threads {options.threads}", rows, options.out,
           "times F1")  # fmt: skip


def _networks(network: CRAViM, options: Namespace) -> dict[str, Call]:
    """The generator in the forms that were asked for."""
    steps = CPU_STEPS if options.device == "cpu" else GPU_STEPS
    networks: dict[str, Call] = {"plain": network, "ours": prepare(network)}
    if options.device == "cpu":
        networks["ONNX Runtime"] = in_onnxruntime(network)
    if options.device == "cpu" and options.steps_apart:
        networks["ONNX Runtime without winograd"] = in_onnxruntime(network, winograd=False)
    if options.steps_apart:
        for field in fields(steps):
            turned = replace(steps, **{field.name: not getattr(steps, field.name)})
            sign = "without" if getattr(steps, field.name) else "with"
            networks[f"ours {sign} {field.name}"] = prepare(network, turned)
    if options.compile:
        networks["torch.compile"] = torch.compile(network)
    return networks


def _others() -> dict[str, torch.nn.Module]:
    """Networks of other papers, named with their parameters."""
    networks = {"CycleGAN's ResNet generator": resnet_generator()}
    if find_spec("einops") is None:  # MONAI's attention needs it
        print("einops is not installed, the diffusion U-Net left out; pip install --no-deps einops")
    else:
        networks["U-Net of the size of NCSN++ (MONAI)"] = DiffusionUNet()
    sizes = {name: sum(p.numel() for p in n.parameters()) / 1e6 for name, n in networks.items()}
    return {f"{name}, {sizes[name]:.1f} M": network for name, network in networks.items()}


def inference(call: Call, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return call(images)


def error_of(call: Call, images: Tensor, exact: Tensor) -> float:
    """The largest difference of the target estimate from the float64 network."""
    return float((inference(call, images)[:, -1:].cpu() - exact).abs().max())


if __name__ == "__main__":
    main()
