"""The real MRML scene with Slicer's application logic and module logics, from ``slicer-core``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import vtk

MODULE_LOGICS = {
    "Colors": "vtkSlicerColorLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Models": "vtkSlicerModelsLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Units": "vtkSlicerUnitsLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Transforms": "vtkSlicerTransformLogic",
}


class SceneCore:
    """What a running Slicer keeps for its one scene."""

    def __init__(self, home: Path):
        import slicer

        errors = vtk.vtkOutputWindow()
        errors.SetDisplayModeToAlwaysStdErr()
        vtk.vtkOutputWindow.SetInstance(errors)
        self.home = home
        self.scene = slicer.vtkMRMLScene()
        self.logic = slicer.vtkSlicerApplicationLogic()
        self._set_up_application_logic()
        self._remote_io = self._set_up_remote_io()  # kept alive
        self.module_logics = {n: self._module_logic(n, c) for n, c in MODULE_LOGICS.items()}
        self.module_logics["Colors"].AddDefaultColorNodes()
        # As vtkSlicerVolumeRenderingLogic::RegisterNodes does
        self.scene.RegisterNodeClass(slicer.vtkMRMLGPURayCastVolumeRenderingDisplayNode())
        for event in (self.scene.NodeAddedEvent, self.scene.EndImportEvent):
            self.scene.AddObserver(event, self._file_new_nodes)

    def _set_up_application_logic(self) -> None:
        import slicer

        share = "share/Slicer-5.13"
        for folder in (f"{share}/ColorFiles", "cache", "tmp"):
            (self.home / folder).mkdir(parents=True)
        self.logic.SetHomeDirectory(str(self.home))
        self.logic.SetShareDirectory(share)
        self.logic.SetTemporaryPath(str(self.home / "tmp"))
        self.logic.SetMRMLScene(self.scene)
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self.scene.AddNode(crosshair)
        self.logic.SetSliceLogics(vtk.vtkCollection())
        self.logic.SetViewLogics(vtk.vtkCollection())
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)

    def _set_up_remote_io(self) -> tuple[Any, Any]:
        import slicer

        remote = slicer.vtkMRMLRemoteIOLogic()
        remote.SetMRMLScene(self.scene)
        remote.SetMRMLApplicationLogic(self.logic)
        remote.GetCacheManager().SetRemoteCacheDirectory(str(self.home / "cache"))
        manager = slicer.vtkDataIOManagerLogic()
        manager.SetMRMLScene(self.scene)
        manager.SetMRMLApplicationLogic(self.logic)
        manager.SetAndObserveDataIOManager(remote.GetDataIOManager())
        remote.AddDataIOToScene()
        return remote, manager

    def _module_logic(self, name: str, class_name: str) -> Any:
        import slicer

        logic = getattr(slicer, class_name)()
        logic.SetMRMLApplicationLogic(self.logic)
        logic.SetMRMLScene(self.scene)
        self.logic.SetModuleLogic(name, logic)
        return logic

    def _file_new_nodes(self, *_: Any) -> None:
        """Slicer's subject hierarchy plugins give every data node an item; they need Qt."""
        import slicer

        hierarchy = self.scene.GetSubjectHierarchyNode()
        if self.scene.IsBatchProcessing() or hierarchy is None:
            return
        for cls in ("vtkMRMLVolumeNode", "vtkMRMLTransformNode", "vtkMRMLSequenceNode"):
            for node in slicer.util.getNodesByClass(cls, self.scene):
                if not node.GetHideFromEditors() and not hierarchy.GetItemByDataNode(node):
                    hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
