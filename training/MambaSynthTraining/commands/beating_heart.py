"""``mambasynth beating-heart``: makes a cine data set of real short-axis stacks in motion."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "beating-heart", help="make a cine data set of real heart stacks with known motion"
    )
    parser.add_argument("stacks", type=Path, help="scd_lvsegs.npz, the Sunnybrook stacks")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument(
        "--split",
        type=int,
        nargs=3,
        default=(30, 5, 10),
        metavar=("TRAIN", "VALIDATION", "TEST"),
        help="numbers of patients (default: 30 5 10)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=int, default=16, help="per heart cycle (default: 16)")
    parser.add_argument(
        "--slices",
        nargs="+",
        default=["volume", "stack", "single"],
        choices=["volume", "stack", "single"],
        help="how hearts are acquired, drawn for each: thin planes at once, slices of 8 to 10 mm, "
        "or one of these, in training only (default: all three)",
    )
    parser.add_argument("--fields", action="store_true", help="also write the true pull fields")
    parser.add_argument("--jobs", type=int, default=1, help="patients at once (default: 1)")
    parser.add_argument(
        "--pictures", action="store_true", help="frames.png and one GIF per pictured subject"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from MambaSynthLib.commands.console import note
    from MambaSynthTraining.data.beating_heart_set import write_beating_hearts
    from MambaSynthTraining.data.heart_cine import HeartCine
    from MambaSynthTraining.data.heart_picture import draw_frames, write_gif
    from MambaSynthTraining.data.heart_stacks import read_stacks

    pictured: list[HeartCine] = []

    def done(cine: HeartCine) -> None:
        pools = [int((labels == 3).sum()) for labels in cine.labels]
        note(f"{cine.name}: ejection fraction {100 * (1 - min(pools) / pools[0]):.0f} %")
        if options.pictures and len(pictured) < 3:
            pictured.append(cine)

    stacks = read_stacks(options.stacks)
    splits = write_beating_hearts(
        stacks,
        options.out,
        split=options.split,
        seed=options.seed,
        frames=options.frames,
        fields=options.fields,
        kinds=tuple(options.slices),
        jobs=options.jobs,
        progress=done,
    )
    if pictured:
        draw_frames(pictured, options.out / "frames.png")
    for cine in pictured:
        write_gif(cine, options.out / f"{cine.name}.gif")
    counts = ", ".join(f"{len(names)} {split}" for split, names in splits.items())
    print(f"{options.out}: {counts}")
    return 0
