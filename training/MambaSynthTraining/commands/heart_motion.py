"""``mambasynth heart-motion``: how far hearts move, acquired and made, by one measure."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from MambaSynthTraining.data.motion_measure import MeasuredMotion


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "heart-motion",
        help="measure the motion of acquired cines, and of made hearts beside them",
        description="Displacement from ED, frame 1, to ES and the course of time. The motion of "
        "'mambasynth beating-heart' is fitted to what this prints of acquired cines.",
    )
    add = parser.add_argument
    add("cines", type=Path, nargs="*", metavar="CINE", help="4-D file, folder of frames or DICOM")
    add("--es", type=int, metavar="N", help="number of the ES frame, from 1 (default: found)")
    add("--hearts", type=Path, metavar="FOLDER", help="made by 'mambasynth beating-heart'")
    add("--limit", type=int, default=6, metavar="N",
        help="training subjects of FOLDER that are measured (default: 6)")  # fmt: skip
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from MambaSynthLib.errors import RequestError
    from MambaSynthLib.io.cine_files import read_cine
    from MambaSynthLib.report.evaluation import markdown
    from MambaSynthTraining.data.motion_measure import HEADER, mean_of, measure

    if not options.cines and options.hearts is None:
        raise RequestError("heart-motion: names no cine and no --hearts; give one of them.")
    if options.limit < 1:
        raise RequestError(f"--limit is {options.limit}; give at least 1.")
    rows = [
        measure(read_cine(path), options.es - 1 if options.es else None) for path in options.cines
    ]
    rows += [mean_of("mean", rows)] if len(rows) > 1 else []
    if options.hearts is not None:
        for view, found in _made(options.hearts, options.limit).items():
            rows += [mean_of(f"made, {view} (n = {len(found)})", found)]
    print("\n".join(markdown([HEADER, *(row.cells() for row in rows)])))
    return 0


def _made(folder: Path, limit: int) -> dict[str, list[MeasuredMotion]]:
    """View -> its measurements."""
    from MambaSynthTraining.data.heart_cine import read_split, read_subject
    from MambaSynthTraining.data.motion_measure import measure, views

    found: dict[str, list[MeasuredMotion]] = {}
    for name in read_split(folder, "train")[:limit]:
        for cine in views(read_subject(folder, name)):
            view = cine.name.rpartition(", ")[2]
            found.setdefault(view, []).append(measure(cine, len(cine.frames) - 1))
    return found
