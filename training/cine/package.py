"""The compact MSTG+ of the table becomes a model package: ``models/mstg-cine-compact``.

    python -m training.cine.package --data DATA --out OUT FOLDER

OUT is what ``training.cine.tables --small`` wrote: its run of ``mstg+compact`` gives the weights,
its scores the card's table, row for row.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from MambaSynthLib.errors import MambaSynthError
from MambaSynthLib.package import ModelPackage, write_package
from training.cine.comparison import RowScores, p_values, row_scores
from training.cine.mstg_frames import RECIPES, row_of_recipe
from training.cine.run_state import WEIGHTS, read_weights, run_folder
from training.cine.tables import SMALL_DRAWS, SMALL_ROWS
from training.data.heart_cine import read_split, read_subject
from training.mstg.export import Description, card_of, half_weights, readme_of
from training.mstg.recipe import read_recipe
from training.mstg.record import new_record

ROW, RECIPE = "mstg+compact", "mstg_plus_compact"
ID, VERSION, TITLE = "mstg-cine-compact", "1.0.0", "MSTG+ compact, ED to ES"
TRAINED_ON = (
    "Beating hearts: real short-axis stacks of 30 patients (Sunnybrook Cardiac Data, CC0) that a "
    "drawn, physiological motion sets beating, with noise drawn for each frame. The motion was "
    "made, not acquired: no patient's own heartbeat was seen."
)
ATTRIBUTION = (
    "Radau P et al. Evaluation Framework for Algorithms Segmenting Short Axis Cardiac MRI. The "
    "MIDAS Journal (2009), doi:10.54294/g80ruo (Sunnybrook Cardiac Data, CC0-1.0)."
)
AXIS_CODES = "LPS"
LIMITS = (
    "Trained on made-up motion of real stacks, not on patients' heartbeats; the right ventricle "
    "and the atria hardly move in it. All rows of the table had one training of minutes on a CPU, "
    "most of them on boxes cut from the volumes, which costs them at the volume's edge; it ranks "
    "them at that cost only. U-KAN is not among them, because its sampling is too slow for a CPU. "
    "Part of the gain over the linear blend is noise that two images average away. In the Dice "
    "of labels carried from ED to ES the model does not beat VoxelMorph and MSTG, which are "
    "trained for registration alone."
)


def package(data: Path, out: Path, folder: Path) -> ModelPackage:
    """Raises MambaSynthError where the run or its scores are missing, or the folder exists."""
    runs, recipe = out / "runs", read_recipe(RECIPES / f"{RECIPE}.yaml")
    run = run_folder(runs, ROW, 0)
    method = row_of_recipe(RECIPE)
    read_weights(method, run / WEIGHTS)
    cines = [read_subject(data, name) for name in read_split(data, "train")]
    record = new_record(recipe, RECIPES / f"{RECIPE}.yaml", cines, "cpu")
    rows = [row_scores(name, runs, 1, SMALL_DRAWS) for name in SMALL_ROWS]
    record["minutes"] = round(rows[-1].cpu_minutes, 2)
    description = Description(ID, VERSION, TITLE, TRAINED_ON, (ATTRIBUTION,), AXIS_CODES)
    card = card_of(record, recipe, method.network, description, [scores_of(rows)])
    card["limits"] = f"{card['limits']} {LIMITS}"
    return write_package(folder, card, half_weights(method.network, run), readme_of(card))


def scores_of(rows: Sequence[RowScores]) -> dict[str, Any]:
    """The table as a card's entry: means over the test subjects and the noise's seeds."""
    p = {column: p_values(rows, ROW, column) for column in ("psnr", "ssim")}
    n = len(rows[0].subjects)
    return {
        "data": f"{n} held-out beating hearts, frames strictly between ED and ES, one training and "
        f"{SMALL_DRAWS} seeds of the images' noise; p: paired t-test over the subjects against "
        f"{rows[-1].title}, after Holm",
        "command": "make tables-cine",
        "rows": [_row(one, p) for one in rows],
    }


def _row(one: RowScores, p: dict[str, dict[str, float]]) -> dict[str, Any]:
    numbers = {
        "psnr": round(one.mean("psnr"), 2),
        "ssim": round(one.mean("ssim"), 4),
        "nmse": round(one.mean("nmse"), 4),
        "psnr_unpadded": round(one.mean("psnr_unpadded"), 2),
        "ssim_unpadded": round(one.mean("ssim_unpadded"), 4),
        "dice": round(one.mean("dice"), 3),
        "folding_percent": round(one.mean("folding"), 3),
        "p_psnr": _significant(p["psnr"].get(one.name, math.nan)),
        "p_ssim": _significant(p["ssim"].get(one.name, math.nan)),
    }
    return {"name": one.title} | {k: v for k, v in numbers.items() if not math.isnan(v)}


def _significant(value: float) -> float:
    return float(f"{value:.2g}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.cine.package", description=__doc__)
    parser.add_argument("folder", type=Path, help="the package to write: models/mstg-cine-compact")
    parser.add_argument("--data", type=Path, required=True, help="the beating hearts")
    parser.add_argument("--out", type=Path, required=True, help="what training.cine.tables wrote")
    options = parser.parse_args(arguments)
    try:
        written = package(options.data, options.out, options.folder)
    except MambaSynthError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {written.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
