"""Tables row by row: a recipe is trained, scored and reported, and what is finished is kept.

    OUT/runs/...              the trainings, each with its scores
    OUT/table1/table.md ...   the report of the recipes in the folder table1; of several data sets,
                              accelerators or precisions each has a folder of its own in OUT

A row is trained again when its recipe has changed, and scored again when its checkpoint has.
What differs between slices and cines is in a module for each kind of data, see ``Tables``.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol, cast

from MambaSynthLib.errors import RequestError
from MambaSynthTraining.data.kinds import open_data
from MambaSynthTraining.engine.fit import Hardware, fit
from MambaSynthTraining.evaluation.rows import Row, common_kind

KINDS = {
    "contrast": "MambaSynthTraining.evaluation.slice_tables",
    "cine": "MambaSynthTraining.evaluation.cine.tables",
}
Say = Callable[[str], None]
KEPT = 0.1  # minutes; a training that took less was finished before


@dataclass(frozen=True)
class Settings:
    """What all rows have in common."""

    data: Path
    out: Path
    seeds: int  # of sampling; of trainings for cines
    accelerator: str = "auto"
    jobs: int = 1  # trainings at once
    precision: str = ""  # empty: the recipes'
    trainings: int = 1  # of each row of contrasts, with seeds that follow the recipe's
    both: bool = False  # whether contrasts are made in both directions
    remarks: tuple[str, ...] = ()  # what a report has to say of all rows

    @property
    def runs(self) -> Path:
        return self.out / "runs"


@dataclass(frozen=True)
class Job:
    """One training of a row: its recipe has the seed already.

    ``direction`` is that of the training where it is not the data set's.
    """

    row: Row
    run: Path
    direction: tuple[str, str] | None = None

    @property
    def name(self) -> str:
        way = f", {' -> '.join(self.direction)}" if self.direction else ""
        return f"{self.row.title}{way}, seed {self.row.recipe.seed}"


class Tables(Protocol):
    """A module that makes the tables of one kind of data."""

    MADE_BY: str  # names the block of a README that the tables go into

    def score_trivial(self, settings: Settings) -> None:
        """The rows without a model, unless they are scored."""
        ...

    def trainings(self, rows: Sequence[Row], settings: Settings) -> list[Job]:
        """What the rows need; those of equal rows may be one."""
        ...

    def is_trained(self, job: Job, settings: Settings) -> bool:
        """Whether nothing is left to train. Raises FileError: its folder has another recipe's."""
        ...

    def score(self, job: Job, settings: Settings) -> None:
        """Unless it is scored."""
        ...

    def report(self, name: str, rows: Sequence[Row], settings: Settings) -> str:
        """The report in ``OUT/name``; returns its Markdown."""
        ...

    def text(self, names: Sequence[str], texts: Sequence[str]) -> str:
        """All tables, for a README."""
        ...


def tables_of(rows: Sequence[Row]) -> Tables:
    """Raises RequestError: the rows are of several kinds, or of one that has no tables."""
    kind = common_kind(rows)
    if kind not in KINDS:
        raise RequestError(
            f"{rows[0].path}: learns from {kind}, which have no tables; train it with 'mambasynth "
            "train'."
        )
    return cast(Tables, importlib.import_module(KINDS[kind]))


def reproduce(tables: Sequence[tuple[str, list[Row]]], settings: Settings, say: Say) -> list[str]:
    """Train and score what is not finished, report every table; returns the tables' Markdown.

    Raises MambaSynthError: a row cannot be trained, or a folder holds a run of another recipe.
    """
    rows = [row for _, found in tables for row in found]
    kind = tables_of(rows)
    trainings = list({one.run: one for one in kind.trainings(rows, settings)}.values())
    todo = [one for one in trainings if not kind.is_trained(one, settings)]
    kind.score_trivial(settings)
    for job in trainings:
        if job not in todo:
            kind.score(job, settings)
    started, done = time.monotonic(), list[tuple[Job, float]]()
    for job, minutes in _trained(todo, settings):
        kind.score(job, settings)
        done.append((job, minutes))
        spent = (time.monotonic() - started) / 60
        left = _minutes_left(todo, done, spent)
        say(f"{job.name}: done, {len(done)} of {len(todo)} in {spent:.1f} minutes, about "
            f"{left:.0f} left")  # fmt: skip
    return [kind.report(name, found, settings) for name, found in tables]


def _minutes_left(todo: Sequence[Job], done: Sequence[tuple[Job, float]], spent: float) -> float:
    """By the expectations of the recipes, corrected by what those needed that were trained now."""
    left = sum(job.row.minutes for job in todo) - sum(job.row.minutes for job, _ in done)
    expected = sum(job.row.minutes for job, minutes in done if minutes > KEPT)
    return left * spent / expected if expected else left


def _trained(todo: Sequence[Job], settings: Settings) -> Iterator[tuple[Job, float]]:
    """Each as soon as it is trained; ``jobs`` at once, which share the cores. Those that run when
    one fails are waited for. What the caller computes meanwhile has one job's share of them.
    """
    import torch

    if settings.jobs == 1:
        for one in todo:
            yield train(one, settings)
        return
    before, threads = torch.get_num_threads(), max(1, (os.cpu_count() or 1) // settings.jobs)
    torch.set_num_threads(threads)
    context = get_context("spawn")  # a fresh process each, whose processor time is one training's
    with ProcessPoolExecutor(settings.jobs, context, max_tasks_per_child=1) as pool:
        running = [pool.submit(train, one, settings, threads) for one in todo]
        try:
            for ended in as_completed(running):
                yield ended.result()
        except BrokenProcessPool:
            raise RequestError(
                "a training was killed, perhaps for want of memory; give the same command again "
                "with fewer --jobs, it goes on."
            ) from None
        finally:
            torch.set_num_threads(before)
            pool.shutdown(wait=False, cancel_futures=True)


def train(job: Job, settings: Settings, threads: int = 0) -> tuple[Job, float]:
    """A job, trained by the engine, and the minutes it took. ``threads`` 0: all that torch has."""
    import torch

    started = time.monotonic()
    if threads:
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    recipe = job.row.recipe
    hardware = Hardware(settings.accelerator, 1, 1, settings.precision)
    data: Any = open_data(recipe, settings.data, job.direction)
    fit(recipe, job.row.path, data, job.run, hardware)
    return job, (time.monotonic() - started) / 60
