"""One synthesis from the click to the nodes in the scene, or one import of a model.

    job --volumes as files--> child process --events--> poll --done--> job: nodes

What is done, and with what, is a ``Job`` (``contrast_run.py``, ``cine_run.py``, ``model_jobs.py``).
The scene is touched once, at the very end, and only when the source is still what it was at the
start; so a failure, a cancel, a closed scene or an edited source leaves no trace.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import slicer
from slicer.i18n import tr as _

from MambaSynthLib.errors import MambaSynthError, RequestError

from . import dependencies, remote_engine
from .worker import DEVICES_ID, Event, Worker


class Job(Protocol):
    """What a run does."""

    do: str  # the request of the protocol

    def write(self, folder: Path) -> dict[str, Any]:
        """Put the source, if there is one, into ``folder``; the keys of the request.

        Raises VolumeError (unfit source) or FileError (full disk).
        """

    def loss(self, atEnd: bool) -> str | None:
        """Why the result can no longer be used, or None. Asked many times a second."""

    def place(self, event: Event) -> dict[str, Any]:
        """Make the nodes, if any, from the event ``done``; what ``finished`` tells of them.

        Everything is read and checked before the scene is touched.
        """


@dataclass
class Run:
    """A synthesis or an import under way."""

    id: int
    job: Job
    folder: Path
    startedAt: float | None = None  # when the first piece of work was done
    doneAtStart: int = 0
    lost: str | None = None  # why the result will not be used


class Runner:
    """Starts runs, follows them and has their results put into the scene."""

    def __init__(self, worker: Worker | None = None):
        self.worker = worker or Worker(
            temporaryFolder=Path(slicer.app.temporaryPath),
            environment=dependencies.childEnvironment,
            arguments=remote_engine.arguments,
        )
        self._run: Run | None = None

    @property
    def busy(self) -> bool:
        return self._run is not None

    def start(self, job: Job) -> None:
        """Send the job to the child process.

        Raises VolumeError (unfit source), RequestError (busy, no child) or FileError (full disk);
        nothing has changed then.
        """
        if self.busy:
            raise RequestError(_("A synthesis is running already; wait for it or cancel it."))
        try:
            folder = self.worker.newRunFolder()
        except OSError as error:
            raise RequestError(
                _("The temporary folder cannot be written ({reason}); free some space.").format(
                    reason=error.strerror or error
                )
            ) from error
        try:
            self._run = Run(self._send(job, folder), job, folder)
        except MambaSynthError:
            self.worker.removeRunFolder(folder)
            raise

    def _send(self, job: Job, folder: Path) -> int:
        request = {**job.write(folder), "folder": str(folder)}
        try:
            return self.worker.run(job.do, request)
        except OSError as error:
            message = _("The synthesis process cannot be started ({reason}); reinstall MambaSynth.")
            raise RequestError(message.format(reason=error.strerror or error)) from error

    def cancel(self) -> None:
        if self.busy:
            self.worker.cancel()

    def stop(self) -> None:
        """End everything, at once: the panel or Slicer is being closed."""
        self.worker.stop()
        self._run = None

    # -------------------------------------------------------------------------------- events

    def poll(self) -> list[Event]:
        """What has happened, for the panel: the events of the worker, and ``finished``.

        ``finished`` carries what ``Job.place`` tells of the new nodes. A ``failed`` is told in
        words for the user; ``progress`` has ``secondsLeft`` (or None).
        """
        self._watchSource()
        return [told for event in self.worker.poll() if (told := self._handled(event))]

    def _watchSource(self) -> None:
        run = self._run
        if run and not run.lost:
            run.lost = run.job.loss(atEnd=False)
            if run.lost:
                self.worker.cancel()

    def _handled(self, event: Event) -> Event | None:
        run = self._run
        kind = event["event"]
        if kind in ("log", "devices"):
            return event
        if kind == "failed" and event.get("id") == DEVICES_ID:
            return {"event": "devices", "devices": [], "why": event["message"]}
        if run is None or event.get("id") != run.id:
            return None
        if kind == "progress":
            return {**event, "secondsLeft": secondsLeft(run, event["done"], event["total"])}
        if kind not in ("done", "cancelled", "failed", "crashed"):
            return event
        try:
            return self._ended(run, event)
        finally:
            self.worker.removeRunFolder(run.folder)
            self._run = None

    def _ended(self, run: Run, event: Event) -> Event:
        run.lost = run.lost or run.job.loss(atEnd=True)
        if run.lost:
            return {"event": "failed", "message": run.lost, "details": ""}
        if event["event"] != "done":
            return event
        try:
            placed = run.job.place(event)
        except MambaSynthError as error:
            return {"event": "failed", "message": str(error), "details": ""}
        return {"event": "finished", "seconds": event["seconds"], **placed}


def secondsLeft(run: Run, done: int, total: int) -> float | None:
    """From the pace since the first piece of work; None until there is a pace."""
    now = time.monotonic()
    if run.startedAt is None:
        run.startedAt, run.doneAtStart = now, done
        return None
    if done <= run.doneAtStart:
        return None
    return (now - run.startedAt) / (done - run.doneAtStart) * (total - done)


def runToEnd(runner: Runner, job: Job, idle: Callable[[], None]) -> Event:
    """For scripts: run and wait; returns the ``finished`` event, raises RuntimeError else."""
    runner.start(job)
    return followToEnd(runner.poll, idle)


def followToEnd(poll: Callable[[], list[Event]], idle: Callable[[], None]) -> Event:
    """Wait for what was started, as ``runToEnd``."""
    while True:
        for event in poll():
            if event["event"] == "finished":
                return event
            if event["event"] in ("failed", "crashed"):
                logging.debug(event["details"])
                raise RuntimeError(event["message"])
            if event["event"] == "cancelled":
                raise RuntimeError(_("The synthesis was cancelled."))
        idle()
        time.sleep(0.02)
