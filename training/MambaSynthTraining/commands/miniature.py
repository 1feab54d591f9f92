"""``mambasynth miniature``: the small data set of ``make tables``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "miniature",
        help="make the small data set that whole tables are tried on",
        description="Phantoms of label maps and two acquired patients, averaged to 2 x 2 x 4 mm.",
    )
    add = parser.add_argument
    add("--labels", type=Path, required=True, metavar="FOLDER", help="8 or more label maps")
    add("--acquired", nargs=2, type=Path, action="append", required=True, metavar=("T1", "T2"),
        help="registered volumes of a patient; give it twice, the first one trains")  # fmt: skip
    add("--out", type=Path, required=True, metavar="FOLDER",
        help="gets 'data', the prepared data set, and 'volumes'")  # fmt: skip
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from MambaSynthLib.commands import console
    from MambaSynthTraining.data.miniature import write_miniature

    volumes, data = options.out / "volumes", options.out / "data"
    with console.slice_progress("making", "subjects") as progress:
        summary = write_miniature(options.labels, options.acquired, volumes, data, progress)
    sizes = ", ".join(f"{name} {len(ids)}" for name, ids in summary.splits.items())
    print(f"{data}: {sizes}; {summary.slices} slices")
    return 0
