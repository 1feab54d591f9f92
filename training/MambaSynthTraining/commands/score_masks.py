"""``mambasynth score-masks``: masks of people whom the network never saw, against known ones."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "score-masks",
        help="score masks of brain and head on volumes that were not learned from",
        description="Dice of the volumes of the part 'score' of a list, as they are, stripped, of "
        "6 mm slices and flipped, as a table.",
    )
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help="the folder that the list's paths start from")
    add("--list", type=Path, required=True, metavar="TSV")
    add("--work", type=Path, required=True, metavar="WORK", help="folder of the teacher's masks")
    add("--brain-teacher", type=Path, metavar="ONNX",
        help="brainchop's mindgrab.onnx, for masks that WORK does not hold yet")  # fmt: skip
    add("--model", metavar="ID|FOLDER", help="model package (default: the first for masks)")
    add("--csv", type=Path, metavar="FILE", help="of every volume; 'mambasynth card PACKAGE "
        "--scores FILE' puts it into the card")  # fmt: skip
    add("--seed", type=int, default=100, help="of the phantoms")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from MambaSynthLib.mask.engine import MaskEngine
    from MambaSynthLib.model.registry import mask_model
    from MambaSynthTraining.data.brain_teacher import brain_teacher
    from MambaSynthTraining.mask.card import table
    from MambaSynthTraining.mask.listed import read_list
    from MambaSynthTraining.mask.scoring import rows_of, score, write_scores
    from MambaSynthTraining.mask.truths import truths_of

    engine = MaskEngine(mask_model(options.model), "cpu")
    rows = [row for row in read_list(options.list) if row.part == "score"]
    teacher = brain_teacher(options.brain_teacher) if options.brain_teacher else None
    truths = truths_of(rows, options.data, options.work, teacher, options.seed, people=1)
    scores = []
    for each in score(engine, truths):
        print(f"{each.volume}, {each.given}: brain {each.brain:.3f}, head {each.head:.3f}")
        scores.append(each)
        if options.csv:
            write_scores(options.csv, scores, engine.card.weights_sha256)
    print("\n" + table(rows_of(scores)))
    return 0
