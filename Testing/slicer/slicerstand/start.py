"""Start the stand-in once per process: ``core = start()``, then ``import slicer, qt, ctk``."""

from __future__ import annotations

import os
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

STARTED: Any = None


class Stand:
    """What tests reach: the scene, the application and its parts, and the record."""

    def __init__(self, home: Path):
        from . import ctk_widgets, mrml_widgets, record, ui_files  # noqa: F401 (they register)
        from .application import Application
        from .io_manager import IOManager
        from .modules import ModuleManager
        from .qt_module import qt
        from .scene import SceneCore
        from .slice_views import LayoutManager
        from .standins import CLASSES

        sys.modules["qt"], sys.modules["ctk"] = qt, ctk_widgets.build()
        keep_settings_in(home)
        import slicer

        hide_surplus_names(slicer)
        for name, cls in CLASSES.items():
            if name.startswith("q"):
                setattr(slicer, name, cls)
        self.record = record
        self.app = slicer.app = Application(home)
        core = SceneCore(home)
        self.scene = slicer.mrmlScene = core.scene
        self.logic = core.logic
        self.modules = ModuleManager(core)
        self.layout = LayoutManager(core)
        self.app.install(core, self.modules, IOManager(core), self.layout)
        slicer.modules = sys.modules["slicer.modules"] = self.modules.modules
        self.main_window = main_window(qt, self.modules)
        from . import python_files

        self.packaging = python_files.install()
        self.torch = python_files.PyTorchUtilsLogic


def start() -> Stand:
    """The one stand-in of this process, in a fresh home folder."""
    global STARTED
    if STARTED is None:
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
        STARTED = Stand(Path(tempfile.mkdtemp(prefix="slicerstand_")))
    return STARTED


def keep_settings_in(home: Path) -> None:
    from PySide6.QtCore import QSettings

    QSettings.setDefaultFormat(QSettings.IniFormat)
    QSettings.setPath(QSettings.IniFormat, QSettings.UserScope, str(home))


def hide_surplus_names(slicer: Any) -> None:
    """The wheel copies ``slicer.util``'s functions into ``slicer``; Slicer does not."""
    from slicer import util

    for name, value in list(vars(slicer).items()):
        copied = vars(util).get(name) is value and isinstance(value, (types.FunctionType, type))
        if copied and not name.startswith("vtk"):
            delattr(slicer, name)


def main_window(qt: Any, modules: Any) -> Any:
    class qSlicerMainWindow(qt.QMainWindow):
        def moduleSelector(self) -> Any:
            return modules

    window = qSlicerMainWindow()
    window.setObjectName("qSlicerMainWindow")
    return window
