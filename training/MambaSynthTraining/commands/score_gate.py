"""``mambasynth score-gate``: how often the gate is right about people whom it never saw."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

LISTS = "training/recipes/gate/open-volumes.tsv training/recipes/gate/unseen-volumes.tsv"
COMMAND = f"mambasynth score-gate DATA --list {LISTS}"


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "score-gate",
        help="score the input gate on volumes that it was not trained on",
        description="Gives the gate the volumes of the part 'score' of lists, as they are and "
        "spoiled in every way it should see, and prints a table of its answers, and the shares "
        "of each list alone.",
    )
    add = parser.add_argument
    add("data", type=Path, nargs="+", metavar="DATA",
        help="where the lists' files are: folders; the first that has one gives it")  # fmt: skip
    add("--list", type=Path, required=True, nargs="+", metavar="TSV")
    add("--gate", type=Path, metavar="FOLDER", help="of 'mambasynth gate' (default: the shipped)")
    add("--part", choices=("choose", "score"), default="score")
    add("--seed", type=int, default=0)
    add("--readme", type=Path, metavar="FILE", help="put the table into its block of this command")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from MambaSynthLib.gate.network import read_gate, shipped_gate
    from MambaSynthTraining.evaluation.marked_text import check_block, put_into_block
    from MambaSynthTraining.gate.cases import cases_of, strangers_of
    from MambaSynthTraining.gate.listed import read_lists
    from MambaSynthTraining.gate.scoring import Scores, score, table

    if options.readme:
        check_block(options.readme, COMMAND)
    gate = read_gate(options.gate) if options.gate else shipped_gate()
    alone = []
    for rows in read_lists(options.list):
        scored = [row for row in rows if row.part == options.part]
        alone.append(score(cases_of(scored, options.data, options.seed), gate))
    scores = sum(alone, Scores()) + score(strangers_of(options.seed), gate)
    shares = [
        f"{path.name} alone: {one.summary()}" for path, one in zip(options.list, alone, strict=True)
    ]
    text = "\n\n".join([table(scores), *shares])
    print(text)
    print("\n" + "\n".join(f"wrong: {line}" for line in scores.wrong))
    if options.readme:
        put_into_block(options.readme, COMMAND, text)
    return 0
