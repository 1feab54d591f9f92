"""``mambasynth train-mask``: train the network that finds brains and heads; write its package."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from MambaSynthTraining.mask.drawn import Drawn
    from MambaSynthTraining.mask.listed import Row


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "train-mask",
        help="train the network that finds brains and heads",
        description="Learns from the volumes of the part 'train' of a list and writes a model "
        "package. What is made on the way is kept in WORK: killed, the same command goes on.",
    )
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help="the folder that the list's paths start from")
    add("--list", type=Path, required=True, metavar="TSV",
        help="volumes; see training/recipes/masks/open-volumes.tsv")  # fmt: skip
    add("--work", type=Path, required=True, metavar="WORK", help="folder of what is kept")
    add("--out", type=Path, required=True, metavar="FOLDER", help="of the new package")
    add("--brain-teacher", type=Path, metavar="ONNX",
        help="brainchop's mindgrab.onnx, for masks that WORK does not hold yet")  # fmt: skip
    add("--id", default="brain-mask", metavar="NAME")
    add("--version", default="1.0.0", metavar="X.Y.Z")
    add("--license", default="NOASSERTION", metavar="SPDX", help="of the weights")
    add("--channels", type=int, nargs="+", default=[16, 24, 32], metavar="N", help="of each level")
    add("--draws", type=int, default=900, metavar="N", help="forms of volumes to learn from")
    add("--rounds", type=int, default=4, metavar="N", help="how often each is seen")
    add("--phantoms", type=int, default=2, metavar="N", help="people of a label map")
    add("--threads", type=int, default=0, metavar="N", help="of the teacher (default: all)")
    add("--seed", type=int, default=0)
    add("--start", type=Path, metavar="WORK", help="begin with the network of another training")
    add("--only-teach", action="store_true", help="make the teacher's masks of all parts, no more")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    import torch

    from MambaSynthLib.commands.console import note
    from MambaSynthLib.io.atomic import write_json
    from MambaSynthLib.model.package import check_free, write_package
    from MambaSynthTraining.data.dataset_files import read_json
    from MambaSynthTraining.mask.card import card_of, readme
    from MambaSynthTraining.mask.learning import RECORD, train
    from MambaSynthTraining.mask.listed import read_list
    from MambaSynthTraining.record import machine_name

    check_free(options.out)
    began = time.monotonic()
    rows = read_list(options.list)
    if options.only_teach:
        return _teach(options, rows)
    drawn = _draws(options, [row for row in rows if row.part == "train"])
    channels = tuple(options.channels)
    network = train(
        drawn, channels, options.rounds, options.seed, options.work, note, options.start
    )
    training: dict[str, Any] = {
        "draws": options.draws, "rounds": options.rounds, "phantoms": options.phantoms,
        "seed": options.seed, "minutes": round((time.monotonic() - began) / 60, 1),
        "machine": machine_name(torch.device("cpu")),
    }  # fmt: skip
    if options.start:
        training["start"] = read_json(options.start / RECORD)
    write_json(options.work / RECORD, training)
    card = card_of(options.id, options.version, channels, options.license, rows, training)
    weights = {name: array.astype("float16") for name, array in network.weights().items()}
    sizes = {"weights.safetensors": {"sha256": "", "bytes": 0}}
    write_package(options.out, card, weights, readme({**card, "files": sizes}, weights))
    print(f"wrote {options.out}")
    return 0


def _teach(options: argparse.Namespace, rows: list[Row]) -> int:
    from MambaSynthLib.commands.console import note
    from MambaSynthLib.io.files import read_volume
    from MambaSynthTraining.data.brain_teacher import brain_teacher
    from MambaSynthTraining.mask.listed import TEACHER
    from MambaSynthTraining.mask.truths import taught

    teacher = brain_teacher(options.brain_teacher, options.threads)
    for row in sorted(rows, key=lambda row: row.part != "train"):
        if row.mask == TEACHER:
            note(f"{row.id}: teaching")
            taught(row, read_volume(options.data / row.path), options.work, teacher)
    return 0


def _draws(options: argparse.Namespace, rows: list[Row]) -> Drawn:
    """Those that WORK keeps, or new ones."""
    from MambaSynthLib.commands.console import note
    from MambaSynthTraining.data.brain_teacher import brain_teacher
    from MambaSynthTraining.mask.drawn import DRAWS, draw_all, keep_draws, read_draws
    from MambaSynthTraining.mask.draws import example_of
    from MambaSynthTraining.mask.truths import truths_of

    path = options.work / DRAWS
    if path.exists():
        return read_draws(path, options.draws)
    teacher = None
    if options.brain_teacher:
        teacher = brain_teacher(options.brain_teacher, options.threads)
    examples = []
    for truth in truths_of(
        rows, options.data, options.work, teacher, options.seed, options.phantoms
    ):
        note(f"learning from {truth.id}")
        examples.append(example_of(truth))
    drawn = draw_all(examples, options.draws, options.seed, note)
    keep_draws(path, drawn)
    return drawn
