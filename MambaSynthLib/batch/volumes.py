"""Many volumes through one model, one at a time: no file's trouble stops the others.

| status          | what became of a file                                                   |
|-----------------|-------------------------------------------------------------------------|
| done            | its result was computed and written                                     |
| finished before | the result is there already, see ``existing.py``                        |
| made otherwise  | a result of other settings, weights or voxels is there, and stays       |
| failed          | for the reason in its message                                           |
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from MambaSynthLib.batch.existing import Settings, existing_result, read_source
from MambaSynthLib.batch.tree import Task
from MambaSynthLib.engine import Engine
from MambaSynthLib.errors import MambaSynthError
from MambaSynthLib.gate.admission import BY_OPTION, admit
from MambaSynthLib.io.files import write_volume

UNDONE = ("failed", "made otherwise")


@dataclass(frozen=True)
class Outcome:
    """What became of one task."""

    source: str
    output: str
    status: str
    seconds: float
    message: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def outcomes(engine: Engine, tasks: Sequence[Task], settings: Settings) -> Iterator[Outcome]:
    """The outcome of every task in turn; no file's trouble stops the others."""
    for task in tasks:
        yield outcome_of(engine, task, settings)


def outcome_of(engine: Engine, task: Task, settings: Settings) -> Outcome:
    """Synthesize one file unless it is finished."""
    started = time.monotonic()
    try:
        status, message = _synthesize(engine, task, settings)
    except (MambaSynthError, OSError, MemoryError) as error:
        status, message = "failed", reason(error)
    except Exception as error:  # one file, whatever is wrong with it, must not stop the rest
        status, message = "failed", f"a bug in MambaSynth ({type(error).__name__}: {error})"
    seconds = round(time.monotonic() - started, 1)
    return Outcome(str(task.source), str(task.output), status, seconds, message)


def reason(error: Exception) -> str:
    """Why a file failed, without the folders it lies in."""
    if isinstance(error, OSError):
        return f"{error.strerror or type(error).__name__}; check the disk and the permissions"
    return str(error) or "the memory of this machine is not enough"


def _synthesize(engine: Engine, task: Task, settings: Settings) -> tuple[str, str]:
    """Status and message."""
    source = read_source(task.source, settings)
    there = existing_result(task.output, source, engine.package, settings)
    if there.kind == "finished":
        return "finished before", ""
    if there.kind == "made otherwise" and not settings.overwrite:
        return "made otherwise", f"{there.reason}; add --overwrite to make it again."
    card = engine.package.card
    contrast = card.source_contrasts[0]
    admitted = admit(source, contrast, forced=settings.force, insist=BY_OPTION)
    task.output.parent.mkdir(parents=True, exist_ok=True)
    synthesis = engine.synthesize(
        {contrast: admitted},
        steps=settings.steps,
        samples=settings.samples,
        seed=settings.seed,
        noise=settings.noise,
        batch=settings.batch,
        planes=settings.planes,
        pixel_mark=settings.pixel_mark,
    )
    target = card.target_contrasts[0]
    record = synthesis.record_of(target)
    write_volume(synthesis.volumes[target], task.output, provenance=record, overwrite=True)
    return "done", "; ".join(admitted.notes[len(source.notes) :])
