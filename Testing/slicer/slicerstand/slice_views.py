"""Slice views and the layout manager: real slice logics, rendered off-screen by real managers."""

from __future__ import annotations

from typing import Any

import numpy as np
import vtk
from PySide6.QtCore import Signal
from vtk.util.numpy_support import vtk_to_numpy

from .qt_module import qt

MANAGERS = (
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
)
VIEWS = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}
FOUR_UP = 3  # vtkMRMLLayoutNode.SlicerLayoutFourUpView


class SliceWidget:
    """qMRMLSliceWidget, qMRMLSliceView and qMRMLSliceControllerWidget in one."""

    def __init__(self, core: Any, name: str, orientation: str, size: tuple[int, int]):
        import slicer

        self._core, self._size = core, size
        self._window: Any = None
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(core.logic)
        self._logic.SetMRMLScene(core.scene)
        self._node = self._logic.AddSliceNode(name)
        self._node.SetOrientation(orientation)
        core.logic.GetSliceLogics().AddItem(self._logic)
        self._logic.ResizeSliceNode(*size)

    def sliceLogic(self) -> Any:
        return self._logic

    def mrmlSliceNode(self) -> Any:
        return self._node

    def mrmlSliceCompositeNode(self) -> Any:
        return self._logic.GetSliceCompositeNode()

    def sliceView(self) -> SliceWidget:
        return self

    def sliceController(self) -> SliceWidget:
        return self

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToBackground()

    def scheduleRender(self) -> None:
        pass

    def forceRender(self) -> None:
        self.image()

    def renderWindow(self) -> Any:
        if self._window is None:
            self._open_window()
        return self._window

    def image(self) -> np.ndarray:
        """(H,W,3) uint8: what the view shows."""
        window = self.renderWindow()
        self._logic.UpdatePipeline()
        connection = self._logic.GetImageDataConnection()
        self._mapper.SetInputConnection(connection)
        self._picture.SetVisibility(bool(connection))
        window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(window)
        grab.ReadFrontBufferOff()
        grab.Update()
        width, height, _ = grab.GetOutput().GetDimensions()
        pixels = vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars())
        return pixels.reshape(height, width, -1)[::-1, :, :3].copy()

    def _open_window(self) -> None:
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetMultiSamples(0)
        self._window.SetSize(*self._size)
        renderer = vtk.vtkRenderer()
        renderer.GetActiveCamera().ParallelProjectionOn()
        self._window.AddRenderer(renderer)
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._picture = vtk.vtkActor2D()
        self._picture.SetMapper(self._mapper)
        self._picture.GetProperty().SetDisplayLocationToBackground()
        renderer.AddViewProp(self._picture)
        self._managers = self._displayable_managers(renderer)

    def _displayable_managers(self, renderer: Any) -> Any:
        import slicer

        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(self._core.logic)
        for manager in MANAGERS:
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        group = factory.InstantiateDisplayableManagers(renderer)
        group.SetMRMLDisplayableNode(self._node)
        return group


class ThreeDWidget:
    """qMRMLThreeDWidget and qMRMLThreeDView in one: an empty room, with its view node."""

    def __init__(self, core: Any, tag: str):
        import slicer

        self._node = slicer.vtkMRMLViewNode()
        self._node.SetSingletonTag(tag)
        self._node = core.scene.AddNode(self._node)
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.AddRenderer(vtk.vtkRenderer())

    def threeDView(self) -> ThreeDWidget:
        return self

    def mrmlViewNode(self) -> Any:
        return self._node

    def renderWindow(self) -> Any:
        return self._window

    def scheduleRender(self) -> None:
        pass


class LayoutManager(qt.QObject):
    """Remembers the layout asked for; the three slice views exist in every layout, the 3-D view
    once ``addThreeDView`` was called.
    """

    layoutChanged = Signal(int)

    def __init__(self, core: Any, size: tuple[int, int] = (256, 256)):
        super().__init__()
        self._core = core
        self._views = {n: SliceWidget(core, n, o, size) for n, o in VIEWS.items()}
        self.layout = FOUR_UP
        self._three_d: list[ThreeDWidget] = []

    @property
    def threeDViewCount(self) -> int:
        return len(self._three_d)

    def threeDWidget(self, index: int) -> ThreeDWidget:
        return self._three_d[index]

    def addThreeDView(self) -> ThreeDWidget:
        """The one 3-D view, which the next layout shows."""
        if not self._three_d:
            self._three_d = [ThreeDWidget(self._core, "1")]
        return self._three_d[0]

    def layoutLogic(self) -> Any:
        """vtkMRMLLayoutLogic, as far as scripted modules use it: it keeps the layout node."""
        return self

    def GetLayoutNode(self) -> Any:
        import slicer

        found = self._core.scene.GetSingletonNode("vtkMRMLLayoutNode", "vtkMRMLLayoutNode")
        if found is None:
            found = slicer.vtkMRMLLayoutNode()
            found.SetSingletonTag("vtkMRMLLayoutNode")
            found = self._core.scene.AddNode(found)
        return found

    def setLayout(self, layout: int) -> None:
        self.layout = layout
        self.layoutChanged.emit(layout)

    def sliceViewNames(self) -> tuple[str, ...]:
        return tuple(self._views)

    def sliceWidget(self, name: str) -> SliceWidget | None:
        return self._views.get(name)

    def mrmlSliceLogics(self) -> Any:
        return self._core.logic.GetSliceLogics()

    def resetSliceViews(self) -> None:
        for view in self._views.values():
            view.fitSliceToBackground()
