"""Source and synthetic volume side by side, and an acquired one beside them, linked; and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import slicer
import vtk

LEFT, RIGHT, THIRD = "Red", "Yellow", "Green"  # the first two are Slicer's side-by-side layout
THREE_UP = 7713  # the number of our own layout
PANE = """<item><view class="vtkMRMLSliceNode" singletontag="{name}">
<property name="orientation" action="default">Axial</property>
<property name="viewlabel" action="default">{label}</property>
<property name="viewcolor" action="default">{color}</property></view></item>"""
PANES = ((LEFT, "R", "#F34A33"), (RIGHT, "Y", "#EDD54C"), (THIRD, "G", "#6EB04B"))


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

    def show(self, source: Any, synthetic: Any, acquired: Any = None) -> None:
        manager = slicer.app.layoutManager()
        if not self.shown:
            self._layout = manager.layout
            names = (LEFT, RIGHT, THIRD)
            self._views = {name: stateOf(manager.sliceWidget(name)) for name in names}
        panes = [(LEFT, source), (RIGHT, synthetic)]
        if acquired is None:
            manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutSideBySideView)
        else:
            panes.append((THIRD, acquired))
            showThreeUp(manager)
        for name, background in panes:
            widget = manager.sliceWidget(name)
            composite = widget.mrmlSliceCompositeNode()
            composite.SetLinkedControl(False)  # else each view would copy the other's volumes
            composite.SetBackgroundVolumeID(background.GetID())
            composite.SetForegroundVolumeID(synthetic.GetID())
            composite.SetForegroundOpacity(0.0)
            widget.mrmlSliceNode().SetOrientation("Axial")
            widget.sliceLogic().FitSliceToBackground()
        for name, _background in panes:
            manager.sliceWidget(name).mrmlSliceCompositeNode().SetLinkedControl(True)

    def overlay(self, node: Any, synthetic: Any, opacity: float) -> None:
        """Lay ``node`` over the synthetic volume in the view that shows it; None: nothing."""
        composite = slicer.app.layoutManager().sliceWidget(RIGHT).mrmlSliceCompositeNode()
        composite.SetForegroundVolumeID((node or synthetic).GetID())
        composite.SetForegroundOpacity(opacity if node is not None else 0.0)

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


def showThreeUp(manager: Any) -> None:
    """Three slice views in a row; Slicer has no such layout of its own."""
    node = manager.layoutLogic().GetLayoutNode()
    if not node.IsLayoutDescription(THREE_UP):
        panes = "".join(PANE.format(name=n, label=label, color=c) for n, label, c in PANES)
        node.AddLayoutDescription(THREE_UP, f'<layout type="horizontal">{panes}</layout>')
    manager.setLayout(THREE_UP)


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
