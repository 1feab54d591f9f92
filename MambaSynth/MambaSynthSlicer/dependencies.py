"""What has to be installed before the first synthesis, asked for when the button is clicked.

Light packages through ``slicer.packaging``, torch through the PyTorch extension, which picks the
build that fits the graphics card. Nothing is imported or installed before that.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

from slicer.i18n import tr as _

from MambaSynthLib.errors import MambaSynthError

REQUIREMENTS = Path(__file__).resolve().parent.parent / "Resources" / "requirements.txt"
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


def ensure() -> None:
    """Have everything installed, asking the user once for each of the two groups.

    Raises DependencyError when the user declines or the installation fails.
    """
    ensureLightPackages()
    ensureTorch()


def ensureLightPackages() -> None:
    from slicer import packaging

    requirements = packaging.load_requirements(REQUIREMENTS)
    try:  # asks only for what is missing
        packaging.pip_ensure(requirements, requester="MambaSynth")
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        message = _(
            "MambaSynth needs Python packages that were not installed ({reason}). {offline}"
        )
        raise DependencyError(message.format(reason=firstLine(error), offline=OFFLINE)) from error


def installedTorch() -> str | None:
    """The version, such as 2.12.1+cu130, or None; PyTorch is not imported to find out."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None


def torchIsUsable() -> bool:
    from packaging.specifiers import SpecifierSet  # part of Slicer, which uses it for pip

    version = installedTorch()
    return version is not None and SpecifierSet(TORCH).contains(version, prereleases=True)


def torchToInstall() -> str:
    return TORCH_FOR_WINDOWS if sys.platform == "win32" else TORCH


def ensureTorch() -> None:
    """Another extension may have left a version that MambaSynth does not run on.

    It is not replaced: its files may be in use, and the other extension may need it.
    """
    if torchIsUsable():
        return
    version = installedTorch()
    if version is not None:
        message = _(
            "PyTorch {version} is installed, probably by another extension, but MambaSynth needs "
            "{wanted}: uninstall it in the module PyTorch Utils, restart Slicer and try again."
        )
        raise DependencyError(message.format(version=version, wanted=torchToInstall()))
    try:
        from PyTorchUtils import PyTorchUtilsLogic
    except ImportError as error:
        message = _(
            "MambaSynth computes with PyTorch: install the PyTorch extension in the Extensions "
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
        message = _("PyTorch was not installed, so nothing can be synthesized. {offline}")
        raise DependencyError(message.format(offline=OFFLINE))


def firstLine(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
