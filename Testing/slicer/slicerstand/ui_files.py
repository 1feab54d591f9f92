"""Loading ``.ui`` files strictly: what Slicer would print or ignore is an error here."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtUiTools, QtWidgets

from .pythonqt import PythonQtObject, normalized
from .qt_module import qt
from .standins import CLASSES

NUMBERS = ("int", "uint", "double", "qlonglong")


def widget_class(name: str | None) -> type | None:
    return CLASSES.get(name or "") or getattr(qt, name or "", None)


def property_problem(cls: type, prop: ET.Element) -> str | None:
    name = prop.get("name") or ""
    if prop.get("stdset") == "0" or name == "geometry":
        return None
    index = cls.staticMetaObject.indexOfProperty(name)
    if index < 0:
        return f"no property '{name}'"
    type_name = cls.staticMetaObject.property(index).typeName()
    if prop.findtext("number") is not None and type_name not in NUMBERS:
        return f"property '{name}' is {type_name}, not a number"
    return None


def has_signal(cls: type, signal: str) -> bool:
    return (
        normalized(signal) in getattr(cls, "SIGNAL_ALIASES", {})
        or cls.staticMetaObject.indexOfSignal(normalized(signal)) >= 0
    )


def connection_ends(connection: ET.Element) -> list[str]:
    """Sender, signal, receiver, slot."""
    return [connection.findtext(t) or "" for t in ("sender", "signal", "receiver", "slot")]


def problems(root: ET.Element) -> list[str]:
    """Unknown classes, unknown or mistyped properties, connections that lead nowhere."""
    found: list[str] = []
    classes: dict[str, type | None] = {}
    for widget in root.iter("widget"):
        name, cls = widget.get("name") or "", widget_class(widget.get("class"))
        if name in classes:
            found.append(f"widget {name}: the name is used twice")
        classes[name] = cls
        if cls is None:
            found.append(f"widget {name}: unknown class {widget.get('class')}")
            continue
        told = (property_problem(cls, prop) for prop in widget.findall("property"))
        found += [f"widget {name} ({cls.__name__}): {problem}" for problem in told if problem]
    for connection in root.iter("connection"):
        sender, signal, receiver, slot = connection_ends(connection)
        for end in (sender, receiver):
            if classes.get(end) is None:
                found.append(f"connection: no widget {end}")
        if classes.get(sender) and not has_signal(classes[sender], signal):
            found.append(f"connection: {sender} has no signal {signal}")
        if classes.get(receiver) and not hasattr(classes[receiver], slot.split("(")[0]):
            found.append(f"connection: {receiver} has no slot {slot}")
    return found


class QUiLoader(PythonQtObject, QtUiTools.QUiLoader):
    """Makes ``qt`` classes and stand-ins instead of plain PySide widgets."""

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        return self._named(widget_class(class_name)(parent), name)

    def createLayout(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        cls = getattr(qt, class_name)
        layout = cls(parent) if isinstance(parent, QtWidgets.QWidget) else cls()
        return self._named(layout, name)

    def _named(self, made: Any, name: str) -> Any:
        made.setObjectName(name)
        self._made.append(made)
        return made

    def load(self, file: Any, parent: Any = None) -> Any:
        """The widget of an opened or closed QFile; RuntimeError lists every problem of the file."""
        self._made: list[Any] = []
        text = file.readAll().data() if file.isOpen() else Path(file.fileName()).read_bytes()
        root = ET.fromstring(bytes(text))
        if found := problems(root):
            raise RuntimeError("UI file problems:\n  " + "\n  ".join(found))
        connections = [connection_ends(c) for c in root.iter("connection")]
        for element in root.findall("connections"):  # made below, under PythonQt's rules
            root.remove(element)
        buffer = QtCore.QBuffer()
        buffer.setData(ET.tostring(root))
        buffer.open(QtCore.QIODevice.ReadOnly)
        widget = QtUiTools.QUiLoader.load(self, buffer, parent)
        by_name = {made.objectName: made for made in self._made}
        for sender, signal, receiver, slot in connections:
            by_name[sender].connect(signal, getattr(by_name[receiver], slot.split("(")[0]))
        widget.__dict__["_made"] = self._made  # the Python halves must outlive the loader
        return widget


qt.QUiLoader = QUiLoader
