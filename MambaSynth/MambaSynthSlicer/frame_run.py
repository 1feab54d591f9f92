"""A run that synthesizes another contrast of one frame of a sequence, into a sequence beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from MambaSynthLib.errors import RequestError, VolumeError
from MambaSynthLib.provenance import Provenance
from MambaSynthLib.server.exchange import load_volume

from . import annotation, mrml, sequences
from .contrast_run import Request, asked
from .worker import Event


class FrameJob:
    """A ``run.Job`` for the data node at ``value``, an index value of ``sequence``.

    What it makes joins the output sequence of the same model and target; the first one makes it.
    Raises VolumeError: the frame cannot be synthesized from.
    """

    do = "synthesize"

    def __init__(self, sequence: Any, value: str, request: Request):
        frame = sequence.GetDataNodeAtValue(value)
        reason = _("the frame was removed") if frame is None else mrml.refusal(frame)
        if reason:
            message = _("Frame {value} of {name}: {reason}")
            told = message.format(value=value, name=sequence.GetName(), reason=reason)
            raise VolumeError(told)
        self.request = request
        self._sequenceId, self._value = sequence.GetID(), value
        self._fingerprint: tuple[Any, ...] = ()

    def write(self, folder: Path) -> dict[str, Any]:
        sequence = self._sequence()
        frame = sequence.GetDataNodeAtValue(self._value)
        self._fingerprint = mrml.fingerprint(frame)
        proxy = sequences.proxyOf(sequence)
        return asked(self.request, mrml.readVolume(frame, proxy, sequence.GetName()), folder)

    def _sequence(self) -> Any:
        return slicer.mrmlScene.GetNodeByID(self._sequenceId)

    def loss(self, atEnd: bool) -> str | None:
        sequence = self._sequence()
        frame = sequence.GetDataNodeAtValue(self._value) if sequence is not None else None
        if frame is None:
            return _("The source was removed during the synthesis; nothing was changed.")
        if mrml.fingerprint(frame) != self._fingerprint:
            return _("The source was edited during the synthesis; start it again.")
        return None

    def place(self, event: Event) -> dict[str, Any]:
        """``output``: the sequence."""
        volume = load_volume(event["targets"][self.request.targetContrast])
        provenance = Provenance.from_bids(event["provenance"])
        source = self._sequence()
        frame = source.GetDataNodeAtValue(self._value)
        if volume.shape != frame.GetImageData().GetDimensions():
            raise RequestError(_("The result does not have the source's grid; report this."))
        output = outputOf(source, provenance) or newOutput(source, provenance)
        made = slicer.vtkMRMLScalarVolumeNode()
        made.SetName(f"{output.GetName()} {self._value}")
        mrml.setVoxels(made, volume, frame)
        mrml.setTags(made, provenance)
        output.SetDataNodeAtValue(made, self._value)
        show(output, source, volume, provenance)
        annotation.refresh()
        return {"output": output, "warnings": provenance.warnings}


def outputOf(source: Any, provenance: Provenance) -> Any:
    """The sequence that frames of ``source`` were put into with the same settings, or None."""
    return next((s for s in outputsOf(source) if sameMaking(s, provenance)), None)


def outputsOf(source: Any) -> list[Any]:
    nodes = slicer.util.getNodesByClass("vtkMRMLSequenceNode")
    return [node for node in nodes if mrml.isSynthesisOf(node, source)]


def sameMaking(node: Any, provenance: Provenance) -> bool:
    own = mrml.provenanceOrNone(node)
    keys = ("model_id", "model_version", "target_contrast", "seed", "steps", "samples")
    return own is not None and all(getattr(own, k) == getattr(provenance, k) for k in keys)


def newOutput(source: Any, provenance: Provenance) -> Any:
    """An empty sequence in the scene, with the index of ``source`` and its study."""
    output = slicer.vtkMRMLSequenceNode()
    output.SetIndexName(source.GetIndexName())
    output.SetIndexUnit(source.GetIndexUnit())
    output.SetIndexType(source.GetIndexType())
    name = mrml.syntheticName(source, provenance.target_contrast)
    output.SetName(slicer.mrmlScene.GenerateUniqueName(name))
    slicer.mrmlScene.AddNode(output)
    mrml.fileBeside(source, output)
    mrml.markSynthetic(output, provenance, source)
    return output


def show(output: Any, source: Any, volume: Any, provenance: Provenance) -> None:
    """In the browser of the source, which goes on stepping through the source's frames."""
    if sequences.browserOf(output) is not None:
        return
    browser = sequences.browserOf(source)
    if browser is None:
        proxy = sequences.join(output, None).GetProxyNode(output)
    else:
        browser.AddSynchronizedSequenceNode(output)
        browser.SetOverwriteProxyName(output, True)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        proxy = browser.GetProxyNode(output)
    shown = sequences.proxyOf(source)
    if proxy is not None and shown is not None:
        mrml.fileBeside(shown, proxy)
        proxy.SetAndObserveTransformNodeID(shown.GetTransformNodeID())
    if proxy is not None:
        mrml.setWindow(proxy, *mrml.window(volume.array, provenance.target_contrast))
