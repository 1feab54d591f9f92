"""Source and synthetic volume side by side, linked, with a fade between them; and back again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import slicer
import vtk

LEFT, RIGHT = "Red", "Yellow"  # the views of Slicer's side-by-side layout


@dataclass
class ViewState:
    """What a slice view showed before."""

    background: str | None
    foreground: str | None
    opacity: float
    linked: int
    sliceToRas: Any


class SideBySide:
    """Remembers layout and views when it is shown, and gives them back when it is left."""

    def __init__(self) -> None:
        self._layout: int | None = None
        self._views: dict[str, ViewState] = {}

    @property
    def shown(self) -> bool:
        return self._layout is not None

    def show(self, source: Any, synthetic: Any) -> None:
        manager = slicer.app.layoutManager()
        if not self.shown:
            self._layout = manager.layout
            self._views = {name: stateOf(manager.sliceWidget(name)) for name in (LEFT, RIGHT)}
        manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutSideBySideView)
        for name, background in ((LEFT, source), (RIGHT, synthetic)):
            widget = manager.sliceWidget(name)
            composite = widget.mrmlSliceCompositeNode()
            composite.SetLinkedControl(False)  # else each view would copy the other's volumes
            composite.SetBackgroundVolumeID(background.GetID())
            composite.SetForegroundVolumeID(synthetic.GetID())
            composite.SetForegroundOpacity(0.0)
            widget.mrmlSliceNode().SetOrientation("Axial")
            widget.sliceLogic().FitSliceToBackground()
        for name in (LEFT, RIGHT):
            manager.sliceWidget(name).mrmlSliceCompositeNode().SetLinkedControl(True)

    def fade(self, opacity: float) -> None:
        """How much of the synthetic volume lies over the source, 0 to 1, in the left view."""
        composite = slicer.app.layoutManager().sliceWidget(LEFT).mrmlSliceCompositeNode()
        composite.SetForegroundOpacity(opacity)

    def restore(self) -> None:
        if not self.shown:
            return
        manager = slicer.app.layoutManager()
        for name, state in self._views.items():
            putBack(manager.sliceWidget(name), state)
        manager.setLayout(self._layout)
        self._layout, self._views = None, {}


def stateOf(widget: Any) -> ViewState:
    composite = widget.mrmlSliceCompositeNode()
    sliceToRas = vtk.vtkMatrix4x4()
    sliceToRas.DeepCopy(widget.mrmlSliceNode().GetSliceToRAS())
    return ViewState(
        composite.GetBackgroundVolumeID(),
        composite.GetForegroundVolumeID(),
        composite.GetForegroundOpacity(),
        composite.GetLinkedControl(),
        sliceToRas,
    )


def putBack(widget: Any, state: ViewState) -> None:
    composite = widget.mrmlSliceCompositeNode()
    composite.SetLinkedControl(False)
    composite.SetBackgroundVolumeID(state.background)
    composite.SetForegroundVolumeID(state.foreground)
    composite.SetForegroundOpacity(state.opacity)
    widget.mrmlSliceNode().GetSliceToRAS().DeepCopy(state.sliceToRas)
    widget.mrmlSliceNode().UpdateMatrices()
    widget.sliceLogic().FitSliceToBackground()
    composite.SetLinkedControl(state.linked)
