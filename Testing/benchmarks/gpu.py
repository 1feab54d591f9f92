"""What a GPU could do at most, measured in the same run as what it is compared with."""

from __future__ import annotations

from collections.abc import Callable

import torch

from Testing.benchmarks.race import Row, race

SIDE = 8192  # of the matrices; a large GPU needs them to be busy
COPIED = 1 << 28  # values, 1 GB, more than any cache holds
REPEATS = 10  # runs per measurement, so that waiting for the last one does not count


def ceilings(rounds: int, device: str) -> dict[str, float]:
    """'copy': bytes per second, read and written; 'fp32', 'tf32', 'bf16', 'fp16': FLOP/s."""
    source = torch.ones(COPIED, device=device)
    target = torch.empty_like(source)
    runs: dict[str, Callable[[], object]] = {"copy": lambda: target.copy_(source)}
    for name in ("fp32", "tf32", "bf16", "fp16"):
        kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(name, torch.float32)
        matrix = torch.randn(SIDE, SIDE, device=device, dtype=kind)
        runs[name] = _product(matrix, tf32=name == "tf32")
    seconds = race(runs, rounds, 1, device)
    work = {name: 2 * SIDE**3 for name in runs} | {"copy": 2 * 4 * COPIED}
    return {name: work[name] / value for name, value in seconds.items()}


def _product(matrix: torch.Tensor, tf32: bool) -> Callable[[], object]:
    out = torch.empty_like(matrix)

    def run() -> None:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.mm(matrix, matrix, out=out)
        torch.backends.cuda.matmul.allow_tf32 = False

    return run


def rows_of_ceilings(measured: dict[str, float]) -> list[Row]:
    """For ``race.report``."""
    rows: list[Row] = [{"ceiling": "device-to-device copy", "GB/s": measured["copy"] / 1e9,
                        "TFLOP/s": None}]  # fmt: skip
    for name, value in measured.items():
        if name != "copy":
            rows.append(
                {"ceiling": f"{name} matrix product", "GB/s": None, "TFLOP/s": value / 1e12}
            )
    return rows


def repeated(run: Callable[[], object]) -> Callable[[], object]:
    """``REPEATS`` runs one after the other, as a GPU is fed in practice."""

    def run_all() -> None:
        for _ in range(REPEATS):
            run()

    return run_all
