"""The selective scan on a GPU: Triton, portable and mamba-ssm against the bandwidth of a copy.

    python -m Testing.benchmarks.scan_gpu [--rounds 5] [--device cuda] [--tune]

Milliseconds, bytes that must move at least (each input once read, each result once written) per
second, and both as a part of what a copy of this device reaches. ``--tune`` prints the time of the
Triton kernels for other chunk lengths, channels per program and pipeline depths.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from MambaSynthLib.layers.selective_scan import (
    backends_for,
    selective_scan,
    selective_scan_sequential,
)
from Testing.benchmarks.gpu import REPEATS, ceilings, repeated, rows_of_ceilings
from Testing.benchmarks.race import Row, arguments, race, report
from Testing.benchmarks.scan import forward_backward, inputs_of

SHAPES = {  # B images, K sequences, L tokens, D channels, N states
    "CRAViM, 1 slice": (1, 4, 1024, 512, 16),
    "CRAViM, 8 slices": (8, 4, 1024, 512, 16),
    "compact, 8 slices": (8, 4, 480, 128, 16),
    "MSTG, D 64": (1, 1, 65_536, 64, 16),
    "MSTG, D 16": (1, 1, 524_288, 16, 16),
}
CHECKED = 1024  # tokens on which each is compared with the sequential scan in float64
TUNED = {"tokens": (16, 32, 64, 128, 256, 1024), "BLOCK_D": (16, 32, 64), "STAGES": (1, 3)}


def drawn(shape: Sequence[int], device: str) -> list[Tensor]:
    """u, delta, A, B, C, D of ``shape`` (B,K,L,D,N)."""
    tensors = inputs_of(tuple(shape[1:]), device)
    once = {2, 5}  # A and D
    return [x if n in once else x.repeat(shape[0], 1, 1, 1) for n, x in enumerate(tensors)]


def bytes_moved(inputs: Sequence[Tensor], trained: bool) -> int:
    """Inputs once read and the result once written; trained also dy read and gradients written."""
    u, total = inputs[0], sum(x.numel() for x in inputs)
    return 4 * (2 * total + 3 * u.numel() if trained else total + u.numel())


def rows_of(shape: Sequence[int], rounds: int, device: str, copy: float) -> list[Row]:
    inputs = drawn(shape, device)
    rows: list[Row] = []
    for trained in (False, True):
        runs = {name: _run(name, inputs, trained) for name in backends_for(device)}
        seconds = {k: v / REPEATS for k, v in race(runs, rounds, 1, device).items()}
        for name, value in seconds.items():
            speed = bytes_moved(inputs, trained) / value
            rows.append({
                "scan": f"{name}{', forward + backward' if trained else ''}",
                "ms": 1e3 * value, "times triton": value / seconds.get("triton", value),
                "GB/s": speed / 1e9, "of the copy": speed / copy,
                "peak MB": _peak(_run(name, inputs, trained, times=1)),
                "relative error": None if trained else _error(name, shape, device),
            })  # fmt: skip
    return rows


def _run(
    name: str, inputs: Sequence[Tensor], trained: bool, times: int = REPEATS
) -> Callable[[], object]:
    scan = partial(selective_scan, backend=name)
    once = partial(forward_backward if trained else _inference, scan, *inputs)
    return repeated(once) if times > 1 else once


def _inference(scan: Callable[..., Tensor], *inputs: Tensor) -> None:
    with torch.inference_mode():
        scan(*inputs)


def _peak(run: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def _error(name: str, shape: Sequence[int], device: str) -> float:
    """The largest difference from the sequential scan in float64, by its largest value."""
    inputs = drawn((*shape[:2], min(shape[2], CHECKED), *shape[3:]), device)
    exact = selective_scan_sequential(*(x.double() for x in inputs))
    found = selective_scan(*inputs, backend=name)
    return float((found - exact).abs().max() / exact.abs().max())


def tune(shape: Sequence[int], rounds: int, device: str) -> list[Row]:
    """The Triton kernels with other sizes, fastest first."""
    from MambaSynthLib.layers import triton_scan  # the other backends need no Triton

    inputs, rows = drawn(shape, device), []
    for tokens, block, stages in itertools.product(*TUNED.values()):
        triton_scan.BLOCK_D, triton_scan.STAGES = block, stages
        scan = partial(triton_scan.selective_scan_triton, tokens=tokens)
        runs = {"forward": repeated(partial(_inference, scan, *inputs))}
        if tokens <= 128:
            runs["both"] = repeated(partial(forward_backward, scan, *inputs))
        seconds = race(runs, rounds, 1, device)
        row = {"tokens": f"{tokens}, BLOCK_D {block}, STAGES {stages}"}
        rows.append(row | {k: 1e3 * seconds[k] / REPEATS if k in seconds else None
                           for k in ("forward", "both")})  # fmt: skip
    return sorted(rows, key=lambda row: row["forward"])


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--tune", action="store_true")
    options = parser.parse_args()
    device = "cuda" if options.device == "cpu" else options.device
    measured = ceilings(options.rounds, device)
    report("ceilings", rows_of_ceilings(measured), options.out, "TFLOP/s")
    for name in options.shapes:
        if options.tune:
            rows = tune(SHAPES[name], 2, device)
            report(f"scan tuning {name}", rows[:12], options.out, "forward")
            continue
        rows = rows_of(SHAPES[name], options.rounds, device, measured["copy"])
        report(f"scan on GPU {name}", rows, options.out, "ms")


if __name__ == "__main__":
    main()
