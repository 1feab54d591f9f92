"""The tables of contrast methods: each recipe is trained and scored with several seeds.

OUT/runs/cyclegan-3f2a90c1/      a training run; recipes that agree in every value share one
OUT/runs/.../scores/             its scores on the test split
OUT/trivial/                     the answers that need no model
OUT/table1/table.md ...          the report of the recipes in the folder table1

Of the other direction the folders are called ``scores-T2w-T1w`` and so on; a run whose method
trains one direction alone is made once more for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from MambaSynthLib.errors import FileError
from MambaSynthTraining.data.prepared import PreparedData, open_prepared
from MambaSynthTraining.evaluation.candidates import Candidate, open_candidate
from MambaSynthTraining.evaluation.lpips import find_perception
from MambaSynthTraining.evaluation.measures import NOT_COMPUTED
from MambaSynthTraining.evaluation.reproduction import Job, Settings
from MambaSynthTraining.evaluation.results import one_row, read_result, read_results
from MambaSynthTraining.evaluation.rows import Row
from MambaSynthTraining.evaluation.score_files import scored_subjects, write_scores
from MambaSynthTraining.evaluation.scoring import score as score_candidate
from MambaSynthTraining.evaluation.trivial import trivial_candidates
from MambaSynthTraining.methods import trains_back
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
    """Each row with every seed; where both directions are wanted and a method trains only one, once
    more for the other.
    """
    return [
        job
        for row in rows
        for n in range(settings.trainings)
        for turned in ((False, True) if settings.both else (False,))
        for job in [_job(row, n, settings, turned)]
    ]


def _job(row: Row, n: int, settings: Settings, turned: bool) -> Job:
    """The training that row ``n`` of one direction comes from."""
    recipe = replace(row.recipe, seed=row.recipe.seed + n)
    seeded = replace(row, recipe=recipe)
    if not turned or trains_back(recipe):
        return Job(seeded, settings.runs / seeded.key)
    way = other_direction(settings.data)
    return Job(seeded, settings.runs / f"{seeded.key}-{'-'.join(way)}", way)


def other_direction(data: Path) -> tuple[str, str]:
    source, target = open_prepared(data).contrasts[:2]
    return target, source


def is_trained(job: Job, settings: Settings) -> bool:
    return False  # the engine looks itself, at the data too


def score(job: Job, settings: Settings) -> None:
    data = open_prepared(settings.data)
    ways = [job.direction or data.contrasts[:2]]
    if settings.both and not job.direction and trains_back(job.row.recipe):
        ways.append(other_direction(settings.data))
    for way in ways:
        turned, folder = data.toward(*way), job.run / _scores(data, way)
        checkpoint = open_run(job.run).checkpoint_sha256
        if not _is_scored(folder, turned, settings.seeds, checkpoint):
            device = DEVICES[settings.accelerator]
            with open_candidate(job.run, turned, None, None, device, job.row.title) as candidate:
                _score(candidate, turned, settings.seeds, folder)


def _scores(data: PreparedData, way: tuple[str, ...], what: str = "scores") -> str:
    """The name of a folder of one direction; the data's own needs no mention."""
    return what if way == data.contrasts[:2] else f"{what}-{'-'.join(way)}"


def score_trivial(settings: Settings) -> None:
    data = open_prepared(settings.data)
    for way in _ways(settings):
        turned, place = data.toward(*way), settings.out / _scores(data, way, "trivial")
        for candidate in trivial_candidates(turned):
            folder = place / candidate.name.replace(" ", "-")
            if not _is_scored(folder, turned, 1, None):
                _score(candidate, turned, 1, folder)


def _ways(settings: Settings) -> list[tuple[str, ...]]:
    own = open_prepared(settings.data).contrasts[:2]
    return [own, own[::-1]] if settings.both else [own]


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
        and len(record["seeds"]) == (seeds if record.get("random", len(record["seeds"]) > 1) else 1)
        and not (record["lpips"].startswith(NOT_COMPUTED) and find_perception()[0])
    )


def report(name: str, rows: Sequence[Row], settings: Settings) -> str:
    """The Markdown has the paper's numbers beside ours; one table for each direction."""
    data = open_prepared(settings.data)
    return "\n".join(
        _report(rows, settings, way, _scores(data, way, name)) for way in _ways(settings)
    )


def _report(rows: Sequence[Row], settings: Settings, way: tuple[str, ...], name: str) -> str:
    from MambaSynthTraining.commands.report import write_report

    data, results = open_prepared(settings.data), []
    turned = way != data.contrasts[:2]
    for row in rows:
        jobs = [_job(row, n, settings, turned) for n in range(settings.trainings)]
        merged = one_row([read_result(job.run / _scores(data, way)) for job in jobs])
        about = {**merged.record["about"], "recipe": row.path.name}  # two rows may be one run
        record = {**merged.record, "name": row.title, "about": about}
        results.append(replace(merged, record=record))
    trivial = read_results([settings.out / _scores(data, way, "trivial")])
    return write_report([*results, *trivial], settings.out / name, remarks=settings.remarks)


def text(names: Sequence[str], texts: Sequence[str]) -> str:
    """All tables under their names, and why they are no comparison with the paper's."""
    parts = [COMPARE, ""]
    for name, one in zip(names, texts, strict=True):
        parts += [f"**{name}**", "", one]
    return "\n".join(parts)
