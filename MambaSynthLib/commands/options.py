"""Options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MambaSynthLib.errors import RequestError

if TYPE_CHECKING:
    from MambaSynthLib.cine.options import CineOptions
    from MambaSynthLib.server.remote import Remote


def add_synthesis_options(parser: Any) -> None:
    """What ``synthesize`` and ``synthesize-set`` share: how slices are made, and where."""
    add = parser.add_argument
    add("--steps", type=int, metavar="N", help="network calls per draw (default: the model's)")
    add("--samples", type=int, metavar="K", help="noise draws to average (default: the model's)")
    add("--seed", type=int, default=0, metavar="S", help="seed of all noise (default: 0)")
    add("--noise", choices=("per-slice", "shared"), default="per-slice",
        help="a noise draw for each slice, or one for all")  # fmt: skip
    add("--device", default="auto", metavar="auto|cpu|cuda|mps", help="where to compute")
    add("--backend", default="auto", metavar="auto|torch|onnxruntime", help="what computes")
    add("--planes", choices=("auto", "one", "all"), default="auto",
        help="make axial, coronal and sagittal slices and average, or those that were acquired "
        "(default: all, of thin voxels, where the model knows them)")  # fmt: skip
    add("--batch", type=int, metavar="N", help="slices per network call (default: by device)")
    add("--prefer", choices=("sform", "qform"), help="which of two disagreeing NIfTI forms counts")
    add("--nan-as-zero", action="store_true", help="read NaN and infinite voxels as zero")
    add("--force", action="store_true",
        help="go on with what the input gate refuses; the result's record says so")  # fmt: skip
    add_pixel_mark_option(parser)


def add_pixel_mark_option(parser: Any) -> None:
    parser.add_argument("--pixel-mark", action=argparse.BooleanOptionalAction, default=True,
        help="mark the voxels themselves, invisibly, as synthetic; the record says whether "
        "(default: yes)")  # fmt: skip


def add_motion_options(parser: Any) -> None:
    """What ``cine`` and ``evaluate-cine`` share: the model, and how frames are made."""
    from MambaSynthLib.cine.options import USUAL_STEPS

    add = parser.add_argument
    add("--model", metavar="ID|FOLDER", help="model package (default: the first for cine)")
    add("--device", default="auto", metavar="auto|cpu|cuda|mps", help="where the network computes")
    add("--backend", default="auto", metavar="auto|torch", help="what computes")
    add("--refine", action=argparse.BooleanOptionalAction, default=True,
        help="polish the network's motion on the frames themselves (default: yes)")  # fmt: skip
    add("--refine-steps", type=int, default=USUAL_STEPS, metavar="N",
        help="at most so many steps between two frames, and half as many more between ED and ES of "
        f"a stack of thick slices (default: {USUAL_STEPS})")  # fmt: skip
    add("--timing", metavar="linear|cardiac|FILE",
        help="how motion spreads over the time from ED to ES; FILE: a table of time and share "
        "(default: cardiac)")  # fmt: skip


def motion_options(options: argparse.Namespace) -> CineOptions:
    """Raises RequestError, FileError."""
    from MambaSynthLib.cine.options import CineOptions
    from MambaSynthLib.cine.timing import read_timing

    timing = read_timing(options.timing) if options.timing else None
    marked = getattr(options, "pixel_mark", True)  # which not every command asks
    return CineOptions(options.refine, options.refine_steps, timing, marked)


def add_remote_options(parser: Any) -> None:
    """What all commands share that another computer can compute for."""
    add = parser.add_argument
    add("--engine", metavar="HOST:PORT",
        help="compute on another computer, where 'mambasynth serve --listen' runs; names and paths "
        "stay here")  # fmt: skip
    add("--token", type=Path, metavar="FILE", help="the secret shared with that computer")
    add("--certificate", type=Path, metavar="PEM",
        help="for TLS: that of the engine, or of who signed it")  # fmt: skip


def remote_engine(options: argparse.Namespace) -> Remote | None:
    """The engine of another computer, if one is asked for. Raises RequestError, FileError."""
    from MambaSynthLib.server.remote import Remote

    if not options.engine:
        if options.token or options.certificate:
            raise RequestError("--token and --certificate belong to --engine; name it, too.")
        return None
    if options.token is None:
        raise RequestError("--engine needs --token FILE, a copy of the file that is there.")
    return Remote.at(options.engine, options.token, options.certificate)
