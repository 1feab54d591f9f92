"""``mambasynth prepare-acdc``: ACDC's public folders -> the cine data set that training reads."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "prepare-acdc", help="resample, scale and crop ACDC for the training of cine models"
    )
    parser.add_argument("root", type=Path, help="folder with patient001, patient002, ...")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--no-validation", action="store_true", help="train on all 90 patients "
        "that the papers train on (default: five of them validate, one of each group)")  # fmt: skip
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from MambaSynthLib.commands.console import note
    from MambaSynthTraining.data.acdc import prepare_acdc
    from MambaSynthTraining.data.heart_cine import HeartCine

    def done(cine: HeartCine) -> None:
        note(f"{cine.name}: {len(cine.frames)} frames, ED {cine.ed + 1}, ES {cine.es + 1}")

    splits = prepare_acdc(options.root, options.out, done, not options.no_validation)
    counts = ", ".join(f"{len(names)} {split}" for split, names in splits.items())
    print(f"{options.out}: {counts}")
    return 0
