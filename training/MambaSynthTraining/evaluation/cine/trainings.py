"""The trainings of a table: every row with several seeds, some of them side by side."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from MambaSynthLib.errors import RequestError
from MambaSynthTraining.data.kinds import open_data
from MambaSynthTraining.engine.fit import Hardware, continued, fit
from MambaSynthTraining.evaluation.reproduction import Row
from MambaSynthTraining.recipe import Recipe
from MambaSynthTraining.recipe_file import resolved
from MambaSynthTraining.record import read_record
from MambaSynthTraining.run_folder import RUN


def run_folder(runs: Path, row: Row, seed: int) -> Path:
    return runs / row.name / f"seed-{seed}"


def train_all(
    rows: Sequence[Row], data: Path, runs: Path, seeds: int, device: str, jobs: int
) -> None:
    """Every row with the seeds 0, 1, ..., as far as it is not done; ``jobs`` trainings at once,
    which share the cores. Those that run when one fails are waited for.

    Raises MambaSynthError: a row cannot be trained, or a folder holds a run of another recipe.
    """
    todo = []
    for seed in range(seeds):
        for row in rows:
            seeded = replace(row, recipe=replace(row.recipe, seed=seed))
            run = run_folder(runs, row, seed)
            if not _is_finished(run, seeded.recipe):
                todo.append((seeded, data, run, device))
    if jobs == 1:
        for one in todo:
            print(train_one(*one), flush=True)
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    context = get_context("spawn")  # a fresh process each, whose processor time is one training's
    with ProcessPoolExecutor(jobs, context, max_tasks_per_child=1) as pool:
        running = [pool.submit(train_one, *one, threads) for one in todo]
        try:
            for ended in as_completed(running):
                print(ended.result(), flush=True)
        except BrokenProcessPool:
            raise RequestError(
                "a training was killed, perhaps for want of memory; give the same command again "
                "with fewer --jobs, it goes on."
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def train_one(row: Row, data: Path, run: Path, device: str, threads: int = 0) -> str:
    """One training by the engine; returns what to tell. ``threads`` 0: as many as torch has."""
    import torch

    if threads:
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    hardware = Hardware("cpu" if device == "cpu" else "gpu", devices=1, nodes=1)
    fit(row.recipe, row.path, open_data(row.recipe, data), run, hardware)
    record = read_record(run)
    return f"{row.title}, seed {row.recipe.seed}: {record['minutes']:.1f} minutes"


def _is_finished(run: Path, recipe: Recipe) -> bool:
    """Raises FileError: the folder holds a run of another recipe."""
    if not (run / RUN).exists():
        return False
    continued(run, {"recipe": json.loads(json.dumps(resolved(recipe)))})
    return bool(read_record(run).get("finished"))
