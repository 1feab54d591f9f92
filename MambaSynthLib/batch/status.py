"""What is missing in a folder of results: each source compared with what lies in its place."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from MambaSynthLib.batch.existing import Settings, existing_result, read_source
from MambaSynthLib.batch.tree import Task
from MambaSynthLib.batch.volumes import Outcome, reason
from MambaSynthLib.errors import MambaSynthError
from MambaSynthLib.gate.admission import BY_OPTION, admit
from MambaSynthLib.model.package import ModelPackage


def statuses(
    package: ModelPackage, tasks: Sequence[Task], settings: Settings, jobs: int
) -> Iterator[Outcome]:
    """'finished', 'missing', 'damaged', 'made otherwise' or 'failed' for every task in turn.

    Every file is read to its last voxel, on ``jobs`` threads, so a run with the same settings
    would compute exactly what is not 'finished'. 'failed' is what such a run could not do either.
    """
    with ThreadPoolExecutor(jobs) as threads:
        yield from threads.map(partial(_status_of, package, settings), tasks)


def _status_of(package: ModelPackage, settings: Settings, task: Task) -> Outcome:
    started = time.monotonic()
    status: str
    try:
        source = read_source(task.source, settings)
        there = existing_result(task.output, source, package, settings)
        status, message = there.kind, there.reason
        if status == "missing":  # and would stay so
            contrast = package.card.source_contrasts[0]
            admit(source, contrast, forced=settings.force, insist=BY_OPTION)
    except (MambaSynthError, OSError, MemoryError) as error:
        status, message = "failed", reason(error)
    seconds = round(time.monotonic() - started, 1)
    return Outcome(str(task.source), str(task.output), status, seconds, message)
