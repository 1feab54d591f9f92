"""Marks that outlive Save: written into the file that Slicer has saved, read when it is loaded.

Slicer keeps a node's attributes in scenes and in sequences, but writes and reads a volume's file
without them. So whenever a storage node has written the file of a marked node, the file gets the
marks of its format and a sidecar; and a node that was loaded from a marked file gets its attributes
back. What storage nodes do and tell: Slicer/Slicer, Libs/MRML/Core/vtkMRMLStorageNode.cxx,
``WriteData``, which ends with ``StageWriteData`` (write state TransferDone, ModifiedEvent).
"""

from __future__ import annotations

import logging
import os
import time
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.marking import mark_file

from . import annotation, mrml

JUST_WRITTEN_S = 10.0  # a file that is older was not written by the save that is told
FILED = ("vtkMRMLVolumeNode", "vtkMRMLSequenceNode")


class FileMarks:
    """Watches every storage node of the scene; add it once, for the whole application."""

    def __init__(self) -> None:
        self._observed: list[tuple[Any, int]] = []
        self._storages: dict[str, int] = {}  # id -> tag of the observer
        self._marked: dict[str, tuple[int, int]] = {}  # file -> time and size when it was marked

    def start(self) -> None:
        scene = slicer.mrmlScene
        for event, react in (
            (scene.NodeAddedEvent, self.onNodeAdded),
            (scene.NodeRemovedEvent, self.onNodeRemoved),
            (scene.EndImportEvent, self.lookAround),
            (scene.EndCloseEvent, self.forget),
        ):
            self._observed.append((scene, scene.AddObserver(event, react)))
        self.lookAround()

    def stop(self) -> None:
        for watched, tag in self._observed:
            watched.RemoveObserver(tag)
        for nodeId, tag in self._storages.items():
            storage = slicer.mrmlScene.GetNodeByID(nodeId)
            if storage is not None:
                storage.RemoveObserver(tag)
        self._observed, self._storages = [], {}

    # -------------------------------------------------------------------------------- the scene

    def lookAround(self, *_: Any) -> None:
        """At start, and after a scene was loaded."""
        for name in ("vtkMRMLStorageNode", *FILED):
            for node in slicer.util.getNodesByClass(name):
                self._meet(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAdded(self, caller: Any, event: Any, node: Any) -> None:
        self._meet(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeRemoved(self, caller: Any, event: Any, node: Any) -> None:
        self._storages.pop(node.GetID() or "", None)

    def forget(self, *_: Any) -> None:
        self._storages = {}

    def _meet(self, node: Any) -> None:
        if node.IsA("vtkMRMLStorageNode"):
            if node.GetID() not in self._storages:
                tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, self.onStorage)
                self._storages[node.GetID()] = tag
        elif any(node.IsA(name) for name in FILED):
            nodeId = node.GetID()  # it has neither image nor file yet while it is being added
            qt.QTimer.singleShot(0, lambda: readMarks(slicer.mrmlScene.GetNodeByID(nodeId)))

    # ---------------------------------------------------------------------------------- saving

    def onStorage(self, storage: Any, event: Any) -> None:
        """It may have written its file, or have got another name, or anything else."""
        node, name = storage.GetStorableNode(), storage.GetFullNameFromFileName()
        if node is None or not name or storage.GetWriteState() != storage.TransferDone:
            return
        if not mrml.isSynthetic(node) or not self._isNew(name):
            return
        try:
            mark_file(name, mrml.provenanceOrNone(node))
        except FileError as error:
            told = _("The file could not be marked as synthetic: {reason}")
            logging.error(told.format(reason=error))
            storage.GetUserMessages().AddMessage(
                vtk.vtkCommand.WarningEvent, told.format(reason=error)
            )
        self._marked[name] = stampOf(name)

    def _isNew(self, name: str) -> bool:
        """Whether the file was written just now, by somebody else than us."""
        if not os.path.isfile(name):
            return False
        recent = abs(time.time() - os.stat(name).st_mtime) < JUST_WRITTEN_S
        return recent and self._marked.get(name) != stampOf(name)


def stampOf(name: str) -> tuple[int, int]:
    status = os.stat(name)
    return status.st_mtime_ns, status.st_size


def readMarks(node: Any) -> None:
    """Give a node that was loaded from a marked file its attributes back, and its description."""
    if node is None or (node.GetAttribute(mrml.MARK_ATTRIBUTE) and node.GetDescription()):
        return
    mark = mrml.markInFile(node)
    if mark is not None:
        mrml.restoreMarks(node, mark)
        annotation.refresh()
