"""``mambasynth score-gate``: how often the gate is right about people whom it never saw."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

COMMAND = "mambasynth score-gate DATA --list training/recipes/gate/open-volumes.tsv"


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "score-gate",
        help="score the input gate on volumes that it was not trained on",
        description="Gives the gate the volumes of the part 'score' of a list, as they are and "
        "spoiled in every way it should see, and prints a table of its answers.",
    )
    add = parser.add_argument
    add("data", type=Path, nargs="+", metavar="DATA",
        help="where the list's files are: folders; the first that has one gives it")  # fmt: skip
    add("--list", type=Path, required=True, metavar="TSV")
    add("--gate", type=Path, metavar="FOLDER", help="of 'mambasynth gate' (default: the shipped)")
    add("--part", choices=("choose", "score"), default="score")
    add("--seed", type=int, default=0)
    add("--readme", type=Path, metavar="FILE", help="put the table into its block of this command")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from MambaSynthLib.gate.network import read_gate, shipped_gate
    from MambaSynthTraining.evaluation.marked_text import check_block, put_into_block
    from MambaSynthTraining.gate.cases import cases_of
    from MambaSynthTraining.gate.listed import read_list
    from MambaSynthTraining.gate.scoring import score, table

    if options.readme:
        check_block(options.readme, COMMAND)
    gate = read_gate(options.gate) if options.gate else shipped_gate()
    rows = [row for row in read_list(options.list) if row.part == options.part]
    scores = score(cases_of(rows, options.data, options.seed), gate)
    text = table(scores)
    print(text)
    print("\n" + "\n".join(f"wrong: {line}" for line in scores.wrong))
    if options.readme:
        put_into_block(options.readme, COMMAND, text)
    return 0
