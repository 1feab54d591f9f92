"""``mambasynth prepare``: images as they are published become a data set to train on."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MambaSynthLib.errors import RequestError

if TYPE_CHECKING:
    from MambaSynthTraining.data.cohort import Request, Summary
    from MambaSynthTraining.data.found import Layout

GLOBS = {"t1": "T1w", "t2": "T2w", "pd": "PDw", "flair": "FLAIR"}
CONTRASTS = ("T1w", "T2w")
REGISTER = {"ixi": "all", "paired": "needed", "unpaired": "evaluation"}  # others: none
SPLIT = {"ixi": "first40"}  # others: random
SMALLEST_SIZE, LARGEST_SIZE = 8, 4096


def add_parser(commands: Any) -> None:
    prepare = commands.add_parser("prepare", help="make a data set to train on")
    layouts = prepare.add_subparsers(dest="layout", required=True, metavar="LAYOUT")
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
        _add_common(parser, layout)
    phantom = layouts.add_parser("phantom", help="heads computed from label maps")
    _add_phantom(phantom.add_argument)
    _add_common(phantom, "phantom")


def _add_phantom(add: Any) -> None:
    add("--labels", type=Path, required=True, metavar="FOLDER", help="whole-head label maps")
    add("--skull", type=float, default=0.0, metavar="SHARE",
        help="of the heads that keep their skull (default: 0, all are stripped)")  # fmt: skip
    add("--no-lesions", action="store_true", help="healthy white matter")
    add("--no-flips", action="store_true", help="never mirror left and right")
    add("--field", type=float, metavar="TESLA", help="1.5 or 3 (default: drawn for each head)")


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
    """Find the subjects, prepare them, say who was skipped."""
    from MambaSynthLib.commands import console
    from MambaSynthTraining.data.cohort import check_folder, prepare_set

    _check(options)
    request = _request(options)
    check_folder(options.out, request)
    layout = _find(options)
    with console.slice_progress("preparing", unit="subjects") as progress:
        summary = prepare_set(options.out, layout, request, options.jobs, progress)
    console.result(_record(summary), _lines(summary), options.json)
    return 0


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
    if getattr(options, "mask", None) and options.register in ("evaluation", "none"):
        raise RequestError(
            f"--mask with --register {options.register}: a mask fits one grid only; use --register "
            "all or needed."
        )
    if len(set(getattr(options, "contrasts", ()))) < len(getattr(options, "contrasts", ())):
        raise RequestError("--contrasts: names a contrast twice; name each once.")


def _request(options: argparse.Namespace) -> Request:
    from MambaSynthLib.model.card import GridSpec, IntensitySpec
    from MambaSynthTraining.data.cohort import Request
    from MambaSynthTraining.data.found import Reading
    from MambaSynthTraining.data.preparing import Steps
    from MambaSynthTraining.data.stacks import SliceRule

    own = vars(options)
    steps = Steps(
        grid=GridSpec("LPS", options.spacing, tuple(options.size)),
        intensity=IntensitySpec("percentile", _upper_percentile(options.layout), (0.0, 1000.0)),
        rule=SliceRule(options.tissue, options.slices),
        reading=Reading(own.get("prefer"), own.get("nan_as_zero", False)),
        register=own.get("register", "none"),
        transform=own.get("transform", "rigid"),
        n4=own.get("n4", False),
        pairs=options.layout in ("ixi", "brats2018", "paired", "phantom"),
    )
    unrecorded = {"command", "run", "debug", "out", "jobs", "json", "folder", "labels", "strict"}
    recorded = {key: own[key] for key in sorted(own) if key not in unrecorded}
    return Request(
        name=options.layout,
        contrasts=_contrasts(options),
        steps=steps,
        register=steps.register,
        split=own.get("split", "given"),
        seed=own.get("seed", 0),
        by_site=own.get("by_site", False),
        limit=0 if options.layout == "phantom" else own.get("subjects", 0),
        strict=options.strict,
        options={key: list(v) if isinstance(v, tuple) else v for key, v in recorded.items()},
    )


def _upper_percentile(layout: str) -> float:
    """Slices that others have scaled to a range keep it; scanners' units are cut at 99.5 %."""
    return 100.0 if layout in ("folders", "reggan-npy") else 99.5


def _contrasts(options: argparse.Namespace) -> tuple[str, ...]:
    if options.layout in ("paired", "unpaired"):
        return tuple(c for name, c in GLOBS.items() if getattr(options, name))
    return tuple(options.contrasts)


def _find(options: argparse.Namespace) -> Layout:
    from MambaSynthTraining.data import brats2018, globbed, ixi, phantom_subjects, slice_folders
    from MambaSynthTraining.data.phantom_config import PhantomConfig

    contrasts = _contrasts(options)
    mask = globbed.Glob(options.mask) if getattr(options, "mask", None) else None
    if options.layout == "ixi":
        return ixi.find(options.folder, contrasts, mask)
    if options.layout == "brats2018":
        return brats2018.find(options.folder, contrasts)
    if options.layout in ("paired", "unpaired"):
        globs = {c: globbed.Glob(getattr(options, name)) for name, c in GLOBS.items()
                 if getattr(options, name)}  # fmt: skip
        return globbed.find(globs, paired=options.layout == "paired", masks=mask)
    if options.layout == "phantom":
        config = PhantomConfig(
            lesions=not options.no_lesions, flip=not options.no_flips, field_tesla=options.field
        )
        return phantom_subjects.find(
            options.labels, options.subjects, options.seed, contrasts, config, options.skull
        )
    kind: Any = "images" if options.layout == "folders" else "arrays"
    return slice_folders.find(options.folder, contrasts, kind)


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
