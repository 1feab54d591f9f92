"""``mambasynth reproduce``: whole tables, row by row; killed, it goes on where it was."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from MambaSynthTraining.evaluation.reproduction import Settings
    from MambaSynthTraining.evaluation.rows import Row

MATCHED = (
    "Budget: matched. Every row saw as many slices as the first one, not as many as its authors "
    "train it with."
)

SHARED = "Budget: every row was trained for {:.0f} % of its recipe's iterations."


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "reproduce",
        help="train, score and report every row of a table",
        description="Each folder of recipes is a table. Rows that are finished are kept, rows "
        "with equal recipes are trained once. Of several data sets, accelerators or precisions "
        "each has its tables in a folder of its own.",
    )
    add = parser.add_argument
    add("tables", type=Path, nargs="+", metavar="FOLDER", help="e.g. training/recipes/table1")
    add("--data", type=Path, required=True, nargs="+", metavar="PREPARED",
        help="one data set or several")  # fmt: skip
    add("--out", type=Path, required=True, metavar="FOLDER")
    add("--small", action="store_true", help="the small forms of the rows, for a CPU")
    add("--rows", nargs="+", default=[], metavar="NAME", help="recipes without .yaml; default: all")
    add("--seeds", type=int, default=5, metavar="N",
        help="of sampling; of cines, trainings of each row (default: 5)")  # fmt: skip
    add("--iterations", type=int, metavar="N",
        help="cut every stage to N iterations, to see whether all rows run")  # fmt: skip
    add("--trainings", type=int, default=1, metavar="N",
        help="of each row of contrasts, seeds following the recipe's (default: 1)")  # fmt: skip
    add("--both-directions", action="store_true", help="T2w -> T1w, too, and so on: from the same "
        "run, or from a second one of a method that trains one direction")  # fmt: skip
    add("--budget", choices=("own", "matched"), default="own", help="matched: every row sees as "
        "many slices as the first one, the paper's 100 epochs; own (default): as its authors "
        "train it")  # fmt: skip
    add("--share", type=float, default=1.0, metavar="S",
        help="train every row for that share of its iterations (default: 1)")  # fmt: skip
    add("--accelerator", choices=("auto", "cpu", "gpu", "mps"), nargs="+", default=["auto"])
    add("--precision", choices=("32", "bf16-mixed"), nargs="+", default=[""],
        help="default: the recipes'")  # fmt: skip
    add("--jobs", type=int, default=1, metavar="N", help="trainings at once (default: 1)")
    add("--threads", type=int, metavar="N", help="CPU threads")
    add("--readme", type=Path, metavar="FILE", help="put the tables into its block 'made by: ...'")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    import torch

    from MambaSynthTraining.evaluation.marked_text import put_into_block
    from MambaSynthTraining.evaluation.reproduction import reproduce, tables_of
    from MambaSynthTraining.least import check_least

    check_least(options, seeds=1, trainings=1, iterations=1, jobs=1, threads=1)
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    tables = [(folder.resolve().name, _rows(folder, options)) for folder in options.tables]
    kind = tables_of([row for _, rows in tables for row in rows])
    _check(options, kind.MADE_BY)
    for settings in _variants(options):
        texts = reproduce(tables, settings, lambda text: print(text, flush=True))
        for (name, _), text in zip(tables, texts, strict=True):
            print(f"\n{settings.out / name}\n\n{text}")
        if options.readme:
            whole = kind.text([name for name, _ in tables], texts)
            put_into_block(options.readme, kind.MADE_BY, whole)
    return 0


def _rows(folder: Path, options: argparse.Namespace) -> list[Row]:
    from MambaSynthTraining.evaluation.rows import find_rows, matched, shortened

    rows = find_rows(folder, options.small, options.iterations or 0, options.rows)
    rows = matched(rows) if options.budget == "matched" else rows
    return shortened(rows, options.share)


def _check(options: argparse.Namespace, made_by: str) -> None:
    """Raises RequestError or FileError before anything is trained."""
    from MambaSynthLib.errors import RequestError
    from MambaSynthTraining.evaluation.marked_text import check_block

    for what, folders in (("tables", options.tables), ("data sets", options.data)):
        names = [folder.resolve().name for folder in folders]
        if twice := [name for name in names if names.count(name) > 1]:
            raise RequestError(
                f"reproduce: two {what} are called {twice[0]}, and so would be what is made of "
                "them; give one folder another name, or make a command of each with its own --out."
            )
    cines = made_by == "make tables-cine"
    if cines and (options.both_directions or options.trainings > 1):
        raise RequestError(
            "reproduce: cines have one direction, and --seeds are their trainings; leave "
            "--both-directions and --trainings out."
        )
    if options.readme:
        if len(options.data) * len(options.accelerator) * len(options.precision) > 1:
            raise RequestError(
                "reproduce: --readme takes the tables of one data set on one device."
            )
        check_block(options.readme, made_by)


def _variants(options: argparse.Namespace) -> Iterator[Settings]:
    """One for each data set, accelerator and precision; of several each has a folder of its own."""
    from itertools import product

    from MambaSynthTraining.evaluation.reproduction import Settings

    asked = (options.data, options.accelerator, options.precision)
    remarks: tuple[str, ...] = (MATCHED,) if options.budget == "matched" else ()
    if options.share < 1:
        remarks += (SHARED.format(100 * options.share),)
    for data, accelerator, precision in product(*asked):
        named = zip((data.resolve().name, accelerator, precision), asked, strict=True)
        varying = [str(value) for value, values in named if len(values) > 1]
        out = options.out / "-".join(varying) if varying else options.out
        yield Settings(
            data, out, options.seeds, accelerator, options.jobs, precision, options.trainings,
            options.both_directions, remarks,
        )  # fmt: skip
