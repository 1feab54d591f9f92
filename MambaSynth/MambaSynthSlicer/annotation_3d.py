"""The word SYNTHETIC in 3-D views that show a synthetic volume: rendered, or by its slices."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

from .annotation_text import markOf, shownIn, textIn

RENDERING = "vtkMRMLVolumeRenderingDisplayNode"


class ThreeDAnnotations:
    """``SliceAnnotations`` starts and stops it, and tells it when a slice view shows others."""

    def __init__(self) -> None:
        self._texts: dict[str, Any] = {}  # of each view node
        self._views: dict[str, Any] = {}
        self._scene: list[int] = []  # tags
        self._watched: dict[str, int] = {}  # node -> tag

    def start(self) -> None:
        scene = slicer.mrmlScene
        for event in (scene.NodeAddedEvent, scene.EndImportEvent, scene.EndCloseEvent):
            self._scene.append(scene.AddObserver(event, self.watch))
        self.watch()

    def stop(self) -> None:
        for tag in self._scene:
            slicer.mrmlScene.RemoveObserver(tag)
        for nodeId, tag in self._watched.items():
            node = slicer.mrmlScene.GetNodeByID(nodeId)
            if node is not None:
                node.RemoveObserver(tag)
        self._scene, self._watched = [], {}

    def addMissing(self) -> None:
        layout = slicer.app.layoutManager()
        for index in range(layout.threeDViewCount):
            view = layout.threeDWidget(index).threeDView()
            name = view.mrmlViewNode().GetID()
            if name not in self._texts:
                self._texts[name], self._views[name] = textIn(view), view
        self.update()

    def watch(self, *_: Any) -> None:
        """What decides whether a volume is shown: its rendering, and the slices in 3-D."""
        scene = slicer.mrmlScene
        self._watched = {
            name: tag for name, tag in self._watched.items() if scene.GetNodeByID(name)
        }
        for kind in (RENDERING, "vtkMRMLSliceNode", "vtkMRMLVolumeNode"):
            for node in slicer.util.getNodesByClass(kind):
                if node.GetID() not in self._watched:
                    event = vtk.vtkCommand.ModifiedEvent
                    if kind == "vtkMRMLVolumeNode":  # may get a rendering that is visible already
                        event = node.ReferenceAddedEvent
                    self._watched[node.GetID()] = node.AddObserver(event, self.update)
        self.update()

    def update(self, *_: Any) -> None:
        for name, text in self._texts.items():
            mark = markOf(volumesIn(name))
            if mark != (text.GetText(vtk.vtkCornerAnnotation.UpperEdge) or ""):
                text.SetText(vtk.vtkCornerAnnotation.UpperEdge, mark)
                self._views[name].scheduleRender()


def volumesIn(viewId: str) -> list[Any]:
    """The volumes that a 3-D view shows."""
    rendered = [
        display.GetDisplayableNode()
        for display in slicer.util.getNodesByClass(RENDERING)
        if display.GetVisibility() and display.IsDisplayableInView(viewId)
    ]
    logic = slicer.app.applicationLogic()
    sliced = [
        volume
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode")
        if node.GetSliceVisible() and node.IsDisplayableInThreeDView(viewId)
        if (view := logic.GetSliceLogic(node)) is not None
        for volume in shownIn(view.GetSliceCompositeNode())
    ]
    return [volume for volume in (*rendered, *sliced) if volume is not None]
