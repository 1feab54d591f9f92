"""The word SYNTHETIC in every slice view that shows a synthetic volume or frame.

An own annotation at the top edge: the four corners belong to Slicer's Data Probe, which rewrites
them whenever the slice changes.
"""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from MambaSynthLib.provenance import MARK

from .mrml import FRAME_ATTRIBUTE, QUANTITY_ATTRIBUTE, isSynthetic

COLOR = (1.0, 0.78, 0.24)


class SliceAnnotations:
    """Watches which volumes the slice views show; add it once, for the whole application."""

    def __init__(self) -> None:
        self._annotations: dict[str, Any] = {}
        self._observed: list[tuple[Any, int]] = []
        self._shown: dict[str, list[tuple[Any, int]]] = {}  # of each view

    def start(self) -> None:
        layout = slicer.app.layoutManager()
        if layout is None:  # Slicer without a main window
            return
        layout.connect("layoutChanged(int)", self.addMissing)
        self.addMissing()

    def stop(self) -> None:
        for node, tag in sum(self._shown.values(), self._observed):
            node.RemoveObserver(tag)
        self._observed, self._shown = [], {}
        layout = slicer.app.layoutManager()
        if layout is not None:
            layout.disconnect("layoutChanged(int)", self.addMissing)

    def addMissing(self) -> None:
        """Views appear with the layouts that have them."""
        layout = slicer.app.layoutManager()
        for name in layout.sliceViewNames():
            if name not in self._annotations:
                self._add(name, layout.sliceWidget(name))

    def _add(self, name: str, widget: Any) -> None:
        annotation = vtk.vtkCornerAnnotation()
        annotation.SetMaximumFontSize(14)
        annotation.GetTextProperty().SetColor(*COLOR)
        annotation.GetTextProperty().SetShadow(True)
        view = widget.sliceView()
        view.renderWindow().GetRenderers().GetFirstRenderer().AddViewProp(annotation)
        self._annotations[name] = annotation
        composite = widget.mrmlSliceCompositeNode()

        def update(*_: Any) -> None:
            nodes = shownIn(composite)
            self._follow(name, nodes, update)
            annotation.SetText(vtk.vtkCornerAnnotation.UpperEdge, markOf(nodes))
            view.scheduleRender()

        tag = composite.AddObserver(vtk.vtkCommand.ModifiedEvent, update)
        self._observed.append((composite, tag))
        update()

    def _follow(self, view: str, nodes: list[Any], update: Any) -> None:
        """Look again whenever a volume in ``view`` changes: it may be showing another frame."""
        before = self._shown.get(view, [])
        if [node for node, tag in before] != nodes:
            for node, tag in before:
                node.RemoveObserver(tag)
            changed = vtk.vtkCommand.ModifiedEvent
            self._shown[view] = [(node, node.AddObserver(changed, update)) for node in nodes]


def shownIn(composite: Any) -> list[Any]:
    """The background and a visible foreground."""
    shown = [composite.GetBackgroundVolumeID()]
    if composite.GetForegroundOpacity() > 0:
        shown.append(composite.GetForegroundVolumeID())
    nodes = (slicer.mrmlScene.GetNodeByID(nodeId) for nodeId in shown if nodeId)
    return [node for node in nodes if node is not None]


def markOf(nodes: list[Any]) -> str:
    """The mark where one is synthetic; that a frame between such is acquired; else nothing."""
    if any(node.GetAttribute(QUANTITY_ATTRIBUTE) is not None for node in nodes):
        return f"{MARK}\n{_('uncertainty map')}"
    if any(isSynthetic(node) for node in nodes):
        return MARK
    frames = any(node.GetAttribute(FRAME_ATTRIBUTE) == "acquired" for node in nodes)
    return _("acquired frame") if frames else ""


def refresh() -> None:
    """Have every view look again: a volume that is shown already has become synthetic."""
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        composite.Modified()
