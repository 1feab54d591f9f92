"""``mambasynth reproduce``: whole tables, row by row; killed, it goes on where it was."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

MADE_BY = "make tables"  # names the block of a README that the tables go into
COMPARE = (
    "These numbers cannot be compared with the paper's: other people (phantoms and two acquired "
    "patients instead of IXI), thicker and coarser slices, networks of about a hundredth of the "
    "size and minutes of training instead of hours. They show that every row trains, and is "
    "scored by the same protocol; with so few subjects even the order of the rows means little."
)


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
    add("--seeds", type=int, default=5, metavar="N", help="sampling seeds (default: 5)")
    add("--iterations", type=int, default=0, metavar="N",
        help="cut every stage to N iterations, to see whether all rows run")  # fmt: skip
    add("--accelerator", choices=("auto", "cpu", "gpu", "mps"), default="auto")
    add("--threads", type=int, metavar="N", help="CPU threads")
    add(
        "--readme",
        type=Path,
        metavar="FILE",
        help=f"put the tables into its block 'made by: {MADE_BY}'",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    import torch

    from MambaSynthTraining.evaluation.marked_text import check_block, put_into_block
    from MambaSynthTraining.evaluation.reproduction import Settings, find_rows, reproduce

    if options.threads:
        torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    if options.readme:
        check_block(options.readme, MADE_BY)
    tables = [
        (folder.name, find_rows(folder, options.small, options.iterations))
        for folder in options.tables
    ]
    settings = Settings(options.data, options.out, options.seeds, options.accelerator)
    texts = reproduce(tables, settings, lambda text: print(text, flush=True))
    for (name, _), text in zip(tables, texts, strict=True):
        print(f"\n{options.out / name}\n\n{text}")
    if options.readme:
        text = _text([name for name, _ in tables], texts)
        put_into_block(options.readme, MADE_BY, text)
    return 0


def _text(names: list[str], texts: list[str]) -> str:
    """All tables under their names, and why they are no comparison with the paper's."""
    parts = [COMPARE, ""]
    for name, text in zip(names, texts, strict=True):
        parts += [f"**{name}**", "", text]
    return "\n".join(parts)
