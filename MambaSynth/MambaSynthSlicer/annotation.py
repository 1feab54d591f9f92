"""The word SYNTHETIC in every slice view that shows a synthetic volume or frame; 3-D views have
theirs from ``annotation_3d.py``.

An own annotation at the top edge: the four corners belong to Slicer's Data Probe, which rewrites
them whenever the slice changes.
"""

from __future__ import annotations

from typing import Any

import slicer
import vtk

from .annotation_3d import ThreeDAnnotations
from .annotation_text import markOf, shownIn, textIn


class SliceAnnotations:
    """Watches which volumes the slice views show; add it once, for the whole application."""

    def __init__(self) -> None:
        self._annotations: dict[str, Any] = {}
        self._observed: list[tuple[Any, int]] = []
        self._shown: dict[str, list[tuple[Any, int]]] = {}  # of each view
        self._threeD = ThreeDAnnotations()

    def start(self) -> None:
        layout = slicer.app.layoutManager()
        if layout is None:  # Slicer without a main window
            return
        layout.connect("layoutChanged(int)", self.addMissing)
        self._threeD.start()
        self.addMissing()

    def stop(self) -> None:
        for node, tag in sum(self._shown.values(), self._observed):
            node.RemoveObserver(tag)
        self._observed, self._shown = [], {}
        self._threeD.stop()
        layout = slicer.app.layoutManager()
        if layout is not None:
            layout.disconnect("layoutChanged(int)", self.addMissing)

    def addMissing(self) -> None:
        """Views appear with the layouts that have them."""
        layout = slicer.app.layoutManager()
        for name in layout.sliceViewNames():
            if name not in self._annotations:
                self._add(name, layout.sliceWidget(name))
        self._threeD.addMissing()

    def _add(self, name: str, widget: Any) -> None:
        view = widget.sliceView()
        annotation = self._annotations[name] = textIn(view)
        composite = widget.mrmlSliceCompositeNode()

        def update(*_: Any) -> None:
            nodes = shownIn(composite)
            self._follow(name, nodes, update)
            annotation.SetText(vtk.vtkCornerAnnotation.UpperEdge, markOf(nodes))
            view.scheduleRender()
            self._threeD.update()

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


def refresh() -> None:
    """Have every view look again: a volume that is shown already has become synthetic."""
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        composite.Modified()
