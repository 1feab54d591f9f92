"""What has to be installed before the first synthesis, asked for when the button is clicked.

| task     | computes with                                                                        |
|----------|--------------------------------------------------------------------------------------|
| contrast | PyTorch where a version that fits is there; else ONNX Runtime, which is asked for    |
| import   | the same: the network of a package is built before it is installed                   |
| cine     | PyTorch, which is asked for: the cine networks have no other form                    |

Light packages and ONNX Runtime come through ``slicer.packaging``, torch through the PyTorch
extension, which picks the build that fits the graphics card. Where another computer computes,
neither of them is asked for. Nothing is imported or installed
before that.
"""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path

from slicer.i18n import tr as _

from MambaSynthLib.errors import MambaSynthError

from . import remote_engine

RESOURCES = Path(__file__).resolve().parent.parent / "Resources"
REQUIREMENTS = RESOURCES / "requirements.txt"
ONNX_REQUIREMENTS = RESOURCES / "requirements-onnx.txt"
SCORE_REQUIREMENTS = RESOURCES / "requirements-scores.txt"
ONNX_RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml")  # share one folder
TORCH = ">=2.10,<2.14"  # floor: fixed CVEs; ceiling: tested
# The license files of 2.13 lie so deep that below Slicer's folder their paths exceed the 260
# characters of Windows, and the installation breaks half-way (Slicer/light-the-torch issue 176).
TORCH_FOR_WINDOWS = ">=2.10,<2.13"

OFFLINE = _(
    "Without a network, get the packages on another computer and install them with: "
    "PythonSlicer -m pip install --no-index --find-links FOLDER -r requirements.txt "
    "(see the MambaSynth tutorial)."
)


class DependencyError(MambaSynthError):
    """A package is missing and was not installed."""


def ensure(task: str) -> None:
    """Have everything installed that a task needs, asking the user before: contrast, cine, import
    (of a model), models (what else is done with them).

    Raises DependencyError when the user declines or the installation fails.
    """
    ensurePackages(REQUIREMENTS)
    elsewhere = task in ("contrast", "cine") and remote_engine.chosen() is not None
    if torchIsUsable() or elsewhere or task == "models":
        return
    if task == "cine":
        ensureTorch()
    elif not onnxIsInstalled():
        ensurePackages(ONNX_REQUIREMENTS)


def ensurePackages(file: Path) -> None:
    from slicer import packaging

    requirements = packaging.load_requirements(file)
    try:  # asks only for what is missing
        packaging.pip_ensure(requirements, requester="MambaSynth")
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        message = _(
            "MambaSynth needs Python packages that were not installed ({reason}). {offline}"
        )
        raise DependencyError(message.format(reason=firstLine(error), offline=OFFLINE)) from error


def onnxIsInstalled() -> bool:
    """Any of its builds: a second one would overwrite the files of the first."""
    return installed("onnx") is not None and any(map(installed, ONNX_RUNTIMES))


def installed(package: str) -> str | None:
    """The version, such as 2.12.1+cu130, or None; nothing is imported to find out."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def childEnvironment() -> dict[str, str]:
    """So that the child process leaves alone a PyTorch that does not fit."""
    return {} if torchIsUsable() else {"MAMBASYNTH_BACKEND": "onnxruntime"}


def computesWith() -> str:
    """What would compute a contrast now, and what another choice would gain, for the panel."""
    remote = remote_engine.chosen()
    if remote is not None:
        return _("Computes on {address}.").format(address=remote.address)
    torch = installed("torch")
    if torchIsUsable():
        return _("Computes with PyTorch {version}.").format(version=torch)
    gain = _("PyTorch would also make cines, and use a graphics card.")
    if not torchExists():
        gain = _("For this Slicer there is no PyTorch that fits, so cines cannot be made.")
    if onnxIsInstalled():
        return _("Computes contrasts with ONNX Runtime, on the CPU.") + " " + gain
    return _("Contrasts will compute with ONNX Runtime (about 100 MB, asked for).") + " " + gain


def somethingComputes() -> bool:
    """Whether there are devices to ask for."""
    return torchIsUsable() or onnxIsInstalled() or remote_engine.chosen() is not None


def torchExists() -> bool:
    """Intel builds for macOS, which Slicer needs there under Rosetta, end at PyTorch 2.2."""
    return not (sys.platform == "darwin" and platform.machine() == "x86_64")


def torchIsUsable() -> bool:
    from packaging.specifiers import SpecifierSet  # part of Slicer, which uses it for pip

    version = installed("torch")
    return version is not None and SpecifierSet(TORCH).contains(version, prereleases=True)


def torchToInstall() -> str:
    return TORCH_FOR_WINDOWS if sys.platform == "win32" else TORCH


def ensureTorch() -> None:
    """Another extension may have left a version that MambaSynth does not run on.

    It is not replaced: its files may be in use, and the other extension may need it.
    """
    if torchIsUsable():
        return
    if not torchExists():
        message = _(
            "Cines are computed with PyTorch {wanted}, which does not exist for this Slicer (Intel "
            "code on a Mac); contrasts work without it."
        )
        raise DependencyError(message.format(wanted=torchToInstall()))
    version = installed("torch")
    if version is not None:
        message = _(
            "PyTorch {version} is installed, probably by another extension, but cines need "
            "{wanted}: uninstall it in the module PyTorch Utils, restart Slicer and try again."
        )
        raise DependencyError(message.format(version=version, wanted=torchToInstall()))
    try:
        from PyTorchUtils import PyTorchUtilsLogic
    except ImportError as error:
        message = _(
            "Cines are computed with PyTorch: install the PyTorch extension in the Extensions "
            "Manager, restart Slicer and try again. {offline}"
        )
        raise DependencyError(message.format(offline=OFFLINE)) from error
    try:
        torch = PyTorchUtilsLogic().installTorch(
            askConfirmation=True, torchVersionRequirement=torchToInstall()
        )
    except Exception as error:  # noqa: BLE001 - another extension: anything can come out of it
        message = _("PyTorch could not be installed ({reason}). {offline}")
        raise DependencyError(message.format(reason=firstLine(error), offline=OFFLINE)) from error
    if torch is None:
        message = _("PyTorch was not installed, so no cine can be synthesized. {offline}")
        raise DependencyError(message.format(offline=OFFLINE))


def firstLine(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
