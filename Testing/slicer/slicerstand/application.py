"""``slicer.app``: the application object with the parts that scripted modules ask for."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

from PySide6 import QtCore

from .qt_module import qt


class Application(qt.QApplication):
    startupCompleted = QtCore.Signal()

    def __init__(self, home: Path):
        super().__init__(["Slicer"])
        self.setOrganizationName("NA-MIC")
        self.setApplicationName("Slicer")
        self.testing = False  # True: slicer.util answers its dialogs itself
        self.slicerHome = self.defaultScenePath = str(home)
        self.temporaryPath = str(home / "tmp")
        self.cachePath = str(home / "cache")
        self.majorVersion, self.minorVersion, self.revision = 5, 13, "31053"
        self.os, self.arch = "linux", "amd64"

    def install(self, core: Any, modules: Any, files: Any, layout: Any) -> None:
        self._core, self._modules, self._files, self._layout = core, modules, files, layout

    def mrmlScene(self) -> Any:
        return self._core.scene

    def applicationLogic(self) -> Any:
        return self._core.logic

    def moduleManager(self) -> Any:
        return self._modules

    def ioManager(self) -> Any:
        return self._files

    coreIOManager = ioManager

    def layoutManager(self) -> Any:
        return self._layout

    def testingEnabled(self) -> bool:
        return self.testing

    def commandOptions(self) -> types.SimpleNamespace:
        return types.SimpleNamespace(testingEnabled=self.testing, noMainWindow=False)

    def userSettings(self) -> Any:
        return qt.QSettings()

    settings = revisionUserSettings = userSettings

    def translate(self, context: str, text: str, *rest: Any) -> str:
        return text

    def pauseRender(self) -> None:
        pass

    def resumeRender(self) -> None:
        pass
