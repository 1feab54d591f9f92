"""``mambasynth reproduce``: whole tables, row by row; killed, it goes on where it was."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "reproduce",
        help="train, score and report every row of a table",
        description="Each folder of recipes is a table. Rows that are finished are kept, rows "
        "with equal recipes are trained once.",
    )
    add = parser.add_argument
    add("tables", type=Path, nargs="+", metavar="FOLDER", help="e.g. training/recipes/table1")
    add("--data", type=Path, required=True, metavar="PREPARED")
    add("--out", type=Path, required=True, metavar="FOLDER")
    add("--small", action="store_true", help="the small forms of the rows, for a CPU")
    add("--rows", nargs="+", default=[], metavar="NAME", help="recipes without .yaml; default: all")
    add("--seeds", type=int, default=5, metavar="N",
        help="of sampling; of cines, trainings of each row (default: 5)")  # fmt: skip
    add("--iterations", type=int, default=0, metavar="N",
        help="cut every stage to N iterations, to see whether all rows run")  # fmt: skip
    add("--accelerator", choices=("auto", "cpu", "gpu", "mps"), default="auto")
    add("--jobs", type=int, default=1, metavar="N", help="trainings at once (default: 1)")
    add("--threads", type=int, metavar="N", help="CPU threads")
    add("--readme", type=Path, metavar="FILE", help="put the tables into its block 'made by: ...'")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    import torch

    from MambaSynthTraining.evaluation.marked_text import check_block, put_into_block
    from MambaSynthTraining.evaluation.reproduction import Settings, reproduce, tables_of
    from MambaSynthTraining.evaluation.rows import find_rows

    if options.threads:
        torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    tables = [
        (folder.name, find_rows(folder, options.small, options.iterations, options.rows))
        for folder in options.tables
    ]
    kind = tables_of([row for _, rows in tables for row in rows])
    if options.readme:
        check_block(options.readme, kind.MADE_BY)
    settings = Settings(options.data, options.out, options.seeds, options.accelerator, options.jobs)
    texts = reproduce(tables, settings, lambda text: print(text, flush=True))
    for (name, _), text in zip(tables, texts, strict=True):
        print(f"\n{options.out / name}\n\n{text}")
    if options.readme:
        put_into_block(options.readme, kind.MADE_BY, kind.text([name for name, _ in tables], texts))
    return 0
