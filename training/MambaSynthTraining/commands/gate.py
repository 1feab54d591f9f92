"""``mambasynth gate``: train the input gate, choose its thresholds, write its two files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from MambaSynthTraining.gate.examples import Example
    from MambaSynthTraining.gate.listed import Row


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "gate",
        help="train the gate that says whether a volume is what a model expects",
        description="Learns from the volumes of the part 'train' of a list, chooses thresholds on "
        "those of the part 'choose', and looks at no others.",
    )
    add = parser.add_argument
    add("data", type=Path, nargs="+", metavar="DATA",
        help="where the list's files are: folders; the first that has one gives it")  # fmt: skip
    add("--list", type=Path, required=True, metavar="TSV",
        help="volumes; see training/recipes/gate/open-volumes.tsv")  # fmt: skip
    add("--out", type=Path, required=True, metavar="FOLDER", help="of gate.json and its weights")
    add("--draws", type=int, default=6000, metavar="N", help="looks to learn from")
    add("--rounds", type=int, default=10, metavar="N", help="how often each is seen")
    add("--phantoms", type=int, default=2, metavar="N", help="whole heads of a label map")
    add("--made-up", type=int, default=10, metavar="N", help="heads of nobody, computed")
    add("--seed", type=int, default=0)
    add("--license", default="NOASSERTION", metavar="SPDX", help="of the weights")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from MambaSynthLib.commands.console import note
    from MambaSynthLib.gate.network import Gate, write_gate
    from MambaSynthTraining.gate.examples import made_up_examples
    from MambaSynthTraining.gate.learning import draw_looks, train
    from MambaSynthTraining.gate.listed import read_list
    from MambaSynthTraining.gate.thresholds import chosen_thresholds, fitting_shares

    rows = read_list(options.list)
    examples = _examples(options, rows, "train")
    examples += made_up_examples(options.made_up, options.seed)
    note(f"drawing {options.draws} looks of {len(examples)} volumes")
    looks, answers = draw_looks(examples, options.draws, options.seed)
    network = train(looks, answers, options.rounds, options.seed, note)
    weights = network.weights()
    chosen_on = _examples(options, rows, "choose")
    others = draw_looks(chosen_on, max(options.draws // 10, 200), options.seed + 1)
    thresholds = chosen_thresholds(fitting_shares(Gate(weights, {}), *others))
    learned = sorted({row.citation for row in rows if row.part == "train"})
    card = {
        "title": "Input gate",
        "license": options.license,
        "attribution": learned,
        "learned_from": sorted({row.person for row in rows if row.part == "train"}),
        "thresholds_chosen_on": sorted({row.person for row in rows if row.part == "choose"}),
        "made_up": options.made_up,
        "draws": options.draws,
        "rounds": options.rounds,
        "seed": options.seed,
        "thresholds": {question: asdict(limits) for question, limits in thresholds.items()},
    }
    options.out.mkdir(parents=True, exist_ok=True)
    write_gate(options.out, weights, card)
    for question, limits in thresholds.items():
        print(f"{question}: doubtful below {limits.doubtful:g}, refused below {limits.refused:g}")
    print(f"wrote {options.out}")
    return 0


def _examples(options: argparse.Namespace, rows: list[Row], part: str) -> list[Example]:
    from MambaSynthLib.commands.console import note
    from MambaSynthTraining.gate.examples import examples_of

    found: list[Example] = []
    for row in rows:
        if row.part == part:
            note(f"{part}: {row.id}")
            found += examples_of(row, options.data, options.seed, options.phantoms)
    return found
