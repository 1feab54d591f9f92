"""``mambasynth info``: versions, devices, backends and model folders of this machine."""

from __future__ import annotations

import argparse
import platform
from typing import Any

from MambaSynthLib import __version__
from MambaSynthLib.installation import version_of

PACKAGES = (
    *("numpy", "scipy", "nibabel", "SimpleITK", "safetensors"),
    *("torch", "mamba-ssm", "onnx", "onnxruntime", "onnxruntime-gpu"),
)


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("info", help="devices, backends and versions")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from MambaSynthLib.commands import console
    from MambaSynthLib.model.registry import find_all, model_folders

    found = find_all()
    devices = _devices()
    record = {
        "mambasynth": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: version_of(name) for name in PACKAGES},
        "devices": devices,
        "scan": _scan(devices),
        "model_folders": [str(folder) for folder in model_folders()],
        "models": [item.package.card.id for item in found if item.package],
        "broken_models": {str(item.folder): item.problem for item in found if not item.package},
    }
    lines = []
    for key, value in record.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {what or 'not installed'}" for name, what in value.items())
        elif isinstance(value, list):
            value = ", ".join(value)
        lines.append(f"{key.replace('_', ' '):14} {value or 'none'}")
    console.result(record, lines, options.json)
    return 0


def _devices() -> dict[str, str]:
    """Device -> what each installed backend finds there."""
    from MambaSynthLib.backends import installed_backends, load_backend

    found: dict[str, list[str]] = {}
    for name in installed_backends():
        for device, what in load_backend(name).available_devices().items():
            found.setdefault(device, []).append(f"{name}: {what}")
    return {device: "; ".join(lines) for device, lines in found.items()}


def _scan(devices: dict[str, str]) -> dict[str, str]:
    """Device -> the selective scan that would run there, as ``selective_scan`` chooses it."""
    if not any("torch:" in what for what in devices.values()):
        return dict.fromkeys(devices, "ONNX's Scan operator")
    from MambaSynthLib.layers.selective_scan import backends_for

    return {name: backends_for(name)[0] for name, what in devices.items() if "torch:" in what}
