"""The tables of cine methods: every recipe is trained with the seeds 0, 1, ...

OUT/runs/mstg-small/seed-0               a training run, with its scores
OUT/runs/blend                           the scores of a row without training
OUT/runs/mstg-plus-small-refined/seed-0  those of the last row's frames as a user gets them
OUT/cine/table.md, table.csv, table.png  the table, every number of it, frames of a test subject
OUT/cine/card.json                       the table as an entry of a model card, for ``export``
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from MambaSynthLib.io.atomic import write_json, write_whole
from MambaSynthTraining.cine.rivals.trivial import TRIVIAL
from MambaSynthTraining.data.cines import hash_of
from MambaSynthTraining.data.dataset_files import DATASET, read_json
from MambaSynthTraining.data.heart_cine import read_split, read_subject
from MambaSynthTraining.engine.fit import continue_record
from MambaSynthTraining.evaluation.cine.comparison import RowScores, row_scores
from MambaSynthTraining.evaluation.cine.score import REFINED, refined_folder, score_run
from MambaSynthTraining.evaluation.cine.score import score_trivial as score_one_trivial
from MambaSynthTraining.evaluation.cine.table_picture import draw_table_picture
from MambaSynthTraining.evaluation.cine.table_text import card_entry, csv_rows, to_markdown
from MambaSynthTraining.evaluation.reproduction import Job, Settings
from MambaSynthTraining.evaluation.rows import Row
from MambaSynthTraining.evaluation.writing import write_csv
from MambaSynthTraining.methods import METHODS
from MambaSynthTraining.recipe_file import resolve
from MambaSynthTraining.record import read_record
from MambaSynthTraining.run_folder import RUN

CARD = "card.json"
MADE_BY = "make tables-cine"


def trainings(rows: Sequence[Row], settings: Settings) -> list[Job]:
    return [_training(row, seed, settings) for seed in range(settings.seeds) for row in rows]


def _training(row: Row, seed: int, settings: Settings) -> Job:
    seeded = replace(row, recipe=replace(row.recipe, seed=seed))
    return Job(seeded, settings.runs / row.name / f"seed-{seed}")


def is_trained(job: Job, settings: Settings) -> bool:
    """Raises FileError: the folder holds a run of another recipe, or of other people."""
    if not (job.run / RUN).exists():
        return False
    recipe = json.loads(json.dumps(resolve(job.row.recipe)))
    continue_record(job.run, {"recipe": recipe, "sha256": hash_of(settings.data)})
    return bool(read_record(job.run).get("finished"))


def score(job: Job, settings: Settings) -> None:
    score_run(job.run, settings.data, _device(settings))


def _device(settings: Settings) -> str:
    import torch

    wanted = "gpu" if settings.accelerator == "auto" else settings.accelerator
    there = wanted != "gpu" or torch.cuda.is_available()
    return {"gpu": "cuda"}.get(wanted, wanted) if there else "cpu"


def score_trivial(settings: Settings) -> None:
    for name in TRIVIAL:
        score_one_trivial(name, settings.runs / name, settings.data)


def report(name: str, rows: Sequence[Row], settings: Settings) -> str:
    """The table of runs that are scored, in all its forms; returns the Markdown. The last row is
    the one that the others are tested against; of a method of the library it is refined.
    """
    folders = {name: [settings.runs / name] for name in TRIVIAL}
    titles = {name: each.title for name, each in TRIVIAL.items()}
    for row in rows:
        titles[row.name] = row.title
        folders[row.name] = [_training(row, n, settings).run for n in range(settings.seeds)]
    last = rows[-1]
    if METHODS[last.recipe.method].card:
        titles[last.name + REFINED] = f"{last.title}, refined"
        folders[last.name + REFINED] = [_refined(run, settings) for run in folders[last.name]]
    scores = [row_scores(key, titles[key], found) for key, found in folders.items()]
    subjects = [read_subject(settings.data, one) for one in read_split(settings.data, "test")]
    frames = sum(len(subject.between) for subject in subjects) / len(subjects)
    markdown = to_markdown(scores, settings.seeds, frames, _name_of(settings.data))
    markdown += "".join(f"\n{remark}\n" for remark in settings.remarks)
    out = settings.out / name
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "table.md", markdown.encode())
    write_csv(out / "table.csv", *csv_rows(scores))
    write_json(out / CARD, _card(scores, settings.seeds))
    pictured = {titles[key]: found[0] for key, found in folders.items()}
    draw_table_picture(subjects[0], pictured, out / "table.png")
    return markdown


def _refined(run: Path, settings: Settings) -> Path:
    """Scored as the engine refines it, unless it is."""
    score_run(run, settings.data, _device(settings), refined=True)
    return refined_folder(run)


def _name_of(data: Path) -> str:
    """As ``papers.yaml`` calls the data set; '' where it does not say who it is."""
    path = data / DATASET
    return str(read_json(path).get("name", "")).lower() if path.exists() else ""


def _card(scores: Sequence[RowScores], seeds: int) -> dict[str, object]:
    hashes = dict.fromkeys(sha256 for one in scores for sha256 in one.checkpoints if sha256)
    return {"entry": card_entry(scores, seeds), "checkpoints": list(hashes)}


def text(names: Sequence[str], texts: Sequence[str]) -> str:
    return "\n".join(texts)
