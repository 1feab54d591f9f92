"""``mambasynth evaluate-cine``: frames of a cine are left out and made again, method by method."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MambaSynthLib.commands.options import add_motion_options, motion_options
from MambaSynthLib.errors import RequestError

if TYPE_CHECKING:
    from MambaSynthLib.cine.contestants import Contestant
    from MambaSynthLib.cine.leaving_out import Task
    from MambaSynthLib.cine.options import CineOptions
    from MambaSynthLib.cine.verdict import Verdict
    from MambaSynthLib.image.cine import Cine
    from MambaSynthLib.report.film_beside import Beside

ED_ES = "ed-es"
OURS = "MambaSynth"


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "evaluate-cine",
        help="leave frames of a cine out, make them again, and score that beside simple methods",
    )
    add = parser.add_argument
    add("inputs", type=Path, nargs="+", metavar="CINE",
        help="4-D file, folder of frames or of DICOM")  # fmt: skip
    add("--keep", default=ED_ES, metavar="ed-es|K",
        help="what the methods see: ED and ES, or every K-th frame; several with commas "
        "(default: ed-es)")  # fmt: skip
    add("--ed", metavar="N", help="number of the ED frame, from 1; one of each CINE with commas "
        "(default: found)")  # fmt: skip
    add("--es", metavar="N", help="number of the ES frame, likewise (default: found)")
    add("--rivals", default=None, metavar="LIST",
        help="comma-separated (default: no motion,linear blend,TV-L1,demons)")  # fmt: skip
    add("--masks", type=Path, metavar="FILE",
        help="4-D labels of the one CINE, for the error of the volume curve")  # fmt: skip
    add("--label", type=int, default=1, metavar="N", help="the label of --masks (default: 1)")
    add("--no-best-in-time", dest="best", action="store_false", help="leave out the best frames")
    add("-o", "--output", type=Path, metavar="FOLDER", help="for scores.csv and scores.json")
    add("--film", type=Path, metavar="FOLDER",
        help="for a moving picture of each cine beside the acquired one")  # fmt: skip
    add("--overwrite", action="store_true", help="replace what is in FOLDER")
    add("--json", action="store_true", help="print the scores as JSON")
    add_motion_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Score cine after cine; nothing is written before all are scored."""
    from MambaSynthLib.commands import console
    from MambaSynthLib.io.atomic import together
    from MambaSynthLib.report.cine_scores import check_scores_folder, tables, write_scores
    from MambaSynthLib.report.film_beside import check_films, film_name

    rivals = _rivals(options.rivals)
    keeps = [_keep(text) for text in options.keep.split(",")]
    how = motion_options(options)
    if options.masks and len(options.inputs) > 1:
        raise RequestError("--masks are those of one cine; evaluate the cines one by one.")
    if options.output:
        check_scores_folder(options.output, options.overwrite)
    tasks = _tasks(keeps, options)
    if options.film:
        check_films(options.film, [film_name(task) for task in tasks], options.overwrite)
    masks = _masks(options, tasks[0].cine)
    verdicts, films = [], []
    for task in tasks:
        verdict, film = _judge(task, rivals, how, masks, options)
        verdicts.append(verdict)
        films += [film] if film else []
        for note in verdict.notes:
            console.note(f"warning: {verdict.cine}: {note}")
    lines = tables(verdicts)
    record = {"cines": [verdict.to_dict() for verdict in verdicts]}
    with together() as files:
        written = write_scores(options.output, verdicts, into=files) if options.output else []
        for film in films:
            options.film.mkdir(parents=True, exist_ok=True)
            written.append(film.write(options.film, into=files))
    lines += [f"wrote {file}" for file in written]
    with console.after_writing():
        console.result(record, lines, options.json)
    return 0


def _judge(
    task: Task, rivals: list[str], how: CineOptions, masks: Cine | None, options: argparse.Namespace
) -> tuple[Verdict, Beside | None]:
    from MambaSynthLib.cine.referee import Referee
    from MambaSynthLib.cine.verdict import Verdict
    from MambaSynthLib.commands import console
    from MambaSynthLib.report.film_beside import Beside

    referee, film = Referee(task), None
    frames, motions, notes = [], [], ()
    with console.slice_progress(f"scoring {task.cine.name}", "methods") as progress:
        total = len(rivals) + 1
        progress(0, total)
        for done, contestant in enumerate(_contestants(task, rivals, how, options), start=1):
            frames += referee.score(contestant, options.best)
            motions.append(referee.motion(contestant, masks, options.label))
            notes = getattr(contestant, "warnings", notes)
            if options.film and contestant.name == OURS:
                film = Beside.of(task, contestant)
            progress(done, total)
    given = tuple(number + 1 for number in task.given)
    share = 100 * float(referee.region.mean())
    verdict = Verdict(
        task.cine.name, task.keep, given, share, referee.noise_decibels(), tuple(frames),
        tuple(motions), notes,
    )  # fmt: skip
    return verdict, film


def _contestants(
    task: Task, rivals: list[str], how: CineOptions, options: argparse.Namespace
) -> Iterator[Contestant]:
    from MambaSynthLib.cine.contestants import Ours, Rival
    from MambaSynthLib.cine.engine import CineEngine
    from MambaSynthLib.model.registry import cine_model

    for name in rivals:
        yield Rival(name, task.coarse)
    package = cine_model(options.model)
    yield Ours(OURS, CineEngine(package, options.device, options.backend), task, how)


def _tasks(keeps: list[int | None], options: argparse.Namespace) -> list[Task]:
    """Every cine with what is kept first of it, then every cine with what is kept next."""
    from MambaSynthLib.cine.leaving_out import ed_and_es_given, every_kth_given
    from MambaSynthLib.cine.phases import choose_phases

    count = len(options.inputs)
    eds, ess = _numbers("--ed", options.ed, count), _numbers("--es", options.es, count)
    cines = [_cine(path) for path in options.inputs]
    phases = [choose_phases(*each) for each in zip(cines, eds, ess, strict=True)]
    return [
        ed_and_es_given(cine, found) if keep is None else every_kth_given(cine, keep, found)
        for keep in keeps
        for cine, found in zip(cines, phases, strict=True)
    ]


def _cine(path: Path) -> Cine:
    from MambaSynthLib.io.cine_files import read_cine

    cine = read_cine(path, allow_synthetic=False)
    if len(cine.frames) < 3:
        raise RequestError(
            f"{cine.name}: has {len(cine.frames)} frames; to leave one out and compare, give a "
            "cine of three or more."
        )
    return cine


def _numbers(option: str, text: str | None, count: int) -> list[int | None]:
    """A frame number for each of ``count`` cines; one counts for all."""
    if text is None:
        return [None] * count
    parts = text.split(",")
    if not all(part.isdecimal() for part in parts) or len(parts) not in (1, count):
        raise RequestError(
            f"{option} {text}: is neither one frame number nor one for each of {count} cines; give "
            "one of them."
        )
    numbers: list[int | None] = [int(part) for part in parts]
    return numbers * (count // len(parts))


def _keep(text: str) -> int | None:
    if text == ED_ES:
        return None
    if not text.isdecimal():
        raise RequestError(f"--keep {text}: is neither ed-es nor a whole number; give one of them.")
    return int(text)


def _rivals(text: str | None) -> list[str]:
    from MambaSynthLib.cine.rivals import RIVALS

    if text is None:
        return list(RIVALS)
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in RIVALS]
    if unknown:
        raise RequestError(f"--rivals {unknown[0]}: is unknown; known are {', '.join(RIVALS)}.")
    return names


def _masks(options: argparse.Namespace, cine: Cine) -> Cine | None:
    if not options.masks:
        return None
    from MambaSynthLib.image.volume import check_same_grid
    from MambaSynthLib.io.cine_files import read_cine

    masks = read_cine(options.masks)
    if len(masks.frames) != len(cine.frames):
        raise RequestError(
            f"{masks.name}: has {len(masks.frames)} frames, but {cine.name} has "
            f"{len(cine.frames)}; give labels for each frame."
        )
    check_same_grid(masks.frames[0], cine.frames[0], masks.name, cine.name)
    if not any((frame.array.round() == options.label).any() for frame in masks.frames):
        raise RequestError(f"{masks.name}: has no label {options.label}; choose one with --label.")
    return masks
