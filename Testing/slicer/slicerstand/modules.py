"""``slicer.modules`` and the module manager that loads a scripted module file as Slicer does."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

from PySide6 import QtCore

from .mrml_widgets import qMRMLWidget
from .qt_module import qt


class LoadableModule:
    """A C++ module: its name and its logic."""

    def __init__(self, name: str, logic: Any):
        self.name = self.title = name
        self.path = ""
        self._logic = logic

    def logic(self) -> Any:
        return self._logic

    def widgetRepresentation(self) -> None:
        return None


class SequencesModule(LoadableModule):
    """Its toolbar plays the browser that was shown last; here, that is only remembered."""

    toolBarActiveBrowser: Any = None

    def showSequenceBrowser(self, browser: Any) -> bool:
        self.toolBarActiveBrowser = browser
        return True


class qSlicerScriptedLoadableModule(qt.QObject):
    """The C++ half of a scripted module; the Python half gets it as ``parent``."""

    title = name = path = helpText = acknowledgementText = ""
    defaultDocumentationLink = ""
    hidden = False
    icon = None

    def __init__(self) -> None:
        super().__init__()
        self.categories: list[str] = []
        self.dependencies: list[str] = []
        self.contributors: list[str] = []
        self.associatedNodeTypes: list[str] = []
        self._representation: Any = None

    def logic(self) -> Any:
        import slicer

        return slicer.vtkSlicerScriptedLoadableModuleLogic()

    def widgetRepresentation(self) -> Any:
        return self._representation


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The C++ half of the module's panel; the Python half gets it as ``parent``."""

    def __init__(self) -> None:
        super().__init__()
        qt.QVBoxLayout(self)
        self.isEntered = False
        self._python: Any = None

    def self(self) -> Any:
        return self._python

    def enter(self) -> None:
        self.isEntered = True
        getattr(self._python, "enter", lambda: None)()

    def exit(self) -> None:
        self.isEntered = False
        getattr(self._python, "exit", lambda: None)()


class ModuleManager(qt.QObject):
    moduleAboutToBeUnloaded = QtCore.Signal(str)
    SIGNAL_ALIASES = {"moduleAboutToBeUnloaded(QString)": "moduleAboutToBeUnloaded"}

    def __init__(self, core: Any):
        super().__init__()
        self._core = core
        self._entered: Any = None
        self._closed: list[Any] = []
        self.modules = types.ModuleType("slicer.modules")
        for name, logic in core.module_logics.items():
            kind = SequencesModule if name == "Sequences" else LoadableModule
            setattr(self.modules, name.lower(), kind(name, logic))

    def module(self, name: str) -> Any:
        return getattr(self.modules, name.lower(), None)

    def factoryManager(self) -> ModuleManager:
        return self

    def isModuleLoaded(self, name: str) -> bool:
        return self.module(name) is not None

    def selectModule(self, module: Any) -> None:
        """What the module selector does: leave one panel, enter another."""
        if self._entered:
            self._entered.exit()
        found = self.module(getattr(module, "name", module))
        self._entered = found.widgetRepresentation() if found else None
        if self._entered:
            self._entered.enter()

    def load_scripted(self, path: Path) -> Any:
        """Import the file, make its module, its panel, and call ``setup`` of both."""
        path = path.resolve()
        name = path.stem
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))
        spec = importlib.util.spec_from_file_location(name, path)
        python = importlib.util.module_from_spec(spec)
        sys.modules[name] = python
        spec.loader.exec_module(python)
        module = qSlicerScriptedLoadableModule()
        module.name, module.path = name, str(path)
        instance = getattr(python, name)(module)
        setattr(self.modules, name.lower(), module)
        setattr(self.modules, name + "Instance", instance)
        getattr(instance, "setup", lambda: None)()
        if hasattr(python, name + "Widget"):
            self._make_panel(module, getattr(python, name + "Widget"))
        return module

    def _make_panel(self, module: Any, widget_class: type) -> None:
        panel = qSlicerScriptedLoadableModuleWidget()
        panel.setMRMLScene(self._core.scene)
        module._representation = panel
        panel._python = widget_class(panel)
        setattr(self.modules, widget_class.__name__, panel._python)
        panel._python.setup()

    def unload_scripted(self, module: Any) -> None:
        """What closing Slicer or reloading the module does to the panel."""
        panel = module.widgetRepresentation()
        panel._python.cleanup()
        for widget in panel.findChildren(qt.QWidget):
            if hasattr(widget, "setMRMLScene"):  # observers end with the C++ widget
                widget.setMRMLScene(None)
        panel.hide()
        self._closed.append(panel)  # PySide loses a class's properties with its last instance
