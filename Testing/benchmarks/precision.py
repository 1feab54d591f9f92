"""The shipped model on a head in each precision: time, difference from float32, effect on SSIM.

    python -m Testing.benchmarks.precision [--device cuda] [--steps 1 4]

The head is the computed one of the demo; SSIM is against its T2w volume, known exactly.
"""

from __future__ import annotations

import time

import numpy as np

from MambaSynthLib.engine import Engine
from MambaSynthLib.methods.cravim.inference import PRECISIONS
from MambaSynthLib.model.package import read_package, shipped_models
from MambaSynthLib.phantom.template import template_head
from MambaSynthLib.report.evaluation import evaluate
from Testing.benchmarks.race import Row, arguments, report

MODEL = "cravim-t1w-t2w-compact"


def rows_of(device: str, steps: int, rounds: int) -> list[Row]:
    head = template_head()
    source, reference = head["T1w"], head["T2w"]
    package = read_package(shipped_models() / MODEL)
    exact = Engine(package, "cpu").synthesize({"T1w": source}, steps=steps).volumes["T2w"]
    high, rows = float(exact.array.max()), []
    for precision in PRECISIONS:
        engine, seconds = Engine(package, device, precision=precision), []
        for _ in range(rounds + 1):
            start = time.perf_counter()
            found = engine.synthesize({"T1w": source}, steps=steps).volumes["T2w"]
            seconds.append(time.perf_counter() - start)
        difference = np.abs(found.array - exact.array) / high
        scores = evaluate(found, reference).rows[0]
        rows.append({
            "precision": precision, "s per volume": float(np.median(seconds[1:])),
            "largest difference": float(difference.max()), "mean": float(difference.mean()),
            "SSIM": f"{scores.ssim:.5f}", "PSNR": f"{scores.psnr:.3f}",
        })  # fmt: skip
    return rows


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.set_defaults(device="cuda", rounds=3)
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 4])
    options = parser.parse_args()
    for steps in options.steps:
        rows = rows_of(options.device, steps, options.rounds)
        report(f"precision on {options.device} steps {steps}", rows, options.out, "s per volume")


if __name__ == "__main__":
    main()
