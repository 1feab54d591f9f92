"""Python files that ship inside the Slicer application only, after its public documentation.

``slicer.ScriptedLoadableModule``, ``slicer.i18n``, ``slicer.packaging`` (developer guide, "Slicer
API"), and the module of another author that MambaSynth calls: ``PyTorchUtils`` (PyTorch extension).
Own code: names and behaviour follow the documentation. ``SampleData`` has a file of its own.
"""

from __future__ import annotations

import sys
import types
import unittest
from pathlib import Path
from typing import Any

import slicer

from . import dicom, sample_data
from .qt_module import qt

# ------------------------------------------------------------------ ScriptedLoadableModule


class ScriptedLoadableModule:
    """Base of ``<Name>``: describes the module and registers its self-test."""

    def __init__(self, parent: Any):
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title = ""
        parent.contributors = []
        icon = Path(parent.path).parent / "Resources" / "Icons" / f"{self.moduleName}.png"
        if icon.exists():
            parent.icon = qt.QIcon(str(icon))
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, name: str) -> str:
        return str(Path(self.parent.path).parent / "Resources" / name)

    def getDefaultModuleDocumentationLink(self, *_: Any) -> str:
        return "<p>See the documentation.</p>"

    def runTest(self, msec: int = 100, **_: Any) -> None:
        test_class = getattr(sys.modules[self.moduleName], self.moduleName + "Test")
        test = test_class()
        test.messageDelay = msec
        test.runTest()


class ScriptedLoadableModuleWidget:
    """Base of ``<Name>Widget``: the Python half of the panel."""

    def __init__(self, parent: Any = None):
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent = parent
        self.layout = parent.layout()
        self.developerMode = False

    def resourcePath(self, name: str) -> str:
        module = slicer.app.moduleManager().module(self.moduleName)
        return str(Path(module.path).parent / "Resources" / name)

    def setup(self) -> None:
        pass

    def cleanup(self) -> None:
        pass


class ScriptedLoadableModuleLogic:
    """Base of ``<Name>Logic``: keeps the parameters in a singleton node of the scene."""

    def __init__(self, parent: Any = None):
        self.parent = parent
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def resourcePath(self, name: str) -> str:
        module = slicer.app.moduleManager().module(self.moduleName)
        return str(Path(module.path).parent / "Resources" / name)

    def getParameterNode(self) -> Any:
        found = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        return found or self._create_parameter_node()

    def _create_parameter_node(self) -> Any:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        node.SetSingletonTag(self.moduleName)
        node.SetModuleName(self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return slicer.mrmlScene.AddNode(node)


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Base of ``<Name>Test``: runs every ``test*`` method, ``setUp`` first."""

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self.messageDelay = 100

    def delayDisplay(self, message: str, *_: Any, **__: Any) -> None:
        print(message)

    def runTest(self) -> None:
        names = [n for n in dir(self) if n.startswith("test") and callable(getattr(self, n))]
        for name in names:
            self.setUp()
            getattr(self, name)()
            self.tearDown()


# ------------------------------------------------------------------------------- packaging


class Packaging:
    """``slicer.packaging`` without a network: tests set what is missing and what happens."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], str]] = []  # (requirements, requester) per question
        self.error: Exception | None = None  # raised by the next pip_ensure
        self.satisfied = True

    def load_requirements(self, path: Any) -> list[str]:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        bare = (line.split("#")[0].strip() for line in lines)
        return [line for line in bare if line]

    def pip_ensure(self, requirements: Any, requester: str = "", **_: Any) -> None:
        if self.satisfied:
            return
        self.asked.append((list(requirements), requester))
        if self.error is not None:
            raise self.error


class PyTorchUtilsLogic:
    """The PyTorch extension: ``installed`` and ``accepts`` are set by tests."""

    installed = True
    accepts = True
    error: Exception | None = None
    requests: list[dict[str, Any]] = []

    def torchInstalled(self) -> bool:
        return PyTorchUtilsLogic.installed

    def installTorch(
        self,
        askConfirmation: bool = False,
        forceComputationBackend: str | None = None,
        torchVersionRequirement: str | None = None,
        torchvisionVersionRequirement: str | None = None,
    ) -> Any:
        cls = PyTorchUtilsLogic
        cls.requests.append({"ask": askConfirmation, "torch": torchVersionRequirement})
        if cls.error is not None:
            raise cls.error
        cls.installed = cls.accepts
        return types.SimpleNamespace(__version__="2.13.0") if cls.accepts else None


def install() -> Packaging:
    """Put the stand-ins where ``import`` finds them; returns the packaging for the tests."""
    slicer.selfTests = {}
    scripted = types.ModuleType("slicer.ScriptedLoadableModule")
    for cls in (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    ):
        setattr(scripted, cls.__name__, cls)
    i18n = types.ModuleType("slicer.i18n")
    i18n.tr = lambda text: text
    i18n.translate = lambda context, text: text
    state = Packaging()
    packaging = types.ModuleType("slicer.packaging")
    for name in ("load_requirements", "pip_ensure"):
        setattr(packaging, name, getattr(state, name))
    for module in (scripted, i18n, packaging):
        sys.modules[module.__name__] = module
        setattr(slicer, module.__name__.split(".")[1], module)
    sample_data.serve(None)
    torch_utils = types.ModuleType("PyTorchUtils")
    torch_utils.PyTorchUtilsLogic = PyTorchUtilsLogic
    sys.modules["SampleData"], sys.modules["PyTorchUtils"] = sample_data, torch_utils
    sys.modules["DICOMLib"] = dicom.install()
    return state
