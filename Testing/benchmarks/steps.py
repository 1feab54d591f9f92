"""Few steps and averaged draws: what each costs, and what it gains on the shipped model.

    python -m Testing.benchmarks.steps [--steps 1 2 4] [--draws 1 4]

On the demo's computed head and, where 'mambasynth demo --real' has fetched it, on patient 19 of the
open MS data set: the middle ``--slices`` axial slices. Scores are against the computed or acquired
T2w volume; the source itself is scored beside. Time is relative to 1 step and 1 draw.
"""

from __future__ import annotations

import itertools
import time

from MambaSynthLib.engine import Engine
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.install.public_pair import PAIR, pair_file
from MambaSynthLib.io.files import read_volume
from MambaSynthLib.model.package import read_package, shipped_models
from MambaSynthLib.phantom.template import template_head
from MambaSynthLib.report.evaluation import evaluate
from Testing.benchmarks.race import Row, arguments, report

MODEL = "cravim-t1w-t2w-compact"


def heads() -> dict[str, dict[str, Volume]]:
    """Name -> contrast -> volume, of the heads that are here."""
    found = {"demo head": template_head()}
    files = {contrast: pair_file(contrast) for contrast in PAIR}
    if all(PAIR[contrast].is_at(path) for contrast, path in files.items()):
        found["patient 19"] = {contrast: read_volume(path) for contrast, path in files.items()}
    return found


def rows_of(engine: Engine, source: Volume, target: Volume, options) -> list[Row]:
    rows: list[Row] = []
    fastest = None
    for steps, draws in itertools.product(options.steps, options.draws):
        start = time.process_time()
        found = engine.synthesize({"T1w": source}, steps=steps, samples=draws)
        seconds = time.process_time() - start
        fastest = fastest or seconds
        beside = None if rows else source  # the trivial answers once
        synthetic, *trivial = evaluate(found.volumes["T2w"], target, source=beside).rows
        rows += [_row(row.name, None, row) for row in trivial]
        rows.append(_row(f"{steps} steps, {draws} draws", seconds / fastest, synthetic))
    return rows


def _row(name: str, time_ratio: float | None, scores) -> Row:
    return {
        "synthesis": name, "time": time_ratio, "SSIM": f"{scores.ssim:.4f}",
        "PSNR": f"{scores.psnr:.2f}", "NMI": f"{scores.nmi:.4f}", "MSE": f"{scores.mse:.4f}",
        "slices": scores.n_slices,
    }  # fmt: skip


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--draws", type=int, nargs="+", default=[1, 4])
    options = parser.parse_args()
    engine = Engine(read_package(shipped_models() / MODEL), options.device)
    for name, head in heads().items():
        rows = rows_of(engine, head["T1w"], head["T2w"], options)
        report(f"steps {name}", rows, options.out, "time")


if __name__ == "__main__":
    main()
