"""Which DICOM series a node was made from, and which patient and study it belongs to.

| what                       | where it stands                                                     |
|----------------------------|---------------------------------------------------------------------|
| images of a loaded volume  | its attribute ``DICOM.instanceUIDs`` (DICOMScalarVolumePlugin.py,   |
|                            | ``setVolumeNodeProperties``), or that of each frame of a sequence   |
| images of a multi-volume   | ``MultiVolume.FrameFileList`` of the sequence                       |
| of what was synthesized    | ``MambaSynth.sourceInstances``: the source may be gone when it is   |
|                            | asked for                                                           |
| files of images            | ``slicer.dicomDatabase.fileForInstance``; "" for unknown ones       |
| patient and study          | two items above the node's in the subject hierarchy: attributes     |
|                            | ``DICOM.PatientID`` and so on; the study's UID as the item's UID    |
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer

from MambaSynthLib.io.dicom_bare import PATIENT, STUDY
from MambaSynthLib.provenance import TAG_PREFIX

INSTANCES = "DICOM.instanceUIDs"
ORIGIN = TAG_PREFIX + "sourceInstances"
FILES = "MultiVolume.FrameFileList"


def instancesOf(node: Any) -> list[str]:
    """The UIDs of the images that a volume or the frames of a sequence were loaded from."""
    if not node.IsA("vtkMRMLSequenceNode"):
        return (node.GetAttribute(INSTANCES) or "").split()
    frames = [node.GetNthDataNode(n) for n in range(node.GetNumberOfDataNodes())]
    told = [frame.GetAttribute(INSTANCES) if frame is not None else None for frame in frames]
    if all(told):
        return " ".join(told).split()
    database = openDatabase()
    files = (node.GetAttribute(FILES) or "").split(",")
    uids = [database.instanceForFile(file) for file in files if file] if database else []
    return uids if all(uids) else []


def keepOrigin(node: Any, source: Any) -> None:
    """Write down in ``node`` which images its source was loaded from, where it was."""
    uids = instancesOf(source)
    if uids:
        node.SetAttribute(ORIGIN, " ".join(uids))


def filesOf(node: Any) -> list[Path]:
    """The files of the series that ``node`` was synthesized from; [] unless all are known."""
    return filesOfInstances((node.GetAttribute(ORIGIN) or "").split())


def filesOfInstances(uids: list[str]) -> list[Path]:
    database = openDatabase()
    if database is None:
        return []
    files = [database.fileForInstance(uid) for uid in dict.fromkeys(uids)]
    return [Path(file) for file in files] if all(files) else []


def openDatabase() -> Any:
    """``slicer.dicomDatabase`` where there is one: Slicer may be built without DICOM."""
    database = getattr(slicer, "dicomDatabase", None)
    return database if database is not None and database.isOpen else None


def identityOf(node: Any) -> dict[str, str]:
    """What the subject hierarchy says of patient and study; '' where it says nothing."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    constants = slicer.vtkMRMLSubjectHierarchyConstants
    item = hierarchy.GetItemByDataNode(node)
    study = hierarchy.GetItemAncestorAtLevel(item, constants.GetDICOMLevelStudy()) if item else 0
    patient = hierarchy.GetItemParent(study) if study else 0
    told = {}
    for owner, keywords in ((patient, PATIENT), (study, STUDY)):
        for keyword in keywords:
            name = constants.GetDICOMAttributePrefix() + keyword
            told[keyword] = (hierarchy.GetItemAttribute(owner, name) or "") if owner else ""
    uid = hierarchy.GetItemUID(study, constants.GetDICOMUIDName()) if study else ""
    return {**told, "StudyInstanceUID": uid or told["StudyInstanceUID"]}
