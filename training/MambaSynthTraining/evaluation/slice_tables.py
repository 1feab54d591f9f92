"""The tables of contrast methods: one training for each recipe, scored with several seeds.

OUT/runs/cyclegan-3f2a90c1/      a training run; recipes that agree in every value share one
OUT/runs/.../scores/             its scores on the test split
OUT/trivial/                     the answers that need no model
OUT/table1/table.md ...          the report of the recipes in the folder table1
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from MambaSynthLib.errors import FileError
from MambaSynthTraining.data.prepared import PreparedData, open_prepared
from MambaSynthTraining.evaluation.alexnet import is_installed
from MambaSynthTraining.evaluation.candidates import Candidate, open_candidate
from MambaSynthTraining.evaluation.measures import NOT_COMPUTED
from MambaSynthTraining.evaluation.reproduction import Job, Settings
from MambaSynthTraining.evaluation.results import read_result, read_results
from MambaSynthTraining.evaluation.rows import Row
from MambaSynthTraining.evaluation.score_files import scored_subjects, write_scores
from MambaSynthTraining.evaluation.scoring import score as score_candidate
from MambaSynthTraining.evaluation.trivial import trivial_candidates
from MambaSynthTraining.runs import open_run

MADE_BY = "make tables"
DEVICES = {"auto": "auto", "cpu": "cpu", "gpu": "auto", "mps": "mps"}  # of an accelerator
COMPARE = (
    "These numbers cannot be compared with the paper's: other people (phantoms and two acquired "
    "patients instead of IXI), thicker and coarser slices, networks of about a hundredth of the "
    "size and minutes of training instead of hours. They show that every row trains, and is "
    "scored by the same protocol; with so few subjects even the order of the rows means little."
)


def trainings(rows: Sequence[Row], settings: Settings) -> list[Job]:
    return [Job(row, settings.runs / row.key) for row in rows]


def is_trained(job: Job) -> bool:
    return False  # the engine looks itself, at the data too


def score(job: Job, settings: Settings) -> None:
    run, data = job.run, open_prepared(settings.data)
    if _is_scored(run / "scores", data, settings.seeds, open_run(run).checkpoint_sha256):
        return
    device = DEVICES[settings.accelerator]
    with open_candidate(run, data, None, None, device, job.row.title) as candidate:
        _score(candidate, data, settings.seeds, run / "scores")


def score_trivial(settings: Settings) -> None:
    data = open_prepared(settings.data)
    for candidate in trivial_candidates(data):
        folder = settings.out / "trivial" / candidate.name.replace(" ", "-")
        if not _is_scored(folder, data, 1, None):
            _score(candidate, data, 1, folder)


def _score(candidate: Candidate, data: PreparedData, seeds: int, folder: Path) -> None:
    scored = score_candidate(candidate, data, "test", range(seeds))
    write_scores(folder, candidate, data, "test", scored, "reproduce")


def _is_scored(folder: Path, data: PreparedData, seeds: int, checkpoint: str | None) -> bool:
    """Whether there are scores of this checkpoint, on these data, with all that can be computed."""
    try:
        record = read_result(folder).record
    except FileError:
        return False
    return (
        record["about"].get("checkpoint_sha256") == checkpoint
        and record["data"]["subjects"] == scored_subjects(data, "test")
        and len(record["seeds"]) in (1, seeds)  # one where there is no noise
        and not (record["lpips"].startswith(NOT_COMPUTED) and is_installed())
    )


def report(name: str, rows: Sequence[Row], settings: Settings) -> str:
    """The Markdown has the paper's numbers beside ours."""
    from MambaSynthTraining.commands.report import write_report

    results = []
    for row in rows:
        result = read_result(settings.runs / row.key / "scores")
        about = {**result.record["about"], "recipe": row.path.name}  # two rows may be one run
        record = {**result.record, "name": row.title, "about": about}
        results.append(replace(result, record=record))
    trivial = read_results([settings.out / "trivial"])
    return write_report([*results, *trivial], settings.out / name)


def text(names: Sequence[str], texts: Sequence[str]) -> str:
    """All tables under their names, and why they are no comparison with the paper's."""
    parts = [COMPARE, ""]
    for name, one in zip(names, texts, strict=True):
        parts += [f"**{name}**", "", one]
    return "\n".join(parts)
