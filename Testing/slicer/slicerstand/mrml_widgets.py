"""The qMRML widgets that scripted modules use, fed by the events of the real MRML scene."""

from __future__ import annotations

from typing import Any

from PySide6 import QtWidgets
from PySide6.QtCore import Property, Signal

from .ctk_widgets import SliderWithBox
from .qt_module import qt
from .standins import cpp_class, properties


class SceneAware:
    _scene: Any = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene


@cpp_class
class qMRMLWidget(SceneAware, qt.QWidget):
    """The root of a module's ``.ui`` file: hands its scene on by a signal."""

    mrmlSceneChanged = Signal(object)
    SIGNAL_ALIASES = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


@cpp_class
class qMRMLSliderWidget(SceneAware, SliderWithBox):
    vars().update(properties(quantity=(str, "")))


def short_name(node_class: str) -> str:
    return node_class.replace("vtkMRML", "").replace("Node", "")


@cpp_class
class qMRMLNodeComboBox(SceneAware, qt.QWidget):
    """A selector of nodes: a row for "none", one per fitting node, then the actions."""

    currentNodeChanged = Signal(object)
    _valid = Signal(bool)
    _id_changed = Signal(str)
    _activated = Signal(object)
    _added_by_user = Signal(object)
    SIGNAL_ALIASES = {
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
        "currentNodeChanged(bool)": "_valid",
        "currentNodeIDChanged(QString)": "_id_changed",
        "nodeActivated(vtkMRMLNode*)": "_activated",
        "nodeAddedByUser(vtkMRMLNode*)": "_added_by_user",
    }
    vars().update(
        properties(
            nodeTypes=("QStringList", []),
            hideChildNodeTypes=("QStringList", []),
            showHidden=(bool, False),
            showChildNodeTypes=(bool, True),
            baseName=(str, ""),
            noneEnabled=(bool, False),
            noneDisplay=(str, "None"),
            addEnabled=(bool, True),
            removeEnabled=(bool, True),
            editEnabled=(bool, False),
            renameEnabled=(bool, False),
            selectNodeUponCreation=(bool, True),
        )
    )

    def __init__(self, parent: Any = None):
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._box = qt.QComboBox()
        self._box.setMinimumContentsLength(8)
        policy = QtWidgets.QComboBox.AdjustToMinimumContentsLengthWithIcon
        self._box.setSizeAdjustPolicy(policy)
        layout.addWidget(self._box)
        self._nodes: list[Any] = []
        self._actions: list[Any] = []
        self._attributes: dict[tuple[str, str], Any] = {}
        self._observed: list[int] = []
        self._current: Any = None
        self._adding = False
        self._box.activated.connect(self._picked)
        self._fill()

    # a change of any of these changes the rows
    def _refill(self, _: Any = None) -> None:
        self._fill()

    _changed_nodeTypes = _changed_hideChildNodeTypes = _changed_showHidden = _refill
    _changed_showChildNodeTypes = _changed_noneEnabled = _changed_noneDisplay = _refill
    _changed_addEnabled = _changed_removeEnabled = _changed_renameEnabled = _refill

    # ------------------------------------------------------------------------------- scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self._scene:
            return
        for tag in self._observed:
            self._scene.RemoveObserver(tag)
        self._scene, self._current, self._observed = scene, None, []
        if scene:
            events = {
                scene.NodeAddedEvent: self._node_added,
                scene.NodeRemovedEvent: self._node_removed,
                scene.EndCloseEvent: self._scene_replaced,
                scene.EndBatchProcessEvent: self._scene_replaced,
            }
            self._observed = [scene.AddObserver(e, f) for e, f in events.items()]
        self._fill()
        if self._selects_first():
            self.setCurrentNode(self._nodes[0])

    def _selects_first(self) -> bool:
        """QComboBox picks row 0 by itself when the rows are nodes only: no "none", no actions."""
        others = (
            self.noneEnabled,
            self.addEnabled,
            self.removeEnabled,
            self.renameEnabled,
            self.editEnabled,
        )
        return self._scene is not None and bool(self._nodes) and not any(others)

    def _node_added(self, *_: Any) -> None:
        if self._scene.IsBatchProcessing():
            return
        self._fill()
        if self._current is None and self._selects_first():
            self._select(self._nodes[0])

    def _node_removed(self, *_: Any) -> None:
        gone = self._current is not None and not self._in_scene(self._current)
        self._fill()
        if gone:
            self._select(self._nodes[0] if self._nodes and not self.noneEnabled else None)

    def _scene_replaced(self, *_: Any) -> None:
        self._fill()

    def _in_scene(self, node: Any) -> bool:
        return self._scene.GetNodeByID(node.GetID() or "") is node

    # -------------------------------------------------------------------------------- rows

    def _fits(self, node: Any) -> bool:
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        cls = node.GetClassName()
        child_types = self.showChildNodeTypes and cls not in self.hideChildNodeTypes
        for wanted in self.nodeTypes:
            if cls == wanted or (child_types and node.IsA(wanted)):
                return self._has_attributes(node, wanted)
        return False

    def _has_attributes(self, node: Any, node_class: str) -> bool:
        return all(
            node.GetAttribute(name) is not None
            and (value is None or node.GetAttribute(name) == str(value))
            for (cls, name), value in self._attributes.items()
            if cls == node_class
        )

    def _fill(self) -> None:
        if self._adding:
            return
        count = self._scene.GetNumberOfNodes() if self._scene else 0
        nodes = (self._scene.GetNthNode(index) for index in range(count))
        self._nodes = [node for node in nodes if self._fits(node)]
        first_type = self.nodeTypes[0] if self.nodeTypes else "node"
        none = self.noneDisplay if self._scene else f"Select a {first_type}"
        self._none_rows = int(self.noneEnabled or not self._nodes)
        self._actions = self._available_actions(short_name(first_type))
        self._box.blockSignals(True)
        self._box.clear()
        rows = [none] * self._none_rows + [node.GetName() or "" for node in self._nodes]
        self._box.addItems(rows + [text for text, _ in self._actions])
        known = self._current in self._nodes
        self._box.setCurrentIndex(
            self._nodes.index(self._current) + self._none_rows if known else 0
        )
        self._box.blockSignals(False)

    def _available_actions(self, kind: str) -> list[tuple[str, Any]]:
        if not self._scene:
            return []
        actions = []
        if self.addEnabled:
            actions.append((f"Create new {kind}", self.addNode))
        if self.removeEnabled and self._current:
            actions.append((f"Delete current {kind}", self.removeCurrentNode))
        return actions

    def _picked(self, row: int) -> None:
        index = row - self._none_rows
        if index >= len(self._nodes):
            self._actions[index - len(self._nodes)][1]()
            return
        node = self._nodes[index] if index >= 0 else None
        self._select(node)
        self._activated.emit(node)

    def _select(self, node: Any) -> None:
        if node is self._current:
            return
        self._current = node
        self._fill()
        self.currentNodeChanged.emit(node)
        self._valid.emit(node is not None)
        self._id_changed.emit(node.GetID() if node else "")

    # -------------------------------------------------------------------------- public API

    def currentNode(self) -> Any:
        return self._current

    def setCurrentNode(self, node: Any) -> None:
        if isinstance(node, str):
            node = self._scene.GetNodeByID(node) if self._scene and node else None
        self._select(node if node in self._nodes else None)

    def setCurrentNodeID(self, node_id: str) -> None:
        self.setCurrentNode(node_id or None)

    currentNodeID = Property(
        str, lambda self: self._current.GetID() if self._current else "", setCurrentNodeID
    )

    def nodeCount(self) -> int:
        return len(self._nodes)

    def nodeFromIndex(self, index: int) -> Any:
        return self._nodes[index]

    def addAttribute(self, node_class: str, name: str, value: Any = None) -> None:
        self._attributes[node_class, name] = value
        self._fill()

    def removeAttribute(self, node_class: str, name: str) -> None:
        self._attributes.pop((node_class, name), None)
        self._fill()

    def addNode(self, node_class: str = "") -> Any:
        node_class = node_class or self.nodeTypes[0]
        name = self._scene.GenerateUniqueName(self.baseName or short_name(node_class))
        self._adding = True
        node = self._scene.AddNewNodeByClass(node_class, name)
        self._adding = False
        self._fill()
        if self.selectNodeUponCreation:
            self._select(node)
        self._added_by_user.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        if self._current:
            self._scene.RemoveNode(self._current)
