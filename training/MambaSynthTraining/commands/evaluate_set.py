"""``mambasynth evaluate-set``: scores of a run, a package or the trivial answers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from MambaSynthTraining.data.prepared import PreparedData
    from MambaSynthTraining.evaluation.candidates import Candidate
    from MambaSynthTraining.evaluation.downstream import Segmenter

TRIVIAL = "trivial"


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "evaluate-set",
        help="score a model on every subject of a prepared data set",
        description="Score a training run, a model package, or - with the word 'trivial' - the "
        "answers that need no model and the shifted targets, which go to subfolders.",
    )
    add = parser.add_argument
    add("what", metavar="RUN|PACKAGE|trivial")
    add("--data", type=Path, required=True, metavar="PREPARED")
    add("--split", default="test", metavar="SPLIT", help="train, validation or test (default)")
    add("--direction", nargs=2, metavar=("SOURCE", "TARGET"), help="e.g. T2w T1w, the second "
        "direction of a run that trained both (default: the data's)")  # fmt: skip
    add("--seeds", type=int, default=5, metavar="N", help="sampling seeds 0 to N-1 (default: 5)")
    add("--steps", type=int, metavar="N", help="network calls per draw (default: the model's)")
    add("--samples", type=int, metavar="K", help="noise draws to average (default: the model's)")
    add("--name", default="", help="of the row (default: the recipe's or the package's)")
    add("--device", default="auto", metavar="auto|cpu|cuda|mps")
    add("--out", type=Path, metavar="FOLDER", help="for scores; those of a cine run go into RUN")
    add("--segmenter", type=Path, metavar="FILE", help="also what a U-Net of the acquired target "
        "finds in the synthetic one, where tissues are known; it is trained once and kept "
        "there")  # fmt: skip
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from MambaSynthLib.errors import RequestError
    from MambaSynthTraining.data.prepared import open_prepared
    from MambaSynthTraining.evaluation.candidates import open_candidate
    from MambaSynthTraining.evaluation.trivial import trivial_candidates

    if options.seeds < 1:
        raise RequestError(f"--seeds is {options.seeds}; give at least 1.")
    path = Path(options.what)
    if _is_cine(path):
        return _score_cine(path, options)
    if options.out is None:
        raise RequestError("evaluate-set: --out is missing; name a folder for the scores.")
    data = open_prepared(options.data)
    data = data.toward(*options.direction) if options.direction else data
    if options.what == TRIVIAL:
        for candidate in trivial_candidates(data):
            _score(options, data, candidate, options.out / candidate.name.replace(" ", "-"))
        return 0
    with open_candidate(
        path, data, options.steps, options.samples, options.device, options.name
    ) as candidate:
        _score(options, data, candidate, options.out)
    return 0


def _is_cine(path: Path) -> bool:
    from MambaSynthTraining.run_folder import RUN
    from MambaSynthTraining.runs import open_run

    return (path / RUN).is_file() and open_run(path).kind == "cine"


def _score_cine(run: Path, options: argparse.Namespace) -> int:
    from MambaSynthLib.errors import RequestError
    from MambaSynthTraining.evaluation.cine.score import score_run

    given = (options.out, options.steps, options.samples, options.name, options.direction,
             options.segmenter)  # fmt: skip
    if any(given) or options.split != "test":
        raise RequestError(
            f"{run}: is a run of cines, whose test subjects are scored into the run itself; leave "
            "--out, --split, --steps, --samples, --name, --direction and --segmenter out."
        )
    device = "cpu" if options.device == "auto" else options.device
    made = score_run(run, options.data, device)
    print(f"{run}: {'scored' if made else 'was scored before'}")
    return 0


def _score(
    options: argparse.Namespace, data: PreparedData, candidate: Candidate, folder: Path
) -> None:
    from MambaSynthLib.commands import console
    from MambaSynthTraining.evaluation.score_files import summary, write_scores
    from MambaSynthTraining.evaluation.scoring import score

    segmenter = _segmenter(options, data)
    with console.slice_progress(f"scoring {candidate.name}", "volumes") as progress:
        scored = score(candidate, data, options.split, range(options.seeds), progress)
    record = write_scores(folder, candidate, data, options.split, scored, _command(options))
    print(summary(record))
    if segmenter:
        from MambaSynthTraining.evaluation.downstream import downstream, told, write_downstream

        rows = downstream(candidate, data, options.split, segmenter)
        write_downstream(folder, rows)
        print(told(rows))


def _segmenter(options: argparse.Namespace, data: PreparedData) -> Segmenter | None:
    if options.segmenter is None:
        return None
    from MambaSynthLib.commands import console
    from MambaSynthTraining.evaluation.downstream import segmenter_of

    with console.slice_progress("training the segmenter", "iterations") as progress:
        return segmenter_of(data, options.segmenter, progress)


def _command(options: argparse.Namespace) -> str:
    """What to type to get these numbers; no paths of this machine."""
    words = [f"--split {options.split}", f"--seeds {options.seeds}"]
    if options.direction:
        words.append(f"--direction {' '.join(options.direction)}")
    for name in ("steps", "samples"):
        if getattr(options, name) is not None:
            words.append(f"--{name} {getattr(options, name)}")
    what = TRIVIAL if options.what == TRIVIAL else "RUN"
    return f"mambasynth evaluate-set {what} --data PREPARED {' '.join(words)} --out FOLDER"
