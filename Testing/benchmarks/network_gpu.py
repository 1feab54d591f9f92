"""CRAViM's generator on a GPU: precisions and batches against the device's own ceilings.

    python -m Testing.benchmarks.network_gpu [--rounds 5] [--batches 1 8 32] [--ngf 64]
        [--size 256 256] [--profile]

Milliseconds per slice and step, FLOP/s against a matrix product of the same precision, and the
largest difference from the float64 network. ``--profile`` prints the kernels that take longest.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor

from MambaSynthLib.methods.cravim.inference import PRECISIONS, prepare
from MambaSynthLib.methods.cravim.network import CRAViM, CRAViMConfig
from Testing.benchmarks.gpu import REPEATS, ceilings, repeated, rows_of_ceilings
from Testing.benchmarks.network import error_of, flop_of, inference, scans
from Testing.benchmarks.race import Row, arguments, race, report


def rows_of(options, batch: int, ceiling: dict[str, float]) -> list[Row]:
    torch.manual_seed(0)
    network = CRAViM(CRAViMConfig(ngf=options.ngf)).eval().requires_grad_(False)
    images = torch.randn(batch, 2, *options.size)
    network, images = network.to(options.device), images.to(options.device)
    exact = deepcopy(network).double()(images[:1].double())[:, -1:].cpu()
    flop = flop_of(network, images)
    torch.backends.cudnn.allow_tf32 = False  # prepared networks decide for themselves

    calls: dict[str, Callable[[Tensor], Tensor]] = {"plain fp32": network}
    calls |= {f"ours {name}": prepare(network, precision=name) for name in PRECISIONS}
    if options.profile and batch == options.batches[-1]:
        for name in ("tf32", "fp16"):
            _print_profile(calls[f"ours {name}"], images)
    runs = {name: repeated(partial(inference, call, images)) for name, call in calls.items()}
    runs["scans of ours"] = repeated(scans(images, options.ngf))
    seconds = {k: v / REPEATS for k, v in race(runs, options.rounds, 1, options.device).items()}
    rows: list[Row] = []
    for name, value in seconds.items():
        call, kind = calls.get(name), name.rpartition(" ")[2]
        speed = None if call is None else flop / value
        rows.append({
            "network": name, "ms": 1e3 * value, "ms per slice": 1e3 * value / batch,
            "TFLOP/s": None if speed is None else speed / 1e12,
            "of the product": None if speed is None else speed / ceiling[kind],
            "max error": None if call is None else error_of(call, images[:1], exact),
        })  # fmt: skip
    return rows


def _print_profile(call: Callable[[Tensor], Tensor], images: Tensor) -> None:
    activities = [torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]
    inference(call, images)
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(3):
            inference(call, images)
        torch.cuda.synchronize()
    table = profile.key_averages()
    print(table.table(sort_by="self_cuda_time_total", row_limit=25, max_name_column_width=60))


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.set_defaults(device="cuda")
    parser.add_argument("--ngf", type=int, default=64)
    parser.add_argument("--size", type=int, nargs=2, default=(256, 256))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    measured = ceilings(options.rounds, options.device)
    report("ceilings", rows_of_ceilings(measured), options.out, "TFLOP/s")
    size = "x".join(map(str, options.size))
    for batch in options.batches:
        report(f"network on GPU ngf {options.ngf} {size} batch {batch}",
               rows_of(options, batch, measured), options.out, "ms per slice")  # fmt: skip


if __name__ == "__main__":
    main()
