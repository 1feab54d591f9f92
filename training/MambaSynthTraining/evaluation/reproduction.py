"""Tables row by row: a recipe is trained, scored and reported, and what is finished is kept.

    OUT/runs/cyclegan-3f2a90c1/      a training run; recipes that agree in every value share one
    OUT/runs/.../scores/             its scores on the test split
    OUT/trivial/                     the answers that need no model
    OUT/table1/table.md ...          the report of the recipes in the folder table1

A row is trained again when its recipe has changed, and scored again when its checkpoint has.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from MambaSynthLib.errors import FileError, RequestError
from MambaSynthTraining.data.kinds import kind_of, open_data
from MambaSynthTraining.evaluation.papers import SMALL as SMALL
from MambaSynthTraining.recipe import Recipe, Stage
from MambaSynthTraining.recipe_file import read_recipe, resolved

NEITHER = ("expected",)  # parts of a recipe that change no number
Say = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    path: Path
    recipe: Recipe

    @property
    def title(self) -> str:
        """``expected.row`` of the recipe, or its file's name."""
        return str(self.recipe.expected.get("row", self.path.stem.removesuffix(SMALL)))

    @property
    def key(self) -> str:
        """Equal for rows that are one training."""
        values = {k: v for k, v in resolved(self.recipe).items() if k not in NEITHER}
        digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
        return f"{self.recipe.method}-{digest[:8]}"

    @property
    def minutes(self) -> float:
        """What the recipe expects of its training, for the time left."""
        hours = self.recipe.expected.get("hours", 0.0)
        return 60 * float(hours) + float(self.recipe.expected.get("minutes", 0.0))


def find_rows(table: Path, small: bool, iterations: int = 0) -> list[Row]:
    """The recipes in the folder of a table, in the order of ``expected.order``.

    ``small`` takes the twins instead of the full rows; ``iterations`` cuts each stage to so many,
    to try whether everything runs.

    Raises FileError or RequestError: there are none, or one cannot be read.
    """
    paths = [p for p in sorted(table.glob("*.yaml")) if p.stem.endswith(SMALL) == small]
    if not paths:
        kind = f"{SMALL} twin" if small else "recipe"
        raise FileError(f"{table}: holds no {kind} (*.yaml); name a folder of recipes.")
    rows = [Row(path, _cut(read_recipe(path), iterations)) for path in paths]
    return sorted(rows, key=lambda row: (row.recipe.expected.get("order", 99), row.path.name))


def _cut(recipe: Recipe, iterations: int) -> Recipe:
    if not iterations:
        return recipe
    stages: tuple[Stage, ...] = tuple(
        replace(stage, iterations=min(stage.iterations, iterations)) for stage in recipe.stages
    )
    return replace(recipe, stages=stages)


@dataclass(frozen=True)
class Settings:
    """What all rows have in common."""

    data: Path
    out: Path
    seeds: int
    accelerator: str = "auto"


def reproduce(tables: Sequence[tuple[str, list[Row]]], settings: Settings, say: Say) -> list[str]:
    """Train and score what is not finished, report every table; returns the tables' Markdown.

    Raises RequestError: a recipe is of a cine method.
    """
    rows = {row.key: row for _, found in tables for row in found}  # each training once
    for row in rows.values():
        if kind_of(row.recipe) != "contrast":
            raise RequestError(
                f"{row.path}: trains on cines; make its table with 'python -m "
                "MambaSynthTraining.evaluation.cine.tables'."
            )
    score_trivial(settings)
    spent: dict[str, float] = {}
    started = time.monotonic()
    for n, (key, row) in enumerate(rows.items()):
        before = time.monotonic()
        say(f"row {n + 1} of {len(rows)}: {row.title}")
        train_and_score(row, settings)
        spent[key] = (time.monotonic() - before) / 60
        left = _minutes_left(list(rows.values()), spent)
        total = (time.monotonic() - started) / 60
        say(f"  {spent[key]:.1f} minutes, {total:.1f} so far, about {left:.0f} left")
    return [report_table(name, found, settings) for name, found in tables]


def _minutes_left(rows: Sequence[Row], spent: dict[str, float]) -> float:
    """By the expectations of the recipes, corrected by what the finished rows needed."""
    expected = sum(max(row.minutes, 0.1) for row in rows if row.key in spent)
    ratio = sum(spent.values()) / expected
    return ratio * sum(max(row.minutes, 0.1) for row in rows if row.key not in spent)


def run_folder(row: Row, settings: Settings) -> Path:
    return settings.out / "runs" / row.key


def train_and_score(row: Row, settings: Settings) -> None:
    """One row, unless it is finished."""
    from MambaSynthTraining.engine.fit import Hardware, fit

    run = run_folder(row, settings)
    hardware = Hardware(settings.accelerator)
    fit(row.recipe, row.path, open_data(row.recipe, settings.data), run, hardware)
    if not _is_scored(run, settings):
        score_run(run, row.title, settings)


def _is_scored(run: Path, settings: Settings) -> bool:
    """Whether there are scores of this checkpoint, on these data."""
    from MambaSynthTraining.data.prepared import open_prepared
    from MambaSynthTraining.evaluation.results import read_result
    from MambaSynthTraining.runs import open_run

    try:
        record = read_result(run / "scores").record
    except FileError:
        return False
    subjects = [{"subject": s.id, "sha256": s.sha256}
                for s in open_prepared(settings.data).subjects("test")]  # fmt: skip
    return (
        record["about"].get("checkpoint_sha256") == open_run(run).checkpoint_sha256
        and record["data"]["subjects"] == subjects
        and len(record["seeds"]) in (1, settings.seeds)  # one where there is no noise
    )


def score_run(run: Path, name: str, settings: Settings) -> None:
    from MambaSynthTraining.data.prepared import open_prepared
    from MambaSynthTraining.evaluation.candidates import opened
    from MambaSynthTraining.evaluation.scoring import score, write_scores

    data = open_prepared(settings.data)
    with opened(run, data, None, None, name=name) as candidate:
        rows, examples, lpips = score(candidate, data, "test", range(settings.seeds))
        write_scores(run / "scores", candidate, data, "test", rows, examples, lpips, "reproduce")


def score_trivial(settings: Settings) -> None:
    """The rows without a model, once."""
    from MambaSynthTraining.data.prepared import open_prepared
    from MambaSynthTraining.evaluation.results import read_result
    from MambaSynthTraining.evaluation.scoring import score, write_scores
    from MambaSynthTraining.evaluation.trivial import trivial_candidates

    data = open_prepared(settings.data)
    subjects = [{"subject": s.id, "sha256": s.sha256} for s in data.subjects("test")]
    for candidate in trivial_candidates(data):
        folder = settings.out / "trivial" / candidate.name.replace(" ", "-")
        if (folder / "scores.json").exists():
            if read_result(folder).record["data"]["subjects"] == subjects:
                continue
        rows, examples, lpips = score(candidate, data, "test", [0])
        write_scores(folder, candidate, data, "test", rows, examples, lpips, "reproduce")


def report_table(name: str, rows: Sequence[Row], settings: Settings) -> str:
    """The report in ``OUT/<name>``; its Markdown has the paper's numbers beside ours."""
    from MambaSynthTraining.commands.report import write_report
    from MambaSynthTraining.evaluation.results import read_result, read_results

    results = []
    for row in rows:
        result = read_result(run_folder(row, settings) / "scores")
        about = {**result.record["about"], "recipe": row.path.name}  # two rows may be one run
        record = {**result.record, "name": row.title, "about": about}
        results.append(replace(result, record=record))
    if not results:
        raise RequestError(f"{name}: has no rows.")
    trivial = read_results([settings.out / "trivial"])
    return write_report([*results, *trivial], settings.out / name)
