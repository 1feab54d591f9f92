"""The panel's values: in the scene's parameter node, and remembered for the next session.

A scene that is loaded brings its own values; a new scene starts with those used last.
"""

from __future__ import annotations

from typing import Any

import qt
import slicer

SOURCE, OUTPUT, ACQUIRED = "Source", "Output", "Acquired"  # node reference roles
CINE_SOURCE, CINE_ES = "CineSource", "CineES"
DEFAULTS: dict[str, Any] = {
    "task": "contrast",  # the tab shown
    "target": "T2w",
    "model": "",
    "device": "auto",
    "steps": 0,  # 0: the model's own number
    "samples": 0,
    "seed": 0,
    "spread": False,
    "onePlane": False,
    "cineModel": "",
    "cineFrames": 30,
    "cineEd": 0,  # 0: found
    "cineEs": 0,
    "cineOnlyPhases": False,
    "cinePace": 0.0,  # of a cine without times; 0: not known
    "cinePaceUnit": "bpm",
}


class Parameters:
    """A typed view of the module's ``vtkMRMLScriptedModuleNode``."""

    def __init__(self, node: Any):
        self.mrml = node
        for name, default in DEFAULTS.items():
            if not node.GetParameter(name):
                remembered = slicer.util.settingsValue(settingsKey(name), default)
                node.SetParameter(name, text(remembered, default))

    def get(self, name: str) -> Any:
        """The value, of the kind of its default; the default where the text makes no sense."""
        default, stored = DEFAULTS[name], self.mrml.GetParameter(name)
        if isinstance(default, bool):
            return slicer.util.toBool(stored)
        try:
            return type(default)(stored)
        except ValueError:
            return default

    def set(self, name: str, value: Any) -> None:
        self.mrml.SetParameter(name, text(value, DEFAULTS[name]))
        qt.QSettings().setValue(settingsKey(name), value)

    def node(self, role: str) -> Any:
        return self.mrml.GetNodeReference(role)

    def setNode(self, role: str, node: Any) -> None:
        self.mrml.SetNodeReferenceID(role, node.GetID() if node else None)


def settingsKey(name: str) -> str:
    return f"MambaSynth/{name}"


def text(value: Any, default: Any) -> str:
    """As MRML keeps it. Settings files give text back, so ``value`` may be text already."""
    if isinstance(default, bool):
        return str(slicer.util.toBool(value)).lower()
    return str(value)
