"""``mambasynth synthesize-set``: a BIDS tree or any folder in, a tree of synthetic volumes out."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.io.atomic import write_json, write_whole

if TYPE_CHECKING:
    from MambaSynthLib.batch.volumes import Outcome, Task
    from MambaSynthLib.batch.workers import Model

SUMMARY = "synthesis"
COLUMNS = ("source", "output", "status", "seconds", "message")
EXIT_DONE, EXIT_SOME_FAILED, EXIT_INTERRUPTED = 0, 2, 130


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "synthesize-set", help="the same for every volume of a BIDS tree or a folder"
    )
    add = parser.add_argument
    add("input", type=Path, metavar="INPUT_DIR", help="folder, searched with its subfolders")
    add("-o", "--output", type=Path, required=True, metavar="OUT_DIR",
        help="finished outputs that are there already are kept")  # fmt: skip
    add("--to", required=True, metavar="CONTRAST", help="target contrast, for example T2w")
    add("--from", dest="source", metavar="CONTRAST", help="source contrast, for example T1w")
    add("--glob", metavar="PATTERN",
        help="the volumes in INPUT_DIR (default: **/*_T1w.* for the source T1w)")  # fmt: skip
    add("--model", metavar="ID|FOLDER", help="model package (default: the first that fits)")
    add("--steps", type=int, metavar="N", help="network calls per draw (default: the model's)")
    add("--samples", type=int, metavar="K", help="noise draws to average (default: the model's)")
    add("--seed", type=int, default=0, metavar="S", help="seed of all noise (default: 0)")
    add("--noise", choices=("per-slice", "shared"), default="per-slice",
        help="a noise draw for each slice, or one for all")  # fmt: skip
    add("--device", default="auto", metavar="auto|cpu|cuda|mps", help="where to compute")
    add("--backend", default="auto", metavar="auto|torch|onnxruntime", help="what computes")
    add("--batch", type=int, metavar="N", help="slices per network call (default: by device)")
    add("--jobs", type=int, default=1, metavar="N", help="processes on this machine (default: 1); "
        "over several machines, start the command with torchrun or srun")  # fmt: skip
    add("--prefer", choices=("sform", "qform"), help="which of two disagreeing NIfTI forms counts")
    add("--nan-as-zero", action="store_true", help="read NaN and infinite voxels as zero")
    add("--json", action="store_true", help="print the outcomes as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do this process's share; 2 when a file failed."""
    from MambaSynthLib.batch.volumes import find_tasks, place_of, share_of

    rank, processes, local = place_of(os.environ)
    if options.jobs < 1:
        raise RequestError(f"--jobs is {options.jobs}; give at least 1.")
    model, contrasts = _model(options, local if processes > 1 else None)
    tasks = find_tasks(options.input, options.output, contrasts, options.glob)
    _describe(options.output)
    name = SUMMARY if processes == 1 else f"{SUMMARY}-{rank + 1}-of-{processes}"
    found: list[Outcome] = []
    try:
        share = share_of(tasks, rank, processes)
        for outcome in _with_progress(_outcomes(model, share, options.jobs), len(share)):
            found.append(outcome)  # one by one: what is done when Ctrl-C comes is reported
    except KeyboardInterrupt:
        _write_summary(options.output / f"{name}.csv", found)
        _say_how_many(found, len(share))
        return EXIT_INTERRUPTED
    found.sort(key=lambda outcome: outcome.source)
    _write_summary(options.output / f"{name}.csv", found)
    if options.json:
        print(json.dumps([outcome.to_dict() for outcome in found], indent=2))
    else:
        _print_table(found, options.output / f"{name}.csv")
    return EXIT_SOME_FAILED if any(o.status == "failed" for o in found) else EXIT_DONE


def _model(options: argparse.Namespace, local: int | None) -> tuple[Model, tuple[str, str]]:
    """The model with checked settings and device, and (source, target contrast)."""
    from MambaSynthLib.backends import choose_backend
    from MambaSynthLib.batch.volumes import Settings
    from MambaSynthLib.batch.workers import Model
    from MambaSynthLib.engine import contrast_card
    from MambaSynthLib.methods.diffusion import levels
    from MambaSynthLib.model.registry import choose_model

    package = choose_model(options.model, options.source, options.to)
    sampling = contrast_card(package).sampling
    settings = Settings(
        sampling.default_steps if options.steps is None else options.steps,
        sampling.default_samples if options.samples is None else options.samples,
        options.seed, options.noise, options.batch, options.prefer, options.nan_as_zero,
    )  # fmt: skip
    settings.check()
    levels(sampling.schedule, settings.steps)
    package.read_weights()  # a damaged package is told once, not for every file
    device = choose_backend(options.backend, options.device).choose_device(options.device)
    if device == "cuda" and local is not None:
        device = f"cuda:{local}"
    model = Model(package.folder, device, options.backend, settings)
    return model, (package.card.source_contrasts[0], options.to)


def _outcomes(model: Model, tasks: Sequence[Task], jobs: int) -> Iterator[Outcome]:
    from MambaSynthLib.batch.volumes import outcomes
    from MambaSynthLib.batch.workers import outcomes_of_jobs
    from MambaSynthLib.engine import Engine
    from MambaSynthLib.model.package import read_package

    if jobs > 1 and len(tasks) > 1:
        return outcomes_of_jobs(model, tasks, jobs)
    engine = Engine(read_package(model.folder), model.device, model.backend)
    return outcomes(engine, tasks, model.settings)


def _with_progress(found: Iterator[Outcome], total: int) -> Iterator[Outcome]:
    """Pass outcomes on; a bar with time left, or a line per file where there is no terminal."""
    from MambaSynthLib.commands import console

    with console.slice_progress("synthesizing", "files") as progress:
        progress(0, total)
        for done, outcome in enumerate(found, start=1):
            if outcome.status == "failed":
                console.note(f"failed: {outcome.message}")
            progress(done, total)
            yield outcome


def _describe(folder: Path) -> None:
    """``dataset_description.json``, which BIDS asks of derivatives; one that is there stays."""
    from MambaSynthLib import __version__

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"{folder}: cannot be made ({error.strerror}); choose another output folder."
        ) from error
    path = folder / "dataset_description.json"
    if not path.exists():
        record = {
            "Name": "Synthetic MR images, not for diagnosis",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "MambaSynth", "Version": __version__}],
        }
        write_json(path, record)


def _write_summary(path: Path, found: Sequence[Outcome]) -> None:

    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(outcome.to_dict() for outcome in found)
    write_whole(path, text.getvalue().encode("utf-8", "backslashreplace"))


def _say_how_many(found: Sequence[Outcome], total: int) -> None:
    from MambaSynthLib.commands import console

    console.note(
        f"mambasynth: interrupted after {len(found)} of {total} files; the same command goes on"
    )


def _print_table(found: Sequence[Outcome], summary: Path) -> None:
    """How many of each kind."""
    from rich.console import Console
    from rich.table import Table

    table = Table("outcome", "files", "seconds", title="synthesize-set")
    for status, count in sorted(Counter(outcome.status for outcome in found).items()):
        seconds = sum(outcome.seconds for outcome in found if outcome.status == status)
        table.add_row(status, str(count), f"{seconds:.1f}")
    Console().print(table)
    print(f"wrote {summary}")
