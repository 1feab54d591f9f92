"""Cines in the scene <-> the library: frames, times, and what makes them unfit.

| MRML                                          | library                                     |
|-----------------------------------------------|---------------------------------------------|
| data nodes of a sequence, or two volumes      | volumes of one grid, in the order of time   |
| times, see ``frame_times.py``                 | trigger times, ms                           |
| ``MambaSynth.*`` attributes of the sequence   | ``Provenance`` of the whole cine            |
| ``MambaSynth.frame`` of a data node           | acquired, or synthetic                      |

The frames of a sequence are nodes outside the scene; a sequence browser copies the one that is
shown, with its attributes, into a proxy node. So every mark of a frame follows what is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import slicer
from slicer.i18n import tr as _

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.image.volume import SAME_PLACE, Volume, displacement
from MambaSynthLib.provenance import Provenance

from . import frame_times, mrml
from .frame_times import Pace

INDEX_NAME, INDEX_UNIT = "time", "ms"
SLOWEST_FPS, FASTEST_FPS = 1.0, 30.0


@dataclass(frozen=True)
class Acquired:
    """The acquired frames of one heart as they lie in the scene, in the order of time.

    timesMs: None for an ED and an ES volume, whose times nobody knows.
    owner: the sequence or the ED volume; the result is named after it and filed beside it.
    proxy: the node under whose parent transform all frames stand; None: each under its own.
    browser: plays ``owner``, and may play a sequence in ms beside it; or None.
    notes: warnings that the result should carry.
    """

    frames: tuple[Any, ...]
    timesMs: tuple[float, ...] | None
    owner: Any
    proxy: Any = None
    browser: Any = None
    notes: tuple[str, ...] = ()

    @property
    def shown(self) -> Any:
        """The node in the scene that stands where the result will stand, or None."""
        return self.proxy or (None if self.timesMs else self.owner)

    def volumes(self) -> Iterator[Volume]:
        """The frames as the library sees them, one after the other."""
        for frame in self.frames:
            name = self.owner.GetName() if self.timesMs else frame.GetName()
            yield mrml.readVolume(frame, self.proxy, name, self.notes)

    def fingerprint(self) -> tuple[Any, ...]:
        """Changes whenever voxels, place or times change, and with nothing else."""
        return self.timesMs, *(mrml.fingerprint(frame, self.proxy) for frame in self.frames)


def acquired(source: Any, es: Any = None, pace: Pace = frame_times.UNKNOWN) -> Acquired:
    """The frames of ``source``: a sequence or its proxy; or an ED volume with ``es``.

    ``pace``: of a sequence that does not say when its frames were taken. Raises VolumeError with
    the sentence of ``refusal``.
    """
    reason = refusal(source, es, pace)
    if reason:
        raise VolumeError(reason)
    sequence = sequenceOf(source)
    if sequence is None:
        return Acquired((source, es), None, source)
    browser = browserOf(sequence)
    proxy = proxyOf(sequence)
    if sequence.GetIndexUnit() != INDEX_UNIT:
        browser = None  # it would compare seconds, or numbers of frames, with milliseconds
    times, numbers = zip(*frame_times.inOrder(sequence, pace), strict=True)
    frames = tuple(sequence.GetNthDataNode(number) for number in numbers)
    notes = () if frame_times.stated(sequence) else (pace.note(),)
    return Acquired(frames, times, sequence, proxy, browser, notes)


def browserOf(sequence: Any) -> Any:
    """The browser that plays ``sequence``, or None."""
    return slicer.modules.sequences.logic().GetFirstBrowserNodeForSequenceNode(sequence)


def proxyOf(sequence: Any) -> Any:
    """The node that shows the selected frame of ``sequence``, or None."""
    browser = browserOf(sequence)
    return browser.GetProxyNode(sequence) if browser else None


def shownFor(node: Any) -> Any:
    """The node that stands in the scene for ``node``: of a sequence its proxy; or None."""
    if node is None or not node.IsA("vtkMRMLSequenceNode"):
        return node
    return proxyOf(node)


def sequenceOf(node: Any) -> Any:
    """The sequence that ``node`` is, or shows a frame of; else None."""
    if node is None or node.IsA("vtkMRMLSequenceNode"):
        return node
    browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForProxyNode(node)
    return browser.GetSequenceNode(node) if browser else None


def framesOf(sequence: Any) -> tuple[Any, ...]:
    return tuple(sequence.GetNthDataNode(n) for n in range(sequence.GetNumberOfDataNodes()))


# --------------------------------------------------------------------------------- unfit sources


def refusal(source: Any, es: Any = None, pace: Pace = frame_times.UNKNOWN) -> str | None:
    """Why there is no cine in ``source`` (and ``es``), in one sentence; None: there is."""
    if source is None:
        return _("Select a cine, or an ED and an ES volume.")
    sequence = sequenceOf(source)
    if sequence is None:
        return pairRefusal(source, es)
    reason = framesRefusal(sequence.GetID(), sequence.GetMTime(), pace)
    return reason or mrml.refusal(sequence.GetNthDataNode(0), proxyOf(sequence))


def pairRefusal(ed: Any, es: Any) -> str | None:
    reason = mrml.refusal(ed)
    if reason:
        return reason
    if es is None:
        return _("Select an ES volume, too: {name} is one volume, no cine.").format(
            name=ed.GetName()
        )
    if es is ed:
        return _("ED and ES are the same volume; select another ES volume.")
    reason = mrml.refusal(es)
    if reason:
        return reason
    if not sameGrid(ed, es):
        message = _("{es} has another grid than {ed}; resample it onto that grid first.")
        return message.format(es=es.GetName(), ed=ed.GetName())
    return None


@lru_cache(maxsize=8)
def framesRefusal(sequenceId: str, modifiedTime: int, pace: Pace) -> str | None:
    """As ``refusal``, looking at each of what may be 1,000 frames once for each change."""
    sequence = slicer.mrmlScene.GetNodeByID(sequenceId)
    name, count = sequence.GetName(), sequence.GetNumberOfDataNodes()
    if mrml.isMarked(sequence) or mrml.isSynthetic(sequence):
        return _("{name} is synthetic itself; select an acquired cine.").format(name=name)
    if count < 2:
        message = _("{name} has {count} frames, but a cine needs two or more.")
        return message.format(name=name, count=count)
    frames = framesOf(sequence)
    for number, frame in enumerate(frames, start=1):
        reason = frameRefusal(frame, frames[0])
        if reason:
            return _("Frame {number} of {name}").format(number=number, name=name) + f" {reason}"
    try:
        frame_times.inOrder(sequence, pace)
    except VolumeError as error:
        return str(error)
    return None


def frameRefusal(frame: Any, first: Any) -> str | None:
    """What is wrong with one frame, as the end of a sentence."""
    kind = mrml.refusedKind(frame) if frame is not None else None
    if kind:
        return _("is {kind}; a cine is made of scalar volumes.").format(kind=kind)
    if frame is None or frame.GetImageData() is None:
        return _("is empty; remove it.")
    types = [node.GetImageData().GetScalarTypeAsString() for node in (frame, first)]
    if types[0] != types[1]:
        message = _("holds {its} numbers, but frame 1 {others}; convert them to one type.")
        return message.format(its=types[0], others=types[1])
    if not sameGrid(frame, first):
        return _("has another grid than frame 1; resample it onto that grid first.")
    return None


def sameGrid(one: Any, other: Any) -> bool:
    """Equal in size, and every voxel within ``SAME_PLACE`` mm."""
    size = one.GetImageData().GetDimensions()
    apart = displacement(mrml.worldAffine(one), mrml.worldAffine(other), size)
    return size == other.GetImageData().GetDimensions() and apart <= SAME_PLACE


# --------------------------------------------------------------------------- results -> sequence


def newSequence() -> Any:
    """Empty, and not yet in the scene: it is filled first, so that a failure leaves no trace."""
    sequence = slicer.vtkMRMLSequenceNode()
    sequence.SetIndexName(INDEX_NAME)
    sequence.SetIndexUnit(INDEX_UNIT)
    sequence.SetIndexType(sequence.NumericIndex)
    return sequence


def addFrame(
    sequence: Any, volume: Volume, timeMs: float, source: Acquired, provenance: Provenance | None
) -> None:
    """Add a copy of ``volume`` at a time, marked synthetic; or acquired, without ``provenance``."""
    frame = slicer.vtkMRMLScalarVolumeNode()
    kind = "acquired" if provenance is None else "SYNTHETIC"
    frame.SetName(f"{source.owner.GetName()} {kind} {timeMs:.0f} ms")
    mrml.setVoxels(frame, volume, source.frames[0])
    frame.SetAttribute(mrml.FRAME_ATTRIBUTE, kind.lower())
    if provenance is not None:
        mrml.setTags(frame, replace(provenance, times_ms=(), acquired=()))
    sequence.SetDataNodeAtValue(frame, f"{timeMs:.3f}")


def addToScene(sequence: Any, source: Acquired, provenance: Provenance) -> Any:
    """Name, file, mark and join the filled sequence; returns the browser that shows it."""
    scene = slicer.mrmlScene
    scene.SaveStateForUndo()
    sequence.SetName(scene.GenerateUniqueName(mrml.syntheticName(source.owner, "cine")))
    scene.AddNode(sequence)
    mrml.fileBeside(source.owner, sequence)
    mrml.markSynthetic(sequence, provenance, source.owner)
    if source.timesMs is None:
        sequence.AddNodeReferenceID(mrml.SOURCE_ROLE, source.frames[1].GetID())
    browser = join(sequence, source.browser)
    proxy = browser.GetProxyNode(sequence)
    mrml.fileBeside(source.owner, proxy)
    if source.shown is not None:
        proxy.SetAndObserveTransformNodeID(source.shown.GetTransformNodeID())
    first = slicer.util.arrayFromVolume(sequence.GetNthDataNode(0))
    mrml.setWindow(proxy, *mrml.window(first))
    return browser


def join(sequence: Any, browser: Any) -> Any:
    """Into ``browser``, or a new one. It steps through the frames of ``sequence`` from now on: the
    frames of others follow, each for as long as it is the latest.
    """
    if browser is None:
        name = slicer.mrmlScene.GenerateUniqueName(f"{sequence.GetName()} browser")
        browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", name)
    browser.AddSynchronizedSequenceNode(sequence)
    browser.SetOverwriteProxyName(sequence, True)  # the name tells the time that is shown
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    return browser


def play(browser: Any, timesMs: list[float]) -> None:
    """From the first frame, over and over, at the heart's own pace where a screen can show it."""
    pace = 1000 * (len(timesMs) - 1) / (timesMs[-1] - timesMs[0])
    browser.SetSelectedItemNumber(0)
    browser.SetPlaybackRateFps(min(max(pace, SLOWEST_FPS), FASTEST_FPS))
    browser.SetPlaybackLooped(True)
    browser.SetPlaybackActive(True)
