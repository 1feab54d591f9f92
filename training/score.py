"""Score a training run on a person it was not trained on, with the library's own engine.

    python -m training.score RUN --pair T1.nii.gz T2.nii.gz --data "patient 19" --out SCORES.json \\
        [--settings 1x1 2x1 4x1 1x4] [--seeds 0 1 2 3 4]

Every setting (steps x samples) is run with every seed; a row holds the mean over the seeds, and
the standard deviation of SSIM over them. The trivial baselines come first.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from MambaSynthLib.engine import Engine
from MambaSynthLib.errors import MambaSynthError
from MambaSynthLib.evaluation import Row, evaluate
from MambaSynthLib.io.files import read_volume
from MambaSynthLib.volume import Volume
from training.export import draft

MEASURES = ("ssim", "psnr", "nmi", "mse")


def score(
    engine: Engine,
    source: Volume,
    reference: Volume,
    settings: Sequence[tuple[int, int]],
    seeds: Sequence[int],
) -> list[dict[str, Any]]:
    """Rows of the table: two trivial baselines, then one row for each (steps, samples)."""
    rows: list[dict[str, Any]] = []
    for steps, samples in settings:
        found: list[dict[str, float]] = []
        for seed in seeds:
            synthesis = engine.synthesize(
                {"T1w": source}, steps=steps, samples=samples, seed=seed
            ).volumes["T2w"]
            synthetic, *baselines = evaluate(synthesis, reference, source=source).rows
            found.append(_measures(synthetic))
            print(f"{steps} x {samples}, seed {seed}: {found[-1]}", file=sys.stderr)
        if not rows:
            rows = [{"name": row.name, **_measures(row)} for row in baselines]
        mean = {name: float(np.mean([one[name] for one in found])) for name in MEASURES}
        spread = float(np.std([one["ssim"] for one in found]))
        label = f"synthetic, {steps} step{'s' * (steps > 1)} x {samples} draw{'s' * (samples > 1)}"
        rows.append({"name": label, **mean, "ssim_std_over_seeds": spread, "seeds": list(seeds)})
    return rows


def _measures(row: Row) -> dict[str, float]:
    """The means over slices, by the paper's protocol (see ``MambaSynthLib.metrics``)."""
    return {name: getattr(row, name) for name in MEASURES}


def setting(text: str) -> tuple[int, int]:
    """'4x1' -> (4, 1)."""
    steps, _, samples = text.partition("x")
    return int(steps), int(samples)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.score", description=__doc__)
    add = parser.add_argument
    add("run", type=Path, metavar="RUN")
    add("--pair", nargs=2, type=Path, required=True, metavar=("SOURCE", "TARGET"))
    add("--data", required=True, help="what the person is called in the card")
    add("--out", type=Path, required=True)
    add("--settings", nargs="+", type=setting, default=[(1, 1), (2, 1), (4, 1), (1, 4)])
    add("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as folder:
            engine = Engine(draft(options.run, Path(folder) / "draft"))
            rows = score(
                engine,
                read_volume(options.pair[0]),
                read_volume(options.pair[1]),
                options.settings,
                options.seeds,
            )
    except MambaSynthError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    command = f"python -m training.score RUN --pair T1w T2w --data '{options.data}' --out FILE"
    record = {"data": options.data, "command": command, "rows": rows}
    options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
