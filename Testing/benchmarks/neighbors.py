"""Neighboring slices as further inputs (2.5-D): what they gain, on a prepared data set.

    python -m Testing.benchmarks.neighbors --data out/tables/data [--seeds 1 2] [--iterations 240]
        [--batch 4] [--run 4] [--objective cycle|paired]

Trains small forms of the recipe ``cravim-plus`` which differ in nothing else: slices drawn one by
one, the same in runs of consecutive slices, and with one neighbor on either side. Scores are means
over the test subjects, then over the training seeds, whose spread is in parentheses. The flicker is
the mean |e[n+1] - e[n]| of the error e[n] = synthetic - acquired of slice n, where both slices show
tissue, in the network's units of -1..1; the error is the mean |e|. What was trained is kept. The
objective ``paired`` trains the one generator on registered pairs, which takes a tenth of the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from MambaSynthLib.image.grid import Reorientation
from MambaSynthLib.image.metrics import foreground
from MambaSynthLib.image.preparation import scaling_of
from MambaSynthLib.image.volume import Volume
from MambaSynthTraining.data.prepared import PreparedData, open_prepared
from MambaSynthTraining.data.sources import prepared_data
from MambaSynthTraining.engine.fit import Hardware, fit
from MambaSynthTraining.evaluation.candidates import Candidate, Pair, open_candidate
from MambaSynthTraining.evaluation.scoring import score
from MambaSynthTraining.recipe import Recipe
from MambaSynthTraining.recipe_file import read_recipe
from Testing.benchmarks.race import Row, arguments, report

RECIPE = Path(__file__).parents[2] / "training/recipes/table1/cravim-plus.yaml"
MEASURES = {"ssim": "SSIM", "psnr": "PSNR", "nmi": "NMI", "error": "error", "flicker": "flicker"}


def twins(options: Any, seed: int) -> Iterator[tuple[str, Recipe]]:
    """(name, recipe) of all that are compared."""
    plus = read_recipe(RECIPE, small=True)
    stage = replace(
        plus.stages[0],
        iterations=options.iterations,
        batch=options.batch,
        objective=options.objective,
        weights={"lambda_paired": 25.0} if options.objective == "paired" else {},
    )
    for name, run, neighbors in (
        ("slices one by one", 1, 0),
        (f"runs of {options.run}", options.run, 0),
        (f"runs of {options.run}, 1 neighbor", options.run, 1),
    ):
        network = {**plus.network, "neighbors": neighbors}
        yield name, replace(plus, seed=seed, run=run, network=network, stages=(stage,))


@dataclass
class Watched:
    """A candidate whose error and flicker are noted while it is scored."""

    candidate: Candidate
    data: PreparedData
    found: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name, self.random, self.about = "twin", False, self.candidate.about

    def synthesize(self, pair: Pair, seed: int) -> Volume:
        synthetic = self.candidate.synthesize(pair, seed)
        self.found.append(error_and_flicker(synthetic, pair.target, self.data))
        return synthetic


def error_and_flicker(
    synthetic: Volume, acquired: Volume, data: PreparedData
) -> tuple[float, float]:
    """See above. ``synthetic`` is in the network's range already."""
    view = Reorientation.between(acquired.affine, data.grid.axis_codes).apply
    reference = np.clip(scaling_of(acquired, data.intensity).apply(acquired.array), -1, 1)
    e = view(synthetic.array - reference)  # (N,H,W)
    tissue = view(foreground(acquired.array))
    both = tissue[1:] & tissue[:-1]
    return float(np.abs(e[tissue]).mean()), float(np.abs(e[1:] - e[:-1])[both].mean())


def scores(run: Path, data: PreparedData) -> dict[str, float]:
    """Means over the test subjects."""
    with open_candidate(run, data, None, None, "cpu") as candidate:
        watched = Watched(candidate, data)
        rows = score(watched, data, "test", [0]).rows
    by_subject: dict[str, list[dict[str, float]]] = {}
    for row in rows:
        if row.measures:
            by_subject.setdefault(row.subject, []).append(row.measures)
    means = {
        name: float(np.mean([np.mean([m[name] for m in found]) for found in by_subject.values()]))
        for name in ("ssim", "psnr", "nmi")
    }
    error, flicker = np.mean(watched.found, axis=0)
    return {**means, "error": float(error), "flicker": float(flicker)}


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--iterations", type=int, default=240)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--run", type=int, default=4)
    parser.add_argument("--objective", choices=("cycle", "paired"), default="cycle")
    options = parser.parse_args()
    torch.set_num_threads(options.threads or 1)
    data, hardware = open_prepared(options.data), Hardware(accelerator="cpu")
    found: dict[str, list[dict[str, float]]] = {}
    for seed in options.seeds:
        for n, (name, recipe) in enumerate(twins(options, seed)):
            settings = (options.objective, options.batch, options.run, options.iterations, seed, n)
            run = options.out / "neighbors-runs" / "-".join(map(str, settings))
            fit(recipe, RECIPE, prepared_data(options.data), run, hardware)
            found.setdefault(name, []).append(scores(run, data))
            print(name, seed, found[name][-1], flush=True)
    rows: list[Row] = [{"input": name, **_row(each)} for name, each in found.items()]
    report(f"neighbors {options.objective}", rows, options.out, "mean flicker")


def _row(found: list[dict[str, float]]) -> Row:
    """Each measure of every training, and the mean flicker for the plot."""
    row: Row = {
        title: " / ".join(f"{one[key]:.3f}" for one in found) for key, title in MEASURES.items()
    }
    return {**row, "mean flicker": float(np.mean([one["flicker"] for one in found]))}


if __name__ == "__main__":
    main()
