"""Train, score and compare all cine methods: ``make tables-cine``.

    python -m MambaSynthTraining.evaluation.cine.tables --out OUT
        (--stacks scd_lvsegs.npz | --data DATA)
        [--recipes FOLDER] [--rows NAME ...] [--seeds 5] [--small] [--device cuda] [--jobs N]
        [--readme FILE]

A row is a recipe in FOLDER; ``--small`` takes the twins for a CPU instead. Each is trained with
the seeds 0, 1, ... by the engine of ``mambasynth train``. Whatever is done already is not done
again, so that data and trainings may come from elsewhere:

    OUT/data                             the beating hearts, where they are made of stacks
    OUT/runs/mstg-small/seed-0           a training run, with its scores
    OUT/table.md, table.csv, table.png   the table, every number of it, frames of a test subject
    OUT/card.json                        the table as an entry of a model card, for ``export``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from MambaSynthLib.errors import MambaSynthError, RequestError
from MambaSynthLib.io.atomic import write_json, write_whole
from MambaSynthTraining.cine.rivals.trivial import TRIVIAL
from MambaSynthTraining.data.heart_cine import SPLITS_FILE, read_split, read_subject
from MambaSynthTraining.data.kinds import kind_of
from MambaSynthTraining.data.prepared import DATASET, read_json
from MambaSynthTraining.evaluation.cine.comparison import RowScores, row_scores
from MambaSynthTraining.evaluation.cine.score import score_run, score_trivial
from MambaSynthTraining.evaluation.cine.table_picture import draw_table_picture
from MambaSynthTraining.evaluation.cine.table_text import card_entry, comma_separated, markdown
from MambaSynthTraining.evaluation.cine.trainings import run_folder, train_all
from MambaSynthTraining.evaluation.marked_text import check_block, put_into_block
from MambaSynthTraining.evaluation.reproduction import Row, find_rows
from MambaSynthTraining.recipe_folder import recipes_folder

RECIPES = recipes_folder() / "cine"
CARD = "card.json"
MADE_BY = "make tables-cine"  # names the block of a README that the tables go into


def chosen_rows(folder: Path, small: bool, names: Sequence[str], iterations: int) -> list[Row]:
    """The recipes of a table, or those named. Raises RequestError or FileError."""
    rows = find_rows(folder, small, iterations)
    wrong = [row.path.name for row in rows if kind_of(row.recipe) != "cine"]
    if wrong:
        raise RequestError(
            f"{folder}: {', '.join(wrong)} trains on contrasts; name a folder of cine recipes."
        )
    known = [row.path.stem for row in rows]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise RequestError(f"{unknown[0]!r} is no row; choose among {', '.join(known)}.")
    return [row for row in rows if not names or row.path.stem in names]


def score_all(rows: Sequence[Row], data: Path, runs: Path, seeds: int, device: str) -> None:
    for name in TRIVIAL:
        score_trivial(name, runs / name, data)
    for row in rows:
        for seed in range(seeds):
            if score_run(run_folder(runs, row, seed), data, device):
                print(f"{row.title}, seed {seed}: scored", flush=True)


def write_tables(rows: Sequence[Row], data: Path, runs: Path, out: Path, seeds: int) -> str:
    """The table of runs that are scored, in all its forms; returns the Markdown. The last row is
    the one that the others are tested against.
    """
    folders = {name: [runs / name] for name in TRIVIAL}
    titles = {name: each.title for name, each in TRIVIAL.items()}
    for row in rows:
        folders[row.path.stem] = [run_folder(runs, row, seed) for seed in range(seeds)]
        titles[row.path.stem] = row.title
    scores = [row_scores(name, titles[name], found) for name, found in folders.items()]
    subjects = [read_subject(data, name) for name in read_split(data, "test")]
    frames = sum(len(s.between) for s in subjects) / len(subjects)
    text = markdown(scores, seeds, frames, _name_of(data))
    out.mkdir(parents=True, exist_ok=True)
    for name, content in (("table.md", text), ("table.csv", comma_separated(scores))):
        write_whole(out / name, content.encode())
    write_json(out / CARD, _card(scores, seeds))
    pictured = {titles[name]: found[0] for name, found in folders.items()}
    draw_table_picture(subjects[0], pictured, out / "table.png")
    return text


def _name_of(data: Path) -> str:
    """As ``papers.yaml`` calls the data set; '' where it does not say who it is."""
    path = data / DATASET
    return str(read_json(path).get("name", "")).lower() if path.exists() else ""


def _card(scores: Sequence[RowScores], seeds: int) -> dict[str, object]:
    return {
        "entry": card_entry(scores, seeds),
        "checkpoints": [sha256 for one in scores for sha256 in one.checkpoints if sha256],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m MambaSynthTraining.evaluation.cine.tables",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--out", type=Path, required=True)
    add("--stacks", type=Path, help="scd_lvsegs.npz; makes the data in OUT/data")
    add("--data", type=Path, help="a prepared cine data set instead")
    add("--recipes", type=Path, default=RECIPES, metavar="FOLDER", help="default: %(default)s")
    add("--rows", nargs="+", default=[], metavar="NAME", help="recipes without .yaml; default: all")
    add("--seeds", type=int, default=5, help="trainings of each row (default: 5)")
    add("--iterations", type=int, default=0, metavar="N", help="cut every stage to N iterations, "
        "to see whether all rows run")  # fmt: skip
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--jobs", type=int, default=1, help="trainings at once")
    add("--small", action="store_true", help="the small twins of the rows, for a CPU")
    add("--readme", type=Path, metavar="FILE",
        help=f"put the tables into its block 'made by: {MADE_BY}'")  # fmt: skip
    options = parser.parse_args(arguments)
    try:
        if options.readme:
            check_block(options.readme, MADE_BY)
        rows = chosen_rows(options.recipes, options.small, options.rows, options.iterations)
        data = options.data or _made_data(options.stacks, options.out / "data", options.jobs)
        runs = options.out / "runs"
        train_all(rows, data, runs, options.seeds, options.device, options.jobs)
        score_all(rows, data, runs, options.seeds, options.device)
        text = write_tables(rows, data, runs, options.out, options.seeds)
        print(text)
        if options.readme:
            put_into_block(options.readme, MADE_BY, text)
    except MambaSynthError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _made_data(stacks: Path | None, folder: Path, jobs: int) -> Path:
    from MambaSynthTraining.data.beating_heart_set import write_beating_hearts
    from MambaSynthTraining.data.heart_stacks import read_stacks

    if (folder / SPLITS_FILE).exists():
        return folder
    if stacks is None:
        raise RequestError("tables: need --stacks scd_lvsegs.npz or --data FOLDER; give one.")
    write_beating_hearts(read_stacks(stacks), folder, jobs=jobs)
    return folder


if __name__ == "__main__":
    sys.exit(main())
