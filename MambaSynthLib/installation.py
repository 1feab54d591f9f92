"""How this library got here, and the command that adds a missing package to it.

Read from the distribution's own record: ``direct_url.json`` (PEP 610) tells a clone, a wheel file
and an address from an index. In Slicer the library is a folder of the extension, without a record.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

DISTRIBUTION = "mambasynth"
PACKAGES = {  # what one wants to do, an extra of pyproject.toml -> the packages that it brings
    "": ("jsonschema", "nibabel", "numpy", "pydicom", "rich", "safetensors"),
    "synthesize": ("onnx", "onnxruntime"),
    "report": ("matplotlib", "scikit-image", "scipy"),
    "cine": ("torch",),
    "dicom": ("highdicom",),
    "train": ("SimpleITK", "lightning", "monai", "pyyaml", "tensorboard", "torchmetrics", "zarr"),
}
NAMES = {
    "skimage": "scikit-image",
    "yaml": "pyyaml",
    "PIL": "matplotlib",
}  # as imported -> as installed


def version_of(package: str) -> str | None:
    """The installed version of a distribution; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def how_to_install(extra: str) -> str:
    """What to do for the packages of ``extra``: 'run pip install ...', in the user's terms."""
    if _in_slicer():
        packages = " ".join(PACKAGES[extra])
        torch = "install the PyTorch extension in Slicer's Extensions Manager"
        pip = f"run slicer.util.pip_install('{packages}') in Slicer's Python console"
        return torch if extra == "cine" else pip
    target = _target(extra)
    if target is None:
        return f"run pip install {' '.join(PACKAGES[extra])}"
    return f"run pip install {_quoted(target)}"


def remedy_for_module(name: str) -> str:
    """Why the module ``name`` could not be imported, and what to do about it."""
    top = name.partition(".")[0]
    if top in ("MambaSynthLib", "MambaSynthTraining"):
        return (
            f"{name!r} is missing, so MambaSynth is installed in part only; "
            f"{how_to_install('').replace('run pip install', 'run pip install --force-reinstall')}."
        )
    if top != name:  # the package was there, so something else stands in its place
        place = _place_of(top)
        if place:
            return (
                f"{name!r} is not in the package {top!r} at {place}; either another of that "
                "name hides it, so start in another folder, or its version is too old: run pip "
                f"install -U {NAMES.get(top, top)}."
            )
    package = NAMES.get(top, top)
    extra = next((extra for extra, names in PACKAGES.items() if package in names), None)
    remedy = f"run pip install {package}" if extra is None else how_to_install(extra)
    return f"the Python package {top!r} is not installed; {remedy}."


def _target(extra: str) -> str | None:
    """The argument of pip that names this distribution with ``extra``; None if nothing does."""
    wanted = f"[{extra}]" if extra else ""
    try:
        distribution = metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError:  # run out of a clone that was never installed
        clone = Path(__file__).resolve().parents[1]
        return f"{clone}{wanted}" if (clone / "pyproject.toml").is_file() else None
    record = _direct_url(distribution)
    url = str(record.get("url", ""))
    if not url:  # by name, from an index that therefore has it
        return f"{DISTRIBUTION}{wanted}"
    if url.startswith("file:"):
        path = Path(url2pathname(urlsplit(url).path))
        return f"{path}{wanted}" if path.exists() else None
    vcs = record.get("vcs_info")
    if isinstance(vcs, dict):
        url = f"{vcs.get('vcs')}+{url}@{vcs.get('commit_id')}"
    return f"{DISTRIBUTION}{wanted} @ {url}"


def _direct_url(distribution: metadata.Distribution) -> dict[str, Any]:
    try:
        record = json.loads(distribution.read_text("direct_url.json") or "{}")
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _in_slicer() -> bool:
    """Whether this is Slicer's own Python: its launcher sets SLICER_HOME, for child processes too
    (Slicer's CMake/SlicerBlockCTKAppLauncherSettings.cmake), also for those of another Python.
    """
    home = os.environ.get("SLICER_HOME")
    return bool(home) and Path(sys.prefix).resolve().is_relative_to(Path(str(home)).resolve())


def _place_of(package: str) -> str | None:
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    return spec.origin or next(iter(spec.submodule_search_locations or ()), None)


def _quoted(target: str) -> str:
    """For the shell of this system; a path or an extra may hold what a shell would read."""
    return f'"{target}"' if sys.platform == "win32" else shlex.quote(target)
