"""What can be put into the queue: volumes and sequences of the scene, series of a DICOM study.

Whether something is done already is read in the scene, so it is known after a restart, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import slicer
from slicer.i18n import tr as _

from MambaSynthLib.errors import FileError, MambaSynthError

from . import dicom_source, frame_run, mrml, sequences
from .contrast_run import ContrastJob, Request
from .frame_run import FrameJob
from .several import Item

MODALITY, TYPE = "0008,0060", "0008,0008"


@dataclass(frozen=True)
class Source:
    """One row of the list. ``items``: its jobs that are still to be done, for a request."""

    key: str
    title: str
    items: Callable[[Request], list[Item]]


class LoadError(MambaSynthError):
    """A series of the DICOM database could not be loaded as a volume."""


def inScene() -> list[Source]:
    """Volumes that can be synthesized from, and sequences of such instead of what shows them."""
    found = [ofVolume(node) for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
             if mrml.refusal(node) is None and sequences.sequenceOf(node) is None]  # fmt: skip
    for node in slicer.util.getNodesByClass("vtkMRMLSequenceNode"):
        frame = node.GetNthDataNode(0) if node.GetNumberOfDataNodes() else None
        marked = mrml.isSynthetic(node) or mrml.isMarked(node)
        if frame is not None and not marked and mrml.refusal(frame) is None:
            found.append(ofSequence(node))
    return found


def ofNode(node: Any) -> Source:
    return ofSequence(node) if node.IsA("vtkMRMLSequenceNode") else ofVolume(node)


def ofVolume(node: Any) -> Source:
    nodeId, title = node.GetID(), node.GetName()

    def job(request: Request) -> ContrastJob:
        source = slicer.mrmlScene.GetNodeByID(nodeId)
        if source is None:
            raise LoadError(_("It was removed; load it again."))
        return ContrastJob(source, None, request)

    def items(request: Request) -> list[Item]:
        if isDone(slicer.mrmlScene.GetNodeByID(nodeId), request):
            return []
        return [Item(nodeId, title, lambda: job(request))]

    return Source(nodeId, title, items)


def ofSequence(node: Any) -> Source:
    nodeId, count = node.GetID(), node.GetNumberOfDataNodes()
    title = _("{name} ({count} frames)").format(name=node.GetName(), count=count)

    def items(request: Request) -> list[Item]:
        sequence = slicer.mrmlScene.GetNodeByID(nodeId)
        values = [sequence.GetNthIndexValue(n) for n in range(sequence.GetNumberOfDataNodes())]
        made = [output for output in frame_run.outputsOf(sequence) if fits(output, request)]
        left = [v for v in values if not any(o.GetDataNodeAtValue(v) for o in made)]
        return [
            Item(nodeId, f"{sequence.GetName()} {value}", frameMaker(nodeId, value, request))
            for value in left
        ]

    return Source(nodeId, title, items)


def frameMaker(nodeId: str, value: str, request: Request) -> Callable[[], FrameJob]:
    def make() -> FrameJob:
        sequence = slicer.mrmlScene.GetNodeByID(nodeId)
        if sequence is None:
            raise LoadError(_("The sequence was removed; load it again."))
        return FrameJob(sequence, value, request)

    return make


def isDone(node: Any, request: Request) -> bool:
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return node is not None and any(
        mrml.isSynthesisOf(made, node) and fits(made, request) for made in volumes
    )


def fits(node: Any, request: Request) -> bool:
    """Whether a result was made as ``request`` asks, whole, and by the same model."""
    try:
        made = mrml.provenanceOf(node)
    except FileError:
        return False
    same = made.model_id == request.model and made.target_contrast == request.targetContrast
    counts = request.steps in (None, made.steps) and request.samples in (None, made.samples)
    return same and counts and made.seed == request.seed and made.slices is None


# ------------------------------------------------------------------------------ DICOM database


def studies() -> dict[str, str]:
    """UID -> patient and description, of each study in Slicer's DICOM database."""
    database = dicom_source.openDatabase()
    if database is None:
        return {}
    return {
        study: f"{database.nameForPatient(patient)}, {database.descriptionForStudy(study)}"
        for patient in database.patients()
        for study in database.studiesForPatient(patient)
    }


def inStudy(study: str) -> list[Source]:
    """The MR series of a study that do not say of themselves that they are synthetic."""
    database = dicom_source.openDatabase()
    if database is None or not study:
        return []
    found = []
    for series in database.seriesForStudy(study):
        files = database.filesForSeries(series)
        modality, kind = (database.fileValue(files[0], tag) for tag in (MODALITY, TYPE))
        if modality == "MR" and "SYNTHETIC" not in kind.upper():
            words = database.descriptionForSeries(series) or _("no description")
            title = _("{words} ({count} images)").format(words=words, count=len(files))
            found.append(ofSeries(series, title))
    return found


def ofSeries(series: str, title: str) -> Source:
    def items(request: Request) -> list[Item]:
        if isDone(loadedNode(series), request):
            return []
        return [Item(series, title, lambda: ContrastJob(loaded(series, title), None, request))]

    return Source(series, title, items)


def loadedNode(series: str) -> Any:
    """The volume in the scene that was loaded from the series, or None."""
    database = dicom_source.openDatabase()
    files = database.filesForSeries(series) if database is not None else []
    uids = {database.instanceForFile(file) for file in files}
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return next((n for n in volumes if uids and uids <= set(dicom_source.instancesOf(n))), None)


def loaded(series: str, title: str) -> Any:
    """That volume, loaded first where it is not there. Raises LoadError."""
    known = loadedNode(series)
    if known is not None:
        return known
    from DICOMLib import DICOMUtils

    try:
        ids = DICOMUtils.loadSeriesByUID([series])
    except (OSError, RuntimeError, ValueError) as error:
        message = _("{title} could not be loaded ({reason}); load it in the DICOM module.")
        raise LoadError(message.format(title=title, reason=error)) from error
    nodes = [slicer.mrmlScene.GetNodeByID(nodeId) for nodeId in ids or ()]
    volume = next((n for n in nodes if n is not None and n.IsA("vtkMRMLScalarVolumeNode")), None)
    if volume is None:
        raise LoadError(_("{title} is no volume; leave it out.").format(title=title))
    return volume
