"""Few steps and averaged draws: what each costs, and what it gains on the shipped model.

    python -m Testing.benchmarks.steps [--steps 1 2 4] [--draws 1 4] [--slices 16]

On the demo's head and, where ../shared lies beside the checkout, on patient 19 of the open MS data
set, whom the model has never seen: the middle ``--slices`` axial slices. Scores are against the
acquired T2w volume; the source itself is scored beside. Time is relative to 1 step and 1 draw.
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import numpy as np

from MambaSynthLib.engine import Engine
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import read_volume
from MambaSynthLib.model.package import read_package, shipped_models
from MambaSynthLib.report.evaluation import evaluate
from Testing.benchmarks.race import Row, arguments, report

ROOT = Path(__file__).resolve().parents[2]
MODEL = "cravim-t1w-t2w-compact"
HEADS = {
    "demo head": (ROOT / "Testing/data/head", "sub-19_{}w.nii.gz"),
    "patient 19": (ROOT / "../shared/data/brain_t1_t2/registered_1mm/patient19", "{}_MNI.nii.gz"),
}


def middle(volume: Volume, count: int) -> tuple[int, int]:
    """The range of ``count`` slices around the middle of what is not background."""
    axis = next(n for n, code in enumerate(volume.axis_codes) if code in "SI")
    others = tuple(n for n in range(3) if n != axis)
    tissue = np.flatnonzero((volume.array != 0).any(axis=others))
    center = (tissue[0] + tissue[-1] + 1) // 2
    first = max(0, center - count // 2)
    return first, min(volume.shape[axis], first + count)


def within(volume: Volume, slices: tuple[int, int]) -> Volume:
    """These slices, counted from the feet, and nothing else."""
    axis = next(n for n, code in enumerate(volume.axis_codes) if code in "SI")
    chosen = slice(*slices)
    if volume.axis_codes[axis] == "I":
        length = volume.shape[axis]
        chosen = slice(length - slices[1], length - slices[0])
    kept = np.zeros_like(volume.array)
    place = tuple(chosen if n == axis else slice(None) for n in range(3))
    kept[place] = volume.array[place]
    return volume.with_array(kept, volume.name)


def rows_of(engine: Engine, source: Volume, acquired: Volume, options) -> list[Row]:
    slices = middle(source, options.slices)
    reference = within(acquired, slices)
    rows: list[Row] = []
    fastest = None
    for steps, draws in itertools.product(options.steps, options.draws):
        start = time.process_time()
        found = engine.synthesize({"T1w": source}, steps=steps, samples=draws, slices=slices)
        seconds = time.process_time() - start
        fastest = fastest or seconds
        scores = evaluate(found.volumes["T2w"], reference, source=within(source, slices)).rows
        if not rows:
            rows = [_row(row.name, None, row) for row in scores[1:]]
        rows.append(_row(f"{steps} steps, {draws} draws", seconds / fastest, scores[0]))
    return rows


def _row(name: str, time_ratio: float | None, scores) -> Row:
    return {
        "synthesis": name, "time": time_ratio, "SSIM": f"{scores.ssim:.4f}",
        "PSNR": f"{scores.psnr:.2f}", "NMI": f"{scores.nmi:.4f}", "MSE": f"{scores.mse:.4f}",
    }  # fmt: skip


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--draws", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--slices", type=int, default=16)
    options = parser.parse_args()
    engine = Engine(read_package(shipped_models() / MODEL), options.device)
    for name, (folder, pattern) in HEADS.items():
        if not folder.is_dir():
            print(f"{name}: {folder.name} is not here and left out")
            continue
        source, acquired = (read_volume(folder / pattern.format(c)) for c in ("T1", "T2"))
        report(f"steps {name}", rows_of(engine, source, acquired, options), options.out, "time")


if __name__ == "__main__":
    main()
