"""``slicer.app.ioManager()``: files to nodes and back through Slicer's own logics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import vtk

from .qt_module import qt

FILE_TYPES = {
    **dict.fromkeys((".nrrd", ".nhdr", ".nii", ".gz", ".mha", ".mhd", ".dcm"), "VolumeFile"),
    **dict.fromkeys((".mrb", ".mrml"), "SceneFile"),
}
LABELMAP, CENTERED, SINGLE_FILE, AUTO_WINDOW_LEVEL = 1, 2, 4, 8  # options of AddArchetypeVolume


class IOManager(qt.QObject):
    def __init__(self, core: Any):
        super().__init__()
        self._core = core

    def fileType(self, path: Any) -> str:
        name = Path(str(path)).name.lower()
        if ".seq." in name:
            return "SequenceFile"
        if ".seg." in name:
            return "SegmentationFile"
        return FILE_TYPES.get(Path(name).suffix, "NoFile")

    def fileWriterFileType(self, node: Any) -> str:
        return "Node"

    def loadNodes(
        self, kind: str, properties: dict[str, Any], loaded: Any = None, messages: Any = None
    ) -> bool:
        path = str(properties["fileName"])
        if not Path(path).exists():
            if messages is not None:
                messages.AddMessage(vtk.vtkCommand.ErrorEvent, f"no such file: {path}")
            return False
        if kind == "SceneFile":
            return self._load_scene(path, bool(properties.get("clear", False)))
        node = self._load_node(kind, path, properties)
        if node is not None and loaded is not None:
            loaded.AddItem(node)
        return node is not None

    def _load_scene(self, path: str, clear: bool) -> bool:
        if path.endswith(".mrb"):
            return bool(self._core.scene.ReadFromMRB(path, clear))
        self._core.scene.SetURL(path)
        return bool(self._core.scene.Import())

    def _load_node(self, kind: str, path: str, properties: dict[str, Any]) -> Any:
        logics = self._core.module_logics
        name = properties.get("name") or Path(path).name.split(".")[0]
        if kind == "VolumeFile":
            return self._load_volume(path, name, properties)
        if kind == "SequenceFile":
            return logics["Sequences"].AddSequence(path)
        if kind == "SegmentationFile":
            return logics["Segmentations"].LoadSegmentationFromFile(path, True, name)
        return None

    def _load_volume(self, path: str, name: str, properties: dict[str, Any]) -> Any:
        labelmap = bool(properties.get("labelmap"))
        options = (
            LABELMAP * labelmap
            | CENTERED * bool(properties.get("center"))
            | SINGLE_FILE * bool(properties.get("singleFile"))
            | AUTO_WINDOW_LEVEL * bool(properties.get("autoWindowLevel", True))
        )
        node = self._core.module_logics["Volumes"].AddArchetypeVolume(path, name, options, None)
        if node is not None and properties.get("show", True):
            selection = self._core.logic.GetSelectionNode()
            show = selection.SetActiveLabelVolumeID if labelmap else selection.SetActiveVolumeID
            show(node.GetID())
            self._core.logic.PropagateVolumeSelection()
        return node

    def saveNodes(self, kind: str, properties: dict[str, Any], messages: Any = None) -> bool:
        path = str(properties["fileName"])
        if kind == "SceneFile":
            if path.endswith(".mrb"):
                return bool(self._core.scene.WriteToMRB(path, None))
            self._core.scene.SetURL(path)
            return bool(self._core.scene.Commit())
        node = self._core.scene.GetNodeByID(properties["nodeID"])
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode(path)
        storage = node.GetStorageNode()
        storage.SetFileName(path)
        storage.SetUseCompression(int(properties.get("useCompression", 1)))
        return bool(storage.WriteData(node))
