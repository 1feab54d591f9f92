"""A run that synthesizes another contrast: from a volume node to a synthetic volume node."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from MambaSynthLib.errors import RequestError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.provenance import UNCERTAINTY, Provenance
from MambaSynthLib.server.exchange import load_volume, save_volume

from . import annotation, mrml
from .worker import Event

BRIGHTEST = 99.0  # percentile of an uncertainty map that gets the brightest color


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
    onePlane: bool = False  # also where slices of all planes would be averaged
    spread: bool = False
    preview: bool = False  # ``slices`` are one, for a look; it is no result
    force: bool = False  # what goes in was refused by the input gate, and the user insisted


def asked(request: Request, volume: Volume, folder: Path) -> dict[str, Any]:
    """The keys of the protocol's ``synthesize``; the volume goes into ``folder``."""
    file = save_volume(volume, folder / f"{request.sourceContrast}.npz")
    return {
        **({"planes": "one"} if request.onePlane else {}),  # which older engines do not know
        "model": request.model,
        "device": request.device,
        "sources": {request.sourceContrast: str(file)},
        "steps": request.steps,
        "samples": request.samples,
        "seed": request.seed,
        "slices": request.slices,
        "force": request.force,
    }


class ContrastJob:
    """A ``run.Job``. ``output`` None: a new node. Raises RequestError: the output is the source."""

    do = "synthesize"
    question = _("{why}\n\nSynthesize it all the same? The result will say that you insisted.")

    def __init__(self, source: Any, output: Any, request: Request):
        if output is source and source is not None:
            raise RequestError(_("The output must not be the source; choose another volume."))
        self.request = request
        self._source = source
        self._sourceId = source.GetID() if source else None
        self._outputId = output.GetID() if output else None
        self._fingerprint: tuple[Any, ...] = ()

    def insisting(self) -> ContrastJob:
        """The same, of a source that the input gate has refused; the result says so."""
        self.request = replace(self.request, force=True)
        return self

    def write(self, folder: Path) -> dict[str, Any]:
        request = self.request
        volume = mrml.toVolume(self._source)
        self._fingerprint = mrml.fingerprint(self._source)
        self._source = None  # from now on by its ID: it may be removed
        return asked(request, volume, folder)

    def loss(self, atEnd: bool) -> str | None:
        source = slicer.mrmlScene.GetNodeByID(self._sourceId)
        if source is None:
            return _("The source volume was removed during the synthesis; nothing was changed.")
        if mrml.fingerprint(source) != self._fingerprint:
            return _("The source volume was edited during the synthesis; start it again.")
        if self._outputId and slicer.mrmlScene.GetNodeByID(self._outputId) is None:
            return _("The output volume was removed during the synthesis; nothing was changed.")
        return None

    def place(self, event: Event) -> dict[str, Any]:
        """``output``, ``spread`` (or None) and the ``warnings`` of the synthesis."""
        volume = load_volume(event["targets"][self.request.targetContrast])
        spread = load_volume(event["spread"]) if event["spread"] and self.request.spread else None
        provenance = Provenance.from_bids(event["provenance"])
        source = slicer.mrmlScene.GetNodeByID(self._sourceId)
        if volume.shape != source.GetImageData().GetDimensions():
            raise RequestError(_("The result does not have the source's grid; report this."))
        slicer.mrmlScene.SaveStateForUndo()
        name = mrml.syntheticName(source, self.request.targetContrast)
        output = self._output(source, name)
        mrml.fill(output, volume, source, self.request.targetContrast)
        mrml.markSynthetic(output, provenance, source)
        if self.request.preview:
            output.SetAttribute(mrml.PREVIEW_ATTRIBUTE, "one slice")
        annotation.refresh()
        told = {"warnings": provenance.warnings, "notes": notesOf(provenance)}
        placed = {"output": output, "spread": None, **told}
        if spread is None:
            return placed
        spreadNode = mrml.newVolumeNode(source, f"{name} {UNCERTAINTY}")
        mrml.fill(spreadNode, spread, source)
        mrml.setColors(spreadNode, float(np.percentile(spread.array, BRIGHTEST)))
        mrml.markSynthetic(spreadNode, provenance.of_spread(), source)
        return {**placed, "spread": spreadNode}

    def _output(self, source: Any, name: str) -> Any:
        """The node that was chosen; else a new one, but one preview takes the place of another."""
        if self.request.preview:
            return mrml.previewOf(source) or mrml.newVolumeNode(source, f"{name} preview")
        chosen = slicer.mrmlScene.GetNodeByID(self._outputId) if self._outputId else None
        return chosen or mrml.newVolumeNode(source, name)


def notesOf(provenance: Provenance) -> list[str]:
    """What is said of every result and is no warning: a warning each time is read by nobody."""
    seen = provenance.taken_for and _("Taken for {what}.").format(what=provenance.taken_for)
    return [*filter(None, [seen, provenance.limits and f"{provenance.limits}."])]
