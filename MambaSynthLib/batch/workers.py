"""The files of a cohort, shared out over processes of this machine.

Each lane is one process that keeps its model loaded. A process that dies, for lack of memory for
instance, costs the file it was at; the lane gets a new process for the next one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from queue import SimpleQueue

from MambaSynthLib.batch.existing import Settings
from MambaSynthLib.batch.tree import Task
from MambaSynthLib.batch.volumes import Outcome, outcome_of
from MambaSynthLib.engine import Engine
from MambaSynthLib.model.package import read_package

THREADS = "OMP_NUM_THREADS"


@dataclass(frozen=True)
class Model:
    """What a process needs to load the engine."""

    folder: Path
    device: str
    backend: str
    settings: Settings


class _Lane:
    """One process at a time."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._start()

    def _start(self) -> None:
        spawn = get_context("spawn")  # a forked process would share locks of torch's threads
        self.process = ProcessPoolExecutor(1, spawn, _load, (self.model,))

    def run(self, task: Task) -> Outcome:
        try:
            return self.process.submit(_work, task).result()
        except BrokenProcessPool:
            self._start()
            message = "its process was killed, probably for lack of memory; use fewer --jobs"
            return Outcome(str(task.source), str(task.output), "failed", 0.0, message)

    def stop(self) -> None:
        self.process.shutdown(wait=False, cancel_futures=True)


def outcomes_of_jobs(model: Model, tasks: Sequence[Task], jobs: int) -> Iterator[Outcome]:
    """The outcomes of all tasks, as they come, from ``jobs`` processes."""
    os.environ.setdefault(THREADS, str(max(1, (os.cpu_count() or 1) // jobs)))
    free: SimpleQueue[_Lane] = SimpleQueue()
    lanes = [_Lane(model) for _ in range(min(jobs, len(tasks)))]
    for lane in lanes:
        free.put(lane)

    def run(task: Task) -> Outcome:
        lane = free.get()
        try:
            return lane.run(task)
        finally:
            free.put(lane)

    threads = ThreadPoolExecutor(len(lanes))
    try:
        for future in as_completed([threads.submit(run, task) for task in tasks]):
            yield future.result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for lane in lanes:
            lane.stop()


_loaded: dict[str, tuple[Engine, Settings]] = {}  # of this process


def _load(model: Model) -> None:
    engine = Engine(read_package(model.folder), model.device, model.backend)
    _loaded["model"] = (engine, model.settings)


def _work(task: Task) -> Outcome:
    engine, settings = _loaded["model"]
    return outcome_of(engine, task, settings)
