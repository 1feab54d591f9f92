"""A run that synthesizes a cine: from a sequence, or ED and ES volumes, to a playing sequence."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from MambaSynthLib.errors import RequestError
from MambaSynthLib.provenance import Provenance
from MambaSynthLib.server.exchange import load_volume, save_volume

from . import annotation, sequences
from .frame_times import Pace
from .worker import Event

WATCH_S = 2.0  # between two looks at all frames of the source, which may be 1,000


@dataclass(frozen=True)
class CineRequest:
    """What the user asks for.

    ``frames``: how many the result has, the acquired ones included. ``ed`` and ``es``: frame
    numbers from 1, None: found. ``onlyPhases``: from ED to ES, without the other acquired frames.
    ``refine``: polish the motion on the frames. ``timing``: linear, cardiac, None: chosen.
    ``frameMs`` (ms from frame to frame) or ``heartRate`` (beats a minute): of a source that does
    not say when its frames were taken.
    """

    model: str
    frames: int = 30
    device: str = "auto"
    ed: int | None = None
    es: int | None = None
    onlyPhases: bool = False
    refine: bool = True
    timing: str | None = None
    seed: int = 0
    frameMs: float = 0.0
    heartRate: float = 0.0

    @property
    def pace(self) -> Pace:
        return Pace(self.frameMs, self.heartRate)


class CineJob:
    """A ``run.Job``. ``source``: a sequence or its proxy, or an ED volume with ``es``."""

    do = "cine"

    def __init__(self, source: Any, es: Any, request: CineRequest):
        self.request = request
        self._source = sequences.acquired(source, es, request.pace)
        self._ownerId = self._source.owner.GetID()
        self._esId = None if self._source.timesMs else es.GetID()
        self._fingerprint: tuple[Any, ...] = ()
        self._watched = 0.0

    def write(self, folder: Path) -> dict[str, Any]:
        source, request = self._source, self.request
        self._fingerprint = source.fingerprint()
        self._source = None  # from now on by its ID: it may be removed
        files = [
            save_volume(volume, folder / f"source-{number:04}.npz")
            for number, volume in enumerate(source.volumes())
        ]
        return {
            "model": request.model,
            "device": request.device,
            "sources": [str(file) for file in files],
            "times_ms": source.timesMs,
            "frames": request.frames,
            "ed": request.ed,
            "es": request.es,
            "only_phases": request.onlyPhases,
            "refine": request.refine,
            "timing": request.timing,
            "seed": request.seed,
        }

    def _nodes(self) -> list[Any]:
        ids = [nodeId for nodeId in (self._ownerId, self._esId) if nodeId]
        return [slicer.mrmlScene.GetNodeByID(nodeId) for nodeId in ids]

    def loss(self, atEnd: bool) -> str | None:
        nodes = self._nodes()
        if None in nodes:
            return _("The source was removed during the synthesis; nothing was changed.")
        if not atEnd and time.monotonic() - self._watched < WATCH_S:
            return None
        self._watched = time.monotonic()
        edited = _("The source was edited during the synthesis; start it again.")
        if sequences.refusal(*nodes, pace=self.request.pace):
            return edited
        same = self._acquired(nodes).fingerprint() == self._fingerprint
        return None if same else edited

    def _acquired(self, nodes: list[Any]) -> sequences.Acquired:
        return sequences.acquired(*nodes, pace=self.request.pace)

    def place(self, event: Event) -> dict[str, Any]:
        """``output`` (the sequence), its ``browser`` and ``proxy``, ``phases`` and ``warnings``."""
        provenance = Provenance.from_bids(event["provenance"])
        source = self._acquired(self._nodes())
        times = event["times_ms"]
        sequence = sequences.newSequence()
        for file, timeMs, number in zip(event["frames"], times, event["acquired"], strict=True):
            volume = load_volume(file)
            if volume.shape != source.frames[0].GetImageData().GetDimensions():
                raise RequestError(_("The result does not have the source's grid; report this."))
            made = provenance if number is None else None
            sequences.addFrame(sequence, volume, timeMs, source, made)
        browser = sequences.addToScene(sequence, source, provenance)
        sequences.play(browser, times)
        annotation.refresh()
        return {
            "output": sequence,
            "browser": browser,
            "proxy": browser.GetProxyNode(sequence),
            "phases": event["phases"],
            "warnings": provenance.warnings,
        }
