"""``mambasynth dataset``: images as they are published become a data set to train on."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MambaSynthLib.errors import RequestError
from MambaSynthTraining.data.layouts import CONTRASTS, GLOBS, REGISTER, SPLIT

if TYPE_CHECKING:
    from MambaSynthTraining.data.set_making import Summary

FORMERLY = "prepare"  # an alias for one version
SMALLEST_SIZE, LARGEST_SIZE = 8, 4096


def add_parser(commands: Any) -> None:
    _add_layouts(commands.add_parser("dataset", help="make a data set to train on"))
    _add_layouts(commands.add_parser(FORMERLY))
    _add_acdc(commands.add_parser(f"{FORMERLY}-acdc"))


def _add_acdc(parser: Any) -> None:
    parser.add_argument("root", type=Path, help="folder with patient001, patient002, ...")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--no-validation", action="store_true", help="train on all 90 patients "
        "that the papers train on (default: five of them validate, one of each group)")  # fmt: skip
    parser.set_defaults(run=run_acdc)


def _add_layouts(command: Any) -> None:
    layouts = command.add_subparsers(dest="layout", required=True, metavar="LAYOUT")
    for layout, help in (
        ("ixi", "IXI's T1, T2 and PD images"),
        ("brats2018", "the training set of BraTS 2018"),
        ("folders", "pictures in trainA, trainB, testA, testB"),
        ("reggan-npy", "arrays in train2D/A, train2D/B, test2D/..."),
    ):
        parser = layouts.add_parser(layout, help=help)
        parser.add_argument("folder", type=Path, metavar="FOLDER", help="where it is unpacked")
        _add_common(parser, layout)
    for layout, help in (
        ("paired", "volumes of people, every one with all contrasts"),
        ("unpaired", "volumes of people, some with one contrast only"),
    ):
        parser = layouts.add_parser(layout, help=help)
        for name, contrast in GLOBS.items():
            parser.add_argument(f"--{name}", metavar="GLOB", required=name in ("t1", "t2"),
                                help=f"{contrast} files; * stands for the subject")  # fmt: skip
        if layout == "paired":
            _add_widening(parser.add_argument)
        _add_common(parser, layout)
    phantom = layouts.add_parser("phantom", help="heads computed from label maps")
    _add_phantom(phantom.add_argument)
    _add_common(phantom, "phantom")
    _add_acdc(layouts.add_parser("acdc", help="cines of ACDC, resampled, scaled and cropped"))


def _add_phantom(add: Any) -> None:
    add("--labels", type=Path, required=True, metavar="FOLDER", help="whole-head label maps")
    add("--skull", type=float, default=0.0, metavar="SHARE",
        help="of the heads that keep their skull (default: 0, all are stripped)")  # fmt: skip
    add("--no-lesions", action="store_true", help="healthy white matter")
    add("--no-flips", action="store_true", help="never mirror left and right")
    add("--field", type=float, metavar="TESLA", help="1.5 or 3 (default: drawn for each head)")


def _add_widening(add: Any) -> None:
    """Phantoms beside the people; None where they are not asked for."""
    add("--phantoms", type=int, metavar="N", help="add N phantom heads to train on")
    add("--labels", type=Path, metavar="FOLDER", help="whole-head label maps of the phantoms")
    add("--share", type=float, metavar="SHARE", help="of the training slices that is theirs")
    add("--skull", type=float, metavar="SHARE", help="of the phantoms that keep their skull")


def _add_common(parser: argparse.ArgumentParser, layout: str) -> None:
    add = parser.add_argument
    drawn = layout not in ("folders", "reggan-npy")
    add("--out", type=Path, required=True, metavar="OUT", help="folder of the prepared data set")
    if layout not in ("paired", "unpaired"):
        add("--contrasts", nargs="+", default=list(CONTRASTS), metavar="CONTRAST",
            help="source first (default: T1w T2w)")  # fmt: skip
    if layout in REGISTER:
        add("--register", choices=("all", "needed", "evaluation", "none"), default=REGISTER[layout],
            help="whom to register to the first contrast; needed: where grids differ; evaluation: "
            f"validation and test only (default: {REGISTER[layout]})")  # fmt: skip
        add("--transform", choices=("rigid", "affine"), default="rigid")
        add("--mask", metavar="GLOB", help="brain masks on the grid of the first contrast")
    if layout in REGISTER or layout == "brats2018":
        add("--n4", action="store_true", help="divide out each volume's bias field")
        add("--prefer", choices=("sform", "qform"), help="which of two disagreeing forms counts")
        add("--nan-as-zero", action="store_true", help="read NaN and infinite voxels as zero")
    if drawn:
        split = SPLIT.get(layout, "random")
        add("--split", default=split, metavar="RULE", help="first40, random, a JSON file, or "
            f"train, validation or test for all (default: {split}); sizes 25:5:10")  # fmt: skip
        add("--by-site", action="store_true", help="spread each site over the splits")
        make = layout == "phantom"
        add("--subjects", type=int, default=8 if make else 0, metavar="N",
            help="make N (default: 8)" if make else "use the first N (default: all)")  # fmt: skip
        add("--seed", type=int, default=0, metavar="S", help="of everything random (default: 0)")
    add("--size", type=int, nargs=2, default=(256, 256), metavar=("ROWS", "COLUMNS"),
        help="canvas, by padding and cropping (default: 256 256)")  # fmt: skip
    add("--spacing", type=float, metavar="MM", help="resample pixels to MM (default: keep them)")
    add("--tissue", type=float, default=0.1, metavar="SHARE",
        help="of the canvas that a slice must fill (default: 0.1)")  # fmt: skip
    add("--slices", type=int, default=0, metavar="N", help="at most N slices a subject")
    add("--jobs", type=int, default=min(4, os.cpu_count() or 1), metavar="N", help="processes")
    add("--strict", action="store_true", help="refuse the data set if a subject must be skipped")
    add("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Find the subjects, make the data set, say who was skipped."""
    from MambaSynthLib.commands import console
    from MambaSynthTraining.data.layouts import find_layout, set_options
    from MambaSynthTraining.data.set_making import check_folder, make_set

    _say_formerly(options)
    _check(options)
    request = set_options(options)
    check_folder(options.out, request)
    layout = find_layout(options)
    with console.slice_progress("preparing", unit="subjects") as progress:
        summary = make_set(options.out, layout, request, options.jobs, progress)
    console.result(_record(summary), _lines(summary), options.json)
    return 0


def run_acdc(options: argparse.Namespace) -> int:
    from MambaSynthLib.commands.console import note
    from MambaSynthTraining.data.acdc import make_acdc
    from MambaSynthTraining.data.heart_cine import HeartCine

    def done(cine: HeartCine) -> None:
        note(f"{cine.name}: {len(cine.frames)} frames, ED {cine.ed + 1}, ES {cine.es + 1}")

    _say_formerly(options)
    splits = make_acdc(options.root, options.out, done, not options.no_validation)
    counts = ", ".join(f"{len(names)} {split}" for split, names in splits.items())
    print(f"{options.out}: {counts}")
    return 0


def _say_formerly(options: argparse.Namespace) -> None:
    from MambaSynthLib.commands.console import note

    if options.command.startswith(FORMERLY):
        note(f"'mambasynth {options.command}' is 'mambasynth dataset' now; the next version will "
             "not know the old word")  # fmt: skip


def _check(options: argparse.Namespace) -> None:
    """Refuse options that make no sense, before any file is read."""
    if any(n % 4 or not SMALLEST_SIZE <= n <= LARGEST_SIZE for n in options.size):
        raise RequestError(
            f"--size {options.size[0]} {options.size[1]}: the network halves its canvas twice; "
            f"choose multiples of 4 from {SMALLEST_SIZE} to {LARGEST_SIZE}."
        )
    if not 0 <= options.tissue < 1:
        raise RequestError(f"--tissue {options.tissue:g}: is no share; choose from 0 to below 1.")
    if options.spacing is not None and not 0.05 <= options.spacing <= 50:
        raise RequestError(f"--spacing {options.spacing:g}: choose from 0.05 to 50 mm.")
    if options.jobs < 1 or options.slices < 0 or getattr(options, "subjects", 0) < 0:
        raise RequestError("--jobs, --slices and --subjects count things; give positive numbers.")
    if options.layout == "paired":
        _check_widening(options)
    if getattr(options, "mask", None) and options.register in ("evaluation", "none"):
        raise RequestError(
            f"--mask with --register {options.register}: a mask fits one grid only; use --register "
            "all or needed."
        )
    if len(set(getattr(options, "contrasts", ()))) < len(getattr(options, "contrasts", ())):
        raise RequestError("--contrasts: names a contrast twice; name each once.")


def _check_widening(options: argparse.Namespace) -> None:
    named = [options.phantoms, options.labels, options.share]
    if any(named) and not all(named) or options.skull is not None and not options.phantoms:
        raise RequestError(
            "--phantoms, --labels and --share belong together (and --skull to them); give all or "
            "none."
        )
    if options.share is not None and not 0 < options.share < 1:
        raise RequestError(f"--share {options.share:g}: choose between 0 and 1, both excluded.")


def _record(summary: Summary) -> dict[str, Any]:
    return {
        "folder": str(summary.folder),
        "splits": summary.splits,
        "slices": summary.slices,
        "skipped": [{"subject": subject, "reason": why} for subject, why in summary.skipped],
        "notes": {o.subject: list(o.notes) for o in summary.outcomes.values() if o.notes},
    }


def _lines(summary: Summary) -> list[str]:
    prepared = sum(len(ids) for ids in summary.splits.values())
    kept = sum(outcome.kept for outcome in summary.outcomes.values())
    sizes = ", ".join(f"{name} {len(ids)}" for name, ids in summary.splits.items())
    lines = [f"prepared {prepared} subjects ({kept} were there already): {sizes}; "
             f"{summary.slices} slices"]  # fmt: skip
    lines += [f"note: {o.subject}: {note}" for o in summary.outcomes.values() for note in o.notes]
    lines += [f"skipped {len(summary.skipped)}:"] if summary.skipped else []
    lines += [f"  {subject}: {why}" for subject, why in summary.skipped]
    return [*lines, f"wrote {summary.folder}; look at {summary.folder / 'sheets'}"]
