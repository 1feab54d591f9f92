"""What a developer needs to know of a problem, without what concerns the patient or the user.

Names of nodes, the user's name and every folder of a path are left out; the last part of a path
stays where it is a Python file, as tracebacks are of no use without it.
"""

from __future__ import annotations

import getpass
import platform
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import slicer

from MambaSynthLib import __version__

from . import dependencies

PATH = re.compile(r"(?:[A-Za-z]:[\\/]|[\\/~])(?:[^\\/\s:'\"<>|]+[\\/])+[^\\/\s:'\"<>|,;)]*")
PYTHON_FILE = re.compile(r"[\w-]+\.py$")
SHORTEST = 3  # characters of a name that is looked for; shorter ones are in every word
PACKAGES = ("torch", "onnxruntime", "onnx", "numpy", "safetensors")


def report(entry: Any, device: str, status: str, log: str) -> str:
    """Markdown for an issue. ``entry``: the model of the tab shown, or None."""
    app = slicer.app
    versions = [f"{name} {dependencies.installed(name) or 'not installed'}" for name in PACKAGES]
    lines = [
        f"MambaSynth {__version__}, Slicer {app.majorVersion}.{app.minorVersion} ({app.revision})",
        f"{platform.system()} {platform.release()} {platform.machine()}, Python "
        f"{platform.python_version()}",
        ", ".join(versions),
        f"model: {entry.key} {entry.version}" if entry else "model: none",
        f"device: {device}",
        f"status: {status}",
        "log:",
        "```",
        log.strip(),
        "```",
    ]
    return withoutNames("\n".join(lines), namesHere())


def namesHere() -> list[str]:
    """Of every node and file in the scene, and of the user; the longest first."""
    scene = slicer.mrmlScene
    nodes = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
    own = [n for n in nodes if n.IsA("vtkMRMLStorableNode") and not n.IsA("vtkMRMLColorNode")]
    names = {node.GetName() or "" for node in own} | {getpass.getuser(), Path.home().name}
    return sorted((name for name in names if len(name) >= SHORTEST), key=len, reverse=True)


def withoutNames(text: str, names: Iterable[str]) -> str:
    text = PATH.sub(lastPart, text)
    for name in names:
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "<name>", text)
    return text


def lastPart(path: re.Match[str]) -> str:
    file = PYTHON_FILE.search(path[0])
    return f"<path>/{file[0]}" if file else "<path>"
