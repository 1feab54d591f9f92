"""``mambasynth synthesize-set``: a BIDS tree or any folder in, a tree of synthetic volumes out."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MambaSynthLib.commands.options import add_synthesis_options
from MambaSynthLib.errors import RequestError

if TYPE_CHECKING:
    from MambaSynthLib.batch.shares import Share
    from MambaSynthLib.batch.tree import Task
    from MambaSynthLib.batch.volumes import Outcome
    from MambaSynthLib.batch.workers import Model

SUMMARY = "synthesis"
EXIT_DONE, EXIT_SOME_UNDONE, EXIT_MISSING, EXIT_INTERRUPTED = 0, 2, 3, 130
EPILOG = """\
Exit codes: 0 all files of this share are done; 2 some failed or were made otherwise (each is named,
and listed in the summary); 3 with --status, something is missing; 130 interrupted.
The files are shared out over the processes of torchrun and srun and over the tasks of a SLURM job
array; in a PBS array, which has no number of tasks, give --share $PBS_ARRAY_INDEX/N."""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "synthesize-set",
        help="the same for every volume of a BIDS tree or a folder",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("input", type=Path, metavar="INPUT_DIR", help="folder, searched with its subfolders")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("-o", "--output", type=Path, metavar="OUT_DIR",
        help="finished outputs that are there already are kept")  # fmt: skip
    where.add_argument("--status", type=Path, metavar="OUT_DIR",
        help="only say which outputs are missing, damaged or made otherwise")  # fmt: skip
    add("--to", required=True, metavar="CONTRAST", help="target contrast, for example T2w")
    add("--from", dest="source", metavar="CONTRAST", help="source contrast, for example T1w")
    add("--glob", metavar="PATTERN",
        help="the volumes in INPUT_DIR (default: **/*_T1w.* for the source T1w)")  # fmt: skip
    add("--model", metavar="ID|FOLDER", help="model package (default: the first that fits)")
    add("--overwrite", action="store_true",
        help="make outputs of other settings, weights or sources again")  # fmt: skip
    add("--jobs", type=int, default=1, metavar="N", help="processes on this machine (default: 1)")
    add("--share", metavar="I/N", help="only the I-th of N equal parts of the files (default: that "
        "of this task of a SLURM job array; 1/1: all files, in an array too)")  # fmt: skip
    add("--json", action="store_true", help="print the outcomes as JSON")
    add_synthesis_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do this process's share; 2 when a file was not done."""
    from MambaSynthLib.batch.shares import rank_of, share_of
    from MambaSynthLib.batch.summary import print_counts, write_summary
    from MambaSynthLib.batch.tree import describe_results, find_tasks
    from MambaSynthLib.batch.volumes import UNDONE
    from MambaSynthLib.commands import console

    if options.jobs < 1:
        raise RequestError(f"--jobs is {options.jobs}; give at least 1.")
    if options.status:
        return _tell_status(options)
    share, local = share_of(os.environ, options.share), rank_of(os.environ).local
    model, contrasts = _model(options)
    model = replace(model, device=_device(options, local))
    tasks = find_tasks(options.input, options.output, contrasts, options.glob)
    console.note(share.sentence(len(tasks)))
    describe_results(options.output)
    summary = options.output / f"{_summary_name(share)}.csv"
    mine = share.of(tasks)
    found: list[Outcome] = []
    try:
        for outcome in _with_progress("synthesizing", _outcomes(model, mine, options.jobs), mine):
            found.append(outcome)  # one by one: what is done when Ctrl-C comes is reported
    except KeyboardInterrupt:
        write_summary(summary, found, options.input)
        console.note(
            f"mambasynth: interrupted after {len(found)} of {len(mine)} files; the same command "
            "goes on"
        )
        return EXIT_INTERRUPTED
    found.sort(key=lambda outcome: outcome.source)
    write_summary(summary, found, options.input)
    with console.after_writing():
        if options.json:
            print(json.dumps([outcome.to_dict() for outcome in found], indent=2))
        else:
            print_counts(found)
            console.say(f"wrote {summary}")
    return EXIT_SOME_UNDONE if any(o.status in UNDONE for o in found) else EXIT_DONE


def _tell_status(options: argparse.Namespace) -> int:
    """Compare the whole tree, or the share asked for; 3 unless everything is finished."""
    from MambaSynthLib.batch.shares import share_of
    from MambaSynthLib.batch.status import statuses
    from MambaSynthLib.batch.summary import print_counts, print_unfinished
    from MambaSynthLib.batch.tree import find_tasks
    from MambaSynthLib.commands import console
    from MambaSynthLib.model.package import read_package

    model, contrasts = _model(options)
    tasks = find_tasks(options.input, options.status, contrasts, options.glob)
    share = share_of({}, options.share)
    console.note(share.sentence(len(tasks)))
    mine = share.of(tasks)
    package = read_package(model.folder)
    compared = statuses(package, mine, model.settings, options.jobs)
    found = list(_with_progress("comparing", compared, mine))
    unfinished = [outcome for outcome in found if outcome.status != "finished"]
    if options.json:
        print(json.dumps([outcome.to_dict() for outcome in found], indent=2))
    else:
        print_counts(found)
        print_unfinished(unfinished, len(found))
    return EXIT_MISSING if unfinished else EXIT_DONE


def _summary_name(share: Share) -> str:
    """A file of its own for each part, so that tasks do not replace each other's."""
    return SUMMARY if share.count == 1 else f"{SUMMARY}-{share.number + 1}-of-{share.count}"


def _model(options: argparse.Namespace) -> tuple[Model, tuple[str, str]]:
    """The model with checked settings, on the device asked for, and (source, target contrast)."""
    from MambaSynthLib.batch.existing import Settings
    from MambaSynthLib.batch.workers import Model
    from MambaSynthLib.engine import contrast_card
    from MambaSynthLib.model.registry import choose_model

    package = choose_model(options.model, options.source, options.to)
    card = contrast_card(package)
    settings = Settings(
        card.sampling.default_steps if options.steps is None else options.steps,
        card.sampling.default_samples if options.samples is None else options.samples,
        options.seed, options.noise, options.batch, options.prefer, options.nan_as_zero,
        options.overwrite, options.force, options.pixel_mark, options.planes,
    )  # fmt: skip
    settings.check()
    card.check_steps(settings.steps)
    package.read_weights()  # a damaged package is told once, not for every file
    model = Model(package.folder, options.device, options.backend, settings)
    return model, (package.card.source_contrasts[0], options.to)


def _device(options: argparse.Namespace, local: int) -> str:
    """The device, checked; of several GPUs, each process of this machine gets its own in turn.

    Where every process sees one GPU only, as with ``srun --gpus-per-task=1``, it is number 0.
    """
    from MambaSynthLib.backends import choose_backend

    backend = choose_backend(options.backend, options.device)
    device = backend.choose_device(options.device)
    return f"cuda:{local % backend.gpu_count()}" if device == "cuda" and local else device


def _outcomes(model: Model, tasks: Sequence[Task], jobs: int) -> Iterator[Outcome]:
    from MambaSynthLib.batch.volumes import outcomes
    from MambaSynthLib.batch.workers import outcomes_of_jobs
    from MambaSynthLib.engine import Engine
    from MambaSynthLib.model.package import read_package

    if jobs > 1 and len(tasks) > 1:
        return outcomes_of_jobs(model, tasks, jobs)
    engine = Engine(read_package(model.folder), model.device, model.backend)
    return outcomes(engine, tasks, model.settings)


def _with_progress(
    title: str, found: Iterator[Outcome], tasks: Sequence[Task]
) -> Iterator[Outcome]:
    """Pass outcomes on; a bar with time left, or a line per file where there is no terminal."""
    from MambaSynthLib.batch.volumes import UNDONE
    from MambaSynthLib.commands import console

    with console.slice_progress(title, "files") as progress:
        progress(0, len(tasks))
        for done, outcome in enumerate(found, start=1):
            if outcome.status in UNDONE:
                console.note(f"{outcome.status}: {outcome.message}")
            progress(done, len(tasks))
            yield outcome
