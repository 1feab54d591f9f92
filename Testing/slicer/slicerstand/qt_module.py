"""The ``qt`` module: QtCore, QtGui and QtWidgets of PySide6, every QObject under PythonQt's rules.

Modal dialogs never block: ``exec_`` is answered by the test (see ``record``). File dialogs return
a plain string, as in PythonQt.
"""

from __future__ import annotations

import types
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from . import record
from .pythonqt import wrapped

FILE_DIALOGS = ("getOpenFileName", "getOpenFileNames", "getSaveFileName", "getExistingDirectory")


def described(dialog: Any) -> record.Dialog:
    def text_of(attribute: str) -> str:
        value = getattr(dialog, attribute, "")
        return value if isinstance(value, str) else ""

    return record.Dialog(
        dialog.className(),
        text_of("windowTitle").strip(),
        text_of("text") or text_of("labelText"),
        text_of("detailedText"),
    )


def run_dialog(self: Any) -> Any:
    return record.answer(described(self), self)


def loop_runner(base: type) -> Any:
    def exec_(self: Any, *arguments: Any) -> Any:
        return base.exec(self, *arguments)

    return exec_


def file_dialog(function: str) -> Any:
    def ask(*arguments: Any, **named: Any) -> Any:
        title = next((a for a in arguments if isinstance(a, str)), "")
        return record.answer(record.Dialog("QFileDialog", title, function), arguments)

    return staticmethod(ask)


def shown(name: str, value: Any) -> Any:
    """What ``qt.<name>`` is: a wrapped class for QObjects, the PySide value for the rest."""
    if not (isinstance(value, type) and issubclass(value, QtCore.QObject)):
        return value
    members: dict[str, Any] = {}
    if issubclass(value, QtWidgets.QDialog):
        members = {"exec_": run_dialog, "exec": run_dialog}
    elif hasattr(value, "exec"):
        members = {"exec_": loop_runner(value)}
    try:
        return wrapped(name, value, **members)
    except TypeError:  # a final class: left as it is
        return value


def build() -> types.ModuleType:
    module = types.ModuleType("qt", __doc__)
    for source in (QtCore, QtGui, QtWidgets):
        for name in dir(source):
            if not name.startswith("_") and name != "Property":
                setattr(module, name, shown(name, getattr(source, name)))
    module.Property = QtCore.Property
    for function in FILE_DIALOGS:
        setattr(module.QFileDialog, function, file_dialog(function))
    return module


qt = build()
