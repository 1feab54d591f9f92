"""One synthesis from the click to the nodes in the scene.

    start --volumes as files--> child process --events--> poll --done--> nodes

The scene is touched once, at the very end, and only when the source is still what it was at the
start; so a failure, a cancel, a closed scene or an edited source leaves no trace.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from MambaSynthLib.errors import MambaSynthError, RequestError
from MambaSynthLib.io.exchange import load_volume, save_volume
from MambaSynthLib.provenance import Provenance
from MambaSynthLib.volume import Volume

from . import annotation, mrml
from .worker import DEVICES_ID, Event, Worker


@dataclass(frozen=True)
class Request:
    """What the user asks for.

    ``steps`` and ``samples`` None: as the model's card says; ``slices``: first and end.
    """

    model: str
    sourceContrast: str = "T1w"
    targetContrast: str = "T2w"
    device: str = "auto"
    steps: int | None = None
    samples: int | None = None
    seed: int = 0
    slices: tuple[int, int] | None = None
    spread: bool = False


@dataclass
class Run:
    """A synthesis under way."""

    id: int
    request: Request
    folder: Path
    sourceId: str
    outputId: str | None  # None: a new node
    fingerprint: tuple[Any, ...]
    startedAt: float | None = None  # when the first piece of work was done
    doneAtStart: int = 0
    lost: str | None = None  # why the result will not be used


class Runner:
    """Starts runs, follows them and puts their results into the scene."""

    def __init__(self, worker: Worker | None = None):
        self.worker = worker or Worker(temporaryFolder=Path(slicer.app.temporaryPath))
        self._run: Run | None = None

    @property
    def busy(self) -> bool:
        return self._run is not None

    def start(self, source: Any, output: Any, request: Request) -> None:
        """Send ``source`` to the child process.

        Raises VolumeError (unfit source), RequestError (busy, output is the source, no child) or
        FileError (full disk); nothing has changed then.
        """
        if self.busy:
            raise RequestError(_("A synthesis is running already; wait for it or cancel it."))
        if output is source and source is not None:
            raise RequestError(_("The output must not be the source; choose another volume."))
        volume = mrml.toVolume(source)
        try:
            folder = self.worker.newRunFolder()
        except OSError as error:
            raise RequestError(
                _("The temporary folder cannot be written ({reason}); free some space.").format(
                    reason=error.strerror or error
                )
            ) from error
        try:
            runId = self._send(volume, request, folder)
        except MambaSynthError:
            self.worker.removeRunFolder(folder)
            raise
        outputId = output.GetID() if output else None
        sourceId, fingerprint = source.GetID(), mrml.fingerprint(source)
        self._run = Run(runId, request, folder, sourceId, outputId, fingerprint)

    def _send(self, volume: Volume, request: Request, folder: Path) -> int:
        file = save_volume(volume, folder / f"{request.sourceContrast}.npz")
        try:
            return self.worker.synthesize(
                {
                    "model": request.model,
                    "device": request.device,
                    "sources": {request.sourceContrast: str(file)},
                    "folder": str(folder),
                    "steps": request.steps,
                    "samples": request.samples,
                    "seed": request.seed,
                    "slices": request.slices,
                }
            )
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

        ``finished`` carries the new nodes: ``output`` and ``spread`` (or None). A ``failed`` is
        told in words for the user; ``progress`` has ``secondsLeft`` (or None).
        """
        self._watchSource()
        return [told for event in self.worker.poll() if (told := self._handled(event))]

    def _watchSource(self) -> None:
        run = self._run
        if run and not run.lost:
            run.lost = self._loss(run)
            if run.lost:
                self.worker.cancel()

    def _loss(self, run: Run) -> str | None:
        """Why the result of ``run`` can no longer be used, or None."""
        source = slicer.mrmlScene.GetNodeByID(run.sourceId)
        if source is None:
            return _("The source volume was removed during the synthesis; nothing was changed.")
        if mrml.fingerprint(source) != run.fingerprint:
            return _("The source volume was edited during the synthesis; start it again.")
        if run.outputId and slicer.mrmlScene.GetNodeByID(run.outputId) is None:
            return _("The output volume was removed during the synthesis; nothing was changed.")
        return None

    def _handled(self, event: Event) -> Event | None:
        run = self._run
        kind = event["event"]
        if kind in ("log", "devices"):
            return event
        if kind == "failed" and event.get("id") == DEVICES_ID:
            return {"event": "devices", "devices": []}  # "Automatic" will tell why when it is used
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
        run.lost = run.lost or self._loss(run)
        if run.lost:
            return {"event": "failed", "message": run.lost, "details": ""}
        if event["event"] != "done":
            return event
        try:
            return {"event": "finished", **self._place(run, event)}
        except MambaSynthError as error:
            return {"event": "failed", "message": str(error), "details": ""}

    def _place(self, run: Run, event: Event) -> dict[str, Any]:
        """Everything is read and checked before the scene is touched."""
        volume = load_volume(event["targets"][run.request.targetContrast])
        spread = load_volume(event["spread"]) if event["spread"] and run.request.spread else None
        provenance = Provenance.from_bids(event["provenance"])
        source = slicer.mrmlScene.GetNodeByID(run.sourceId)
        if volume.shape != source.GetImageData().GetDimensions():
            raise RequestError(_("The result does not have the source's grid; report this."))
        slicer.mrmlScene.SaveStateForUndo()
        name = mrml.syntheticName(source, run.request.targetContrast)
        output = slicer.mrmlScene.GetNodeByID(run.outputId) if run.outputId else None
        output = output or mrml.newVolumeNode(source, name)
        mrml.fill(output, volume, source)
        mrml.markSynthetic(output, provenance, source)
        annotation.refresh()
        if spread is None:
            return {"output": output, "spread": None, "seconds": event["seconds"]}
        spreadNode = mrml.newVolumeNode(source, f"{name} spread")
        mrml.fill(spreadNode, spread, source)
        mrml.markSynthetic(spreadNode, provenance, source)
        spreadNode.SetAttribute(mrml.SPREAD_ATTRIBUTE, "standard deviation over samples")
        return {"output": output, "spread": spreadNode, "seconds": event["seconds"]}


def secondsLeft(run: Run, done: int, total: int) -> float | None:
    """From the pace since the first piece of work; None until there is a pace."""
    now = time.monotonic()
    if run.startedAt is None:
        run.startedAt, run.doneAtStart = now, done
        return None
    if done <= run.doneAtStart:
        return None
    return (now - run.startedAt) / (done - run.doneAtStart) * (total - done)


def runToEnd(
    runner: Runner, source: Any, output: Any, request: Request, idle: Callable[[], None]
) -> Event:
    """For scripts: run and wait; returns the ``finished`` event, raises RuntimeError else."""
    runner.start(source, output, request)
    while True:
        for event in runner.poll():
            if event["event"] == "finished":
                return event
            if event["event"] in ("failed", "crashed"):
                logging.debug(event["details"])
                raise RuntimeError(event["message"])
            if event["event"] == "cancelled":
                raise RuntimeError(_("The synthesis was cancelled."))
        idle()
        time.sleep(0.02)
