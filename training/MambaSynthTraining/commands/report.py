"""``mambasynth report``: scored candidates become the paper's table and pictures."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from MambaSynthTraining.evaluation.results import Result


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "report", help="make a table with tests and pictures from folders of evaluate-set"
    )
    add = parser.add_argument
    add("scores", type=Path, nargs="+", metavar="FOLDER", help="rows of the table, in order; a "
        "folder of such folders counts as all of them")  # fmt: skip
    add("--main", metavar="ROW", help="the row that others are tested against (default: the first)")
    add("--out", type=Path, required=True, metavar="FOLDER")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from MambaSynthTraining.evaluation.results import read_results

    print(write_report(read_results(options.scores), options.out, options.main))
    return 0


def write_report(
    results: Sequence[Result],
    out: Path,
    main: str | None = None,
    remarks: Sequence[str] = (),
) -> str:
    """Write ``table.md``, ``table.csv`` and the pictures; returns the Markdown."""
    import matplotlib

    matplotlib.use("Agg")

    from MambaSynthLib.io.atomic import telling
    from MambaSynthTraining.evaluation.pictures import (
        draw_best_and_worst,
        draw_examples,
        draw_table,
    )
    from MambaSynthTraining.evaluation.table import main_row, write_table

    chosen = main_row(results, main)
    with telling(out):
        out.mkdir(parents=True, exist_ok=True)
    draw_table(results, out / "table.png")
    draw_examples(results, out / "examples.png")
    draw_best_and_worst(results, out / "best_and_worst.png")
    return write_table(out, results, chosen, remarks)
